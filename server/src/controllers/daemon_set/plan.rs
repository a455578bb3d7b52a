//! What to do next about the Pods of a DaemonSet. Pure.
//!
//! First each node has the Pods that it should ([`settle`]); when nothing is left to do there, Pods of
//! old templates are replaced within the bounds ([`renew`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::placement::Verdict;

/// A Pod as it is seen; `id` is the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which one.
    pub(super) id: usize,
    /// Whether it is being deleted.
    pub(super) terminating: bool,
    /// Whether it failed.
    pub(super) failed: bool,
    /// Whether it ended well, which it should not.
    pub(super) succeeded: bool,
    /// Whether it is ready.
    pub(super) ready: bool,
    /// Whether it has been ready for as long as it must.
    pub(super) available: bool,
    /// Whether it is of the newest template.
    pub(super) updated: bool,
    /// How much longer a failed one is left alone, so that a node that refuses it is not pestered.
    pub(super) left_alone: Option<Duration>,
}

impl Seen {
    fn is_up(&self) -> bool {
        self.available && !self.terminating
    }
}

/// A node with its Pods, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What the DaemonSet has to do with it.
    pub(super) verdict: Verdict,
    /// Its Pods.
    pub(super) pods: Vec<Seen>,
}

/// Nodes by name.
pub(super) type Places = BTreeMap<Box<str>, Place>;

/// How Pods of old templates are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// When somebody deletes them.
    OnDelete,
    /// Within bounds, one of which is zero.
    Rolling {
        /// How many nodes may be without an available Pod.
        unavailable: usize,
        /// How many nodes may have a second Pod meanwhile.
        surge: usize,
    },
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nodes on which to create a Pod.
    pub(super) create: Vec<Box<str>>,
    /// Pods to delete.
    pub(super) delete: Vec<usize>,
    /// Those among them that ended, which is worth telling.
    pub(super) ended: Vec<usize>,
    /// When to look again, because of what is left alone.
    pub(super) again: Option<Duration>,
}

impl Plan {
    fn is_rest(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

/// What to do now.
pub(super) fn plan(update: Update, places: &Places) -> Plan {
    let mut plan = settle(update, places);
    if plan.is_rest() {
        let renewal = renew(update, places);
        (plan.create, plan.delete) = (renewal.create, renewal.delete);
    }
    plan
}

/// Sees to every node having the Pods that it should.
fn settle(update: Update, places: &Places) -> Plan {
    let surges = matches!(update, Update::Rolling { surge, .. } if surge > 0);
    let mut plan = Plan::default();
    for (node, place) in places {
        match place.verdict {
            Verdict::Leave => plan.delete.extend(lasting(place).map(|pod| pod.id)),
            Verdict::Run if place.pods.is_empty() => plan.create.push(node.clone()),
            Verdict::Run | Verdict::Stay => tidy(place, surges, &mut plan),
        }
    }
    plan
}

fn lasting(place: &Place) -> impl Iterator<Item = &Seen> {
    place.pods.iter().filter(|pod| !pod.terminating)
}

/// Takes away what ended, and all but one of several.
fn tidy(place: &Place, surges: bool, plan: &mut Plan) {
    let mut running = Vec::new();
    for pod in lasting(place) {
        match (pod.failed, pod.succeeded, pod.left_alone) {
            (true, _, Some(pause)) => plan.again = Some(plan.again.map_or(pause, |again| again.min(pause))),
            (true, ..) | (_, true, _) => {
                plan.delete.push(pod.id);
                plan.ended.push(pod.id);
            }
            _ => running.push(pod),
        }
    }
    if !surges {
        plan.delete.extend(running.iter().skip(1).map(|pod| pod.id));
        return;
    }
    // One of each template may be there while the new one becomes available.
    let of = |updated: bool| running.iter().filter(move |pod| pod.updated == updated);
    plan.delete
        .extend(of(true).skip(1).chain(of(false).skip(1)).map(|pod| pod.id));
    if let (Some(new), Some(old)) = (of(true).next(), of(false).next())
        && (!old.ready || new.available)
    {
        plan.delete.push(old.id);
    }
}

/// Replaces Pods of old templates.
fn renew(update: Update, places: &Places) -> Plan {
    match update {
        Update::OnDelete => Plan::default(),
        Update::Rolling { unavailable, surge: 0 } => replace(unavailable, places),
        Update::Rolling { surge, .. } => overlap(surge, places),
    }
}

/// The Pods, new and old, of a node where one belongs; `None` where settling comes first.
fn pair(place: &Place) -> Option<(Option<&Seen>, Option<&Seen>)> {
    let of = |updated: bool| place.pods.iter().filter(move |pod| pod.updated == updated);
    let several = of(true).count() > 1 || of(false).count() > 1;
    (!several).then(|| (of(true).next(), of(false).next()))
}

fn belonging(places: &Places) -> impl Iterator<Item = (&Box<str>, &Place)> {
    places
        .iter()
        .filter(|(_, place)| place.verdict == Verdict::Run || !place.pods.is_empty())
}

/// Deletes old Pods: all that are not available anyway, and as many others as may be missing.
fn replace(bound: usize, places: &Places) -> Plan {
    let (mut down, mut free, mut candidates) = (0, Vec::new(), Vec::new());
    for (_, place) in belonging(places) {
        match pair(place) {
            Some((None, Some(old))) if old.terminating => down += 1,
            Some((None, Some(old))) if old.is_up() => candidates.push(old.id),
            Some((None, Some(old))) => {
                down += 1;
                free.push(old.id);
            }
            Some((Some(new), None)) if new.is_up() => {}
            _ => down += 1,
        }
    }
    candidates.truncate(bound.saturating_sub(down));
    free.extend(candidates);
    Plan {
        delete: free,
        ..Plan::default()
    }
}

/// Creates new Pods beside old ones; [`tidy`] takes the old ones away later.
fn overlap(bound: usize, places: &Places) -> Plan {
    let (mut surging, mut free, mut candidates) = (0, Vec::new(), Vec::new());
    for (node, place) in belonging(places).filter(|(_, place)| place.verdict == Verdict::Run) {
        match pair(place) {
            None => surging += 1,
            Some((None, Some(old))) if old.is_up() => candidates.push(node.clone()),
            Some((None, Some(_))) => free.push(node.clone()),
            Some((Some(new), Some(_))) if !new.is_up() => surging += 1,
            _ => {}
        }
    }
    candidates.truncate(bound.saturating_sub(surging));
    free.extend(candidates);
    Plan {
        create: free,
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Nodes by commas, their Pods in a word each: `n`ew or `o`ld, then `+` available, `x`
    /// terminating, `!` failed, `?` failed and left alone. `#` begins a node to leave, `~` one to stay on.
    fn check(update: Update, nodes: &str, create: &str, delete: &str) {
        let (mut places, mut words) = (Places::new(), Vec::new());
        for (at, node) in nodes.split(',').enumerate() {
            let node = node.trim();
            let verdict = match node.chars().next() {
                Some('#') => Verdict::Leave,
                Some('~') => Verdict::Stay,
                _ => Verdict::Run,
            };
            let pods = node.trim_start_matches(['#', '~']).split_whitespace().map(|word| {
                words.push(format!("{at}{word}"));
                let is = |mark| word.ends_with(mark);
                Seen {
                    id: words.len() - 1,
                    terminating: is('x'),
                    failed: is('!') || is('?'),
                    ready: is('+') || is('x'),
                    available: is('+') || is('x'),
                    updated: word.starts_with('n'),
                    left_alone: is('?').then_some(Duration::from_secs(1)),
                    succeeded: false,
                }
            });
            let pods = pods.collect();
            places.insert(at.to_string().into(), Place { verdict, pods });
        }
        let plan = plan(update, &places);
        let deleted: Vec<_> = plan.delete.iter().map(|id| &*words[*id]).collect();
        assert_eq!(
            (&*plan.create.join(" "), &*deleted.join(" ")),
            (create, delete),
            "{nodes}"
        );
    }

    const ROLLING: Update = Update::Rolling {
        unavailable: 1,
        surge: 0,
    };
    const SURGING: Update = Update::Rolling {
        unavailable: 0,
        surge: 1,
    };

    #[test]
    fn every_node_has_its_pod() {
        check(ROLLING, ",n+,,", "0 2 3", "");
        check(ROLLING, "#n+,~n+,~", "", "0n+");
        check(ROLLING, "n+ n+ o", "", "0n+ 0o");
        check(ROLLING, "n!,n?,nx", "", "0n!");
        check(ROLLING, "n", "", "");
    }

    #[test]
    fn updates_stay_in_bounds() {
        check(ROLLING, "o+,o+,o+", "", "0o+");
        check(ROLLING, "ox,o+,o+", "", "");
        check(ROLLING, "n,o+,o+", "", "");
        check(ROLLING, "n+,o+,o+", "", "1o+");
        check(ROLLING, "o,o+,o", "", "0o 2o");
        check(Update::OnDelete, "o+,o,", "2", "");
        check(Update::OnDelete, "o+,o", "", "");
    }

    #[test]
    fn surges_overlap() {
        check(SURGING, "o+,o+", "0", "");
        check(SURGING, "o+ n,o+", "", "");
        check(SURGING, "o+ n+,o+", "", "0o+");
        check(SURGING, "n+,o+", "1", "");
        check(SURGING, "o,o+", "0 1", "");
    }

    proptest! {
        #[test]
        fn a_rollout_keeps_its_bounds_and_ends(nodes in 1usize..12, unavailable in 1usize..4, surge in 0usize..4) {
            let update = Update::Rolling { unavailable: if surge > 0 { 0 } else { unavailable }, surge };
            let old = |id| Seen { id, ready: true, available: true, ..Seen::default() };
            let mut places: Places = (0..nodes)
                .map(|at| (at.to_string().into(), Place { verdict: Verdict::Run, pods: vec![old(at)] }))
                .collect();
            let mut next = nodes;
            for _ in 0..200 {
                let plan = plan(update, &places);
                for node in &plan.create {
                    let pod = Seen { id: next, updated: true, ..Seen::default() };
                    next += 1;
                    places.get_mut(node).expect("a node").pods.push(pod);
                }
                for place in places.values_mut() {
                    place.pods.retain(|pod| !plan.delete.contains(&pod.id));
                }
                let down = places.values().filter(|place| !place.pods.iter().any(Seen::is_up)).count();
                let doubled = places.values().filter(|place| place.pods.len() > 1).count();
                prop_assert!(down <= if surge > 0 { 0 } else { unavailable }, "{down} down");
                prop_assert!(doubled <= surge, "{doubled} doubled");
                // One more new Pod becomes available.
                let mut waiting = places.values_mut().flat_map(|place| &mut place.pods);
                if let Some(pod) = waiting.find(|pod| !pod.available) {
                    (pod.ready, pod.available) = (true, true);
                }
            }
            let done = |place: &Place| matches!(&place.pods[..], [pod] if pod.updated);
            prop_assert!(places.values().all(done), "{:?}", places);
        }
    }
}
