//! All plans together, and the difference that one changed plan makes.
//!
//! Two Services may claim the same element (an external address and port, or a shared backend); the one with the
//! smallest name has it, and when that one goes, the next takes over. A difference is a list of operations in an order
//! that the kernel accepts as one transaction: nothing is used before it exists or removed while it is used.

use std::collections::{BTreeMap, HashMap};

use mizzen_api::client::reflector::Key;

use super::conntrack::Fronts;
use super::rules::{Map, Plan};

/// Whose plan it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Service(Key),
    Pod(Key),
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    AddSet(Box<str>, u32),
    /// An empty chain.
    AddChain(Box<str>),
    /// Removes the rules of a chain.
    Flush(Box<str>),
    AddRules(Box<str>, Vec<Box<str>>),
    DeleteElement(Map, Box<str>, Box<str>),
    AddElement(Map, Box<str>, Box<str>),
    DeleteChain(Box<str>),
    DeleteSet(Box<str>),
}

/// What a change of plans makes the kernel do.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Steps of one transaction.
    pub(crate) operations: Vec<Operation>,
    /// Where backends changed for protocols without connections.
    pub(crate) fronts: Fronts,
}

/// What the kernel's table shall hold.
#[derive(Debug, Default)]
pub(crate) struct Ruleset {
    plans: HashMap<Owner, Plan>,
    claims: HashMap<(Map, Box<str>), BTreeMap<Owner, Box<str>>>,
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
        let added = new
            .affinity_sets
            .iter()
            .filter(|(name, seconds)| old.affinity_sets.get(*name) != Some(*seconds));
        // A set with another timeout is another set: the old one goes first, with the rules that use it.
        let changed_sets: Vec<_> = added
            .clone()
            .filter(|(name, _)| old.affinity_sets.contains_key(*name))
            .map(|(name, _)| name)
            .collect();
        let gone_sets = old
            .affinity_sets
            .keys()
            .filter(|name| !new.affinity_sets.contains_key(*name));
        let gone_chains: Vec<_> = old
            .chains
            .keys()
            .filter(|name| !new.chains.contains_key(*name))
            .collect();
        let changed = |name: &str, rules: &[Box<str>]| {
            old.chains.get(name).is_some_and(|before| before != rules)
                || changed_sets
                    .iter()
                    .any(|set| rules.iter().any(|rule| rule.contains(&***set)))
        };

        let fresh = new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name));
        let stale: Vec<_> = new
            .chains
            .iter()
            .filter(|(name, rules)| old.chains.contains_key(*name) && changed(name, rules))
            .collect();
        operations.extend(fresh.clone().map(|(name, _)| Operation::AddChain(name.clone())));
        operations.extend(stale.iter().map(|(name, _)| Operation::Flush((*name).clone())));
        operations.extend(changed_sets.iter().map(|name| Operation::DeleteSet((*name).clone())));
        operations.extend(added.map(|(name, seconds)| Operation::AddSet(name.clone(), *seconds)));
        operations.extend(
            fresh
                .chain(stale.iter().copied())
                .map(|(name, rules)| Operation::AddRules(name.clone(), rules.clone())),
        );
        self.elements(&owner, &old, &new, operations);
        operations.extend(gone_chains.iter().map(|name| Operation::Flush((*name).clone())));
        operations.extend(gone_chains.iter().map(|name| Operation::DeleteChain((*name).clone())));
        operations.extend(gone_sets.map(|name| Operation::DeleteSet(name.clone())));
        self.keep(owner, new);
    }

    fn keep(&mut self, owner: Owner, plan: Plan) {
        if plan != Plan::default() {
            self.plans.insert(owner, plan);
        }
    }

    /// Moves the claims from the old plan to the new one.
    fn elements(&mut self, owner: &Owner, old: &Plan, new: &Plan, operations: &mut Vec<Operation>) {
        let mut deleted = Vec::new();
        let mut added = Vec::new();
        let keys = old
            .elements
            .keys()
            .chain(new.elements.keys().filter(|key| !old.elements.contains_key(*key)));
        for key in keys {
            let claims = self.claims.entry(key.clone()).or_default();
            let before = claims.first_key_value().map(|(_, value)| value.clone());
            match new.elements.get(key) {
                Some(value) => _ = claims.insert(owner.clone(), value.clone()),
                None => _ = claims.remove(owner),
            }
            let after = claims.first_key_value().map(|(_, value)| value.clone());
            if claims.is_empty() {
                self.claims.remove(key);
            }
            if before != after {
                deleted.extend(before.map(|value| Operation::DeleteElement(key.0, key.1.clone(), value)));
                added.extend(after.map(|value| Operation::AddElement(key.0, key.1.clone(), value)));
            }
        }
        operations.append(&mut deleted);
        operations.append(&mut added);
    }

    /// Everything, for an empty table.
    pub(crate) fn all(&self) -> Vec<Operation> {
        let plans = || self.plans.values();
        let sets = plans().flat_map(|plan| &plan.affinity_sets);
        let chains = || plans().flat_map(|plan| &plan.chains);
        let mut operations: Vec<_> = sets
            .map(|(name, seconds)| Operation::AddSet(name.clone(), *seconds))
            .collect();
        operations.extend(chains().map(|(name, _)| Operation::AddChain(name.clone())));
        operations.extend(chains().map(|(name, rules)| Operation::AddRules(name.clone(), rules.clone())));
        operations.extend(self.claims.iter().filter_map(|((map, key), claims)| {
            Some(Operation::AddElement(
                *map,
                key.clone(),
                claims.first_key_value()?.1.clone(),
            ))
        }));
        operations
    }
}

#[cfg(test)]
mod tests;
