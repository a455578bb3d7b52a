//! All plans together, and the difference that one changed plan makes.
//!
//! Two Services may claim the same element (an external address and port, or a shared backend); the one with the
//! smallest name has it, and when that one goes, the next takes over. A difference is a list of operations in an order
//! that the kernel accepts as one transaction: nothing is used before it exists or removed while it is used.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mizzen_api::client::reflector::Key;

use super::conntrack::Fronts;
use super::rules::{Map, Plan, SetKind};

/// Whose plan it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Service(Key),
    Pod(Key),
    Policy(Key),
}

/// One step of a transaction. The kinds of steps come in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The shared chain that chooses among so many endpoints.
    AddBalancer(usize),
    /// An empty chain.
    AddChain(Box<str>),
    /// Removes the rules of a chain.
    Flush(Box<str>),
    DeleteElement(Map, Box<str>, Box<str>),
    DeleteChain(Box<str>),
    DeleteSet(Box<str>),
    AddSet(Box<str>, SetKind),
    AddRules(Box<str>, Vec<Box<str>>),
    AddElement(Map, Box<str>, Box<str>),
}

impl Operation {
    /// Its place in a transaction; elements of one map stand together.
    fn order(&self) -> (u8, Option<&Map>) {
        match self {
            Self::AddBalancer(_) => (0, None),
            Self::AddChain(_) => (1, None),
            Self::Flush(_) => (2, None),
            Self::DeleteElement(map, ..) => (3, Some(map)),
            Self::DeleteChain(_) => (4, None),
            Self::DeleteSet(_) => (5, None),
            Self::AddSet(..) => (6, None),
            Self::AddRules(..) => (7, None),
            Self::AddElement(map, ..) => (8, Some(map)),
        }
    }
}

/// What elements were before all changes, and are after them.
type Elements = BTreeMap<(Map, Box<str>), [Option<Box<str>>; 2]>;

/// What a change of plans makes the kernel do. Every owner's plan changes at most once in it.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    operations: Vec<Operation>,
    elements: Elements,
    /// Where backends changed for protocols without connections.
    pub(crate) fronts: Fronts,
}

impl Difference {
    /// The steps of one transaction.
    pub(crate) fn into_operations(self) -> Vec<Operation> {
        let mut operations = self.operations;
        for ((map, key), [before, after]) in self.elements {
            if before != after {
                operations.extend(before.map(|value| Operation::DeleteElement(map.clone(), key.clone(), value)));
                operations.extend(after.map(|value| Operation::AddElement(map, key, value)));
            }
        }
        in_order(&mut operations);
        operations
    }
}

fn in_order(operations: &mut [Operation]) {
    operations.sort_by(|a, b| a.order().cmp(&b.order()));
}

/// Who wants an element, and what it shall be.
type Claim = (Owner, Box<str>);

/// What the kernel's table shall hold.
#[derive(Debug, Default)]
pub(crate) struct Ruleset {
    plans: HashMap<Owner, Plan>,
    /// Who wants which element to be what, the smallest owner first.
    claims: HashMap<(Map, Box<str>), Vec<Claim>>,
    /// Shared chains; they are few, and stay.
    balancers: BTreeSet<usize>,
}

impl Ruleset {
    /// Replaces one plan; adds what the kernel has to do.
    pub(crate) fn replace(&mut self, owner: Owner, new: Plan, difference: &mut Difference) {
        let old = self.plans.remove(&owner).unwrap_or_default();
        if old == new {
            return self.keep(owner, new);
        }
        let operations = &mut difference.operations;
        for front in old.fronts.keys().chain(new.fronts.keys()) {
            let targets = new.fronts.get(front);
            if old.fronts.get(front) != targets {
                difference.fronts.insert(*front, targets.cloned().unwrap_or_default());
            }
        }
        let shared = new.balancers.iter().filter(|count| self.balancers.insert(**count));
        operations.extend(shared.map(|count| Operation::AddBalancer(*count)));
        let before = operations.len();
        let added = new
            .sets
            .iter()
            .filter(|(name, kind)| old.sets.get(*name) != Some(*kind));
        operations.extend(added.map(|(name, kind)| Operation::AddSet(name.clone(), *kind)));
        // A set of another kind is another set: the old one goes first, with the rules that use it.
        let gone = old
            .sets
            .iter()
            .filter(|(name, kind)| new.sets.get(*name) != Some(*kind));
        operations.extend(gone.map(|(name, _)| Operation::DeleteSet(name.clone())));
        let changed_sets: Vec<Box<str>> = operations[before..]
            .iter()
            .filter_map(|operation| match operation {
                Operation::DeleteSet(name) if new.sets.contains_key(name) => Some(format!("@{name} ").into()),
                _ => None,
            })
            .collect();
        for (name, rules) in &new.chains {
            let uses = |set: &str| rules.iter().any(|rule| rule.contains(set));
            match old.chains.get(name) {
                None => operations.push(Operation::AddChain(name.clone())),
                Some(before) if before != rules || changed_sets.iter().any(|set| uses(set)) => {
                    operations.push(Operation::Flush(name.clone()));
                }
                Some(_) => continue,
            }
            operations.push(Operation::AddRules(name.clone(), rules.clone()));
        }
        for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
            operations.push(Operation::Flush(name.clone()));
            operations.push(Operation::DeleteChain(name.clone()));
        }
        self.elements(&owner, &old, &new, &mut difference.elements);
        self.keep(owner, new);
    }

    /// Whether an owner has a plan.
    pub(crate) fn has(&self, owner: &Owner) -> bool {
        self.plans.contains_key(owner)
    }

    /// The Pods of a namespace that have plans.
    pub(crate) fn pods_of(&self, namespace: &str) -> Vec<Owner> {
        let there = |owner: &&Owner| matches!(owner, Owner::Pod(key) if *key.namespace == *namespace);
        self.plans.keys().filter(there).cloned().collect()
    }

    fn keep(&mut self, owner: Owner, plan: Plan) {
        if plan != Plan::default() {
            self.plans.insert(owner, plan);
        }
    }

    /// Moves the claims from the old plan to the new one.
    fn elements(&mut self, owner: &Owner, old: &Plan, new: &Plan, difference: &mut Elements) {
        let same = |key: &(Map, Box<str>)| old.elements.get(key) == new.elements.get(key);
        let fresh = new.elements.keys().filter(|key| !old.elements.contains_key(*key));
        for key in old.elements.keys().chain(fresh).filter(|key| !same(key)) {
            let claims = self.claims.entry(key.clone()).or_default();
            let before = claims.first().map(|(_, value)| value.clone());
            let place = claims.binary_search_by(|(other, _)| other.cmp(owner));
            match (new.elements.get(key), place) {
                (Some(value), Ok(at)) => claims[at].1 = value.clone(),
                (Some(value), Err(at)) => claims.insert(at, (owner.clone(), value.clone())),
                (None, Ok(at)) => _ = claims.remove(at),
                (None, Err(_)) => {}
            }
            let after = claims.first().map(|(_, value)| value.clone());
            if claims.is_empty() {
                self.claims.remove(key);
            }
            if before != after {
                let change = difference.entry(key.clone()).or_insert_with(|| [before, None]);
                change[1] = after;
            }
        }
    }

    /// Everything, for an empty table.
    pub(crate) fn all(&self) -> Vec<Operation> {
        let balancers = self.balancers.iter().map(|count| Operation::AddBalancer(*count));
        let mut operations: Vec<_> = balancers.collect();
        for plan in self.plans.values() {
            operations.extend(
                plan.sets
                    .iter()
                    .map(|(name, kind)| Operation::AddSet(name.clone(), *kind)),
            );
            operations.extend(plan.chains.keys().map(|name| Operation::AddChain(name.clone())));
            let rules = plan.chains.iter();
            operations.extend(rules.map(|(name, rules)| Operation::AddRules(name.clone(), rules.clone())));
        }
        operations.extend(self.claims.iter().filter_map(|((map, key), claims)| {
            let (_, value) = claims.first()?;
            Some(Operation::AddElement(map.clone(), key.clone(), value.clone()))
        }));
        in_order(&mut operations);
        operations
    }
}

#[cfg(test)]
mod tests;
