//! What to do next about the Pods of a StatefulSet. Pure.
//!
//! Upstream's order: first every wanted Pod is there and (when ordered) available, lowest first; then
//! those that are too many go, highest first; then those of an old revision go, highest first.
//!
//! Invariant: a Pod is only ever created under a name that nothing is seen under.

use std::collections::BTreeMap;

/// A Pod as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Name of its revision.
    pub(super) revision: Box<str>,
    /// Whether it failed or succeeded.
    pub(super) ended: bool,
    /// Whether it is being deleted.
    pub(super) terminating: bool,
    /// Whether it has been available for as long as it must.
    pub(super) available: bool,
}

impl Seen {
    fn is_up(&self) -> bool {
        self.available && !self.terminating && !self.ended
    }
}

/// Pods by ordinal.
pub(super) type Pods = BTreeMap<i64, Seen>;

/// What is wanted of a set.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The first ordinal.
    pub(super) start: i64,
    /// How many.
    pub(super) replicas: i64,
    /// Whether Pods need not wait for one another.
    pub(super) parallel: bool,
    /// How old Pods are replaced.
    pub(super) update: Update,
    /// The revision that is being left.
    pub(super) current: Box<str>,
    /// The newest revision.
    pub(super) newest: Box<str>,
}

/// How old Pods are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// When somebody deletes them.
    OnDelete,
    /// One after another.
    Rolling {
        /// Ordinals below this one keep the old revision.
        partition: i64,
        /// How many may be unavailable meanwhile.
        max_unavailable: i64,
    },
}

impl Wanted {
    fn end(&self) -> i64 {
        self.start + self.replicas
    }

    /// Whether an ordinal is among the wanted.
    pub(super) fn has(&self, ordinal: i64) -> bool {
        (self.start..self.end()).contains(&ordinal)
    }

    /// The revision of which a Pod is created.
    fn revision_of(&self, ordinal: i64) -> &str {
        match self.update {
            Update::Rolling { partition, .. } if ordinal < self.start + partition => &self.current,
            _ => &self.newest,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Create a Pod of a revision.
    Create(i64, Box<str>),
    /// Delete a Pod that ended, so that it can be created again.
    Recreate(i64),
    /// Delete a Pod that is not wanted, or not as it is.
    Delete(i64),
}

/// What to do now; nothing when something has to happen first, or all is done.
pub(super) fn plan(wanted: &Wanted, pods: &Pods) -> Vec<Action> {
    let mut actions = Vec::new();
    let steps = [fill, shrink, renew];
    for step in steps {
        let go_on = step(wanted, pods, &mut actions);
        if !go_on || (!wanted.parallel && !actions.is_empty()) {
            break;
        }
    }
    actions
}

/// Sees to every wanted Pod being there; whether the next step may follow.
fn fill(wanted: &Wanted, pods: &Pods, actions: &mut Vec<Action>) -> bool {
    let mut blocked = false;
    for ordinal in wanted.start..wanted.end() {
        let up = match pods.get(&ordinal) {
            None => {
                actions.push(Action::Create(ordinal, wanted.revision_of(ordinal).into()));
                false
            }
            Some(pod) if pod.ended => {
                blocked = true;
                if !pod.terminating {
                    actions.push(Action::Recreate(ordinal));
                }
                false
            }
            Some(pod) => pod.is_up(),
        };
        if !up && !wanted.parallel {
            return false;
        }
    }
    !blocked
}

/// Takes away Pods that are too many, highest first; whether the next step may follow.
fn shrink(wanted: &Wanted, pods: &Pods, actions: &mut Vec<Action>) -> bool {
    let is_down = |(ordinal, pod): &(&i64, &Seen)| !wanted.has(**ordinal) && !pod.is_up();
    // When all wanted Pods are up, the first that is down may go even before its turn is safe.
    let first_down = pods.iter().find(is_down).map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in pods.iter().rev().filter(|(ordinal, _)| !wanted.has(**ordinal)) {
        if !pod.terminating {
            // One that ended will not come up again by being waited for.
            if !wanted.parallel && !pod.is_up() && !pod.ended && first_down != Some(*ordinal) {
                return false;
            }
            actions.push(Action::Delete(*ordinal));
        }
        if !wanted.parallel {
            return false;
        }
    }
    true
}

/// Takes away Pods of an old revision, highest first, as far as enough others are up. One that is down
/// anyway goes without being counted.
fn renew(wanted: &Wanted, pods: &Pods, actions: &mut Vec<Action>) -> bool {
    let Update::Rolling {
        partition,
        max_unavailable,
    } = wanted.update
    else {
        return false;
    };
    let range = wanted.start..wanted.end();
    let is_up = |ordinal: &i64| pods.get(ordinal).is_some_and(Seen::is_up);
    let mut down = wanted.replicas - i64::try_from(range.clone().filter(is_up).count()).unwrap_or(0);
    for ordinal in range.rev().take_while(|ordinal| *ordinal >= wanted.start + partition) {
        let Some(pod) = pods.get(&ordinal) else { continue };
        if pod.revision == wanted.newest || pod.terminating || pod.ended {
            continue;
        }
        if pod.is_up() {
            if down >= max_unavailable {
                continue;
            }
            down += 1;
        }
        actions.push(Action::Delete(ordinal));
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(replicas: i64) -> Wanted {
        Wanted {
            start: 0,
            replicas,
            parallel: false,
            update: Update::Rolling {
                partition: 0,
                max_unavailable: 1,
            },
            current: "old".into(),
            newest: "new".into(),
        }
    }

    /// Pods in a word each: revision, then `-` down, `x` terminating, `!` ended.
    fn check(wanted: &Wanted, pods: &str, expect: &str) {
        let seen = |word: &str| {
            let revision = word.trim_end_matches(['-', 'x', '!']);
            Seen {
                revision: revision.into(),
                ended: word.ends_with('!'),
                terminating: word.ends_with('x'),
                available: revision == word || word.ends_with('x'),
            }
        };
        let words = pods.split_whitespace().enumerate().filter(|(_, word)| *word != ".");
        let pods = words
            .map(|(at, word)| (i64::try_from(at).expect("small"), seen(word)))
            .collect();
        let actions: Vec<_> = plan(wanted, &pods)
            .iter()
            .map(|action| match action {
                Action::Create(ordinal, revision) => format!("+{ordinal}{revision}"),
                Action::Recreate(ordinal) => format!("!{ordinal}"),
                Action::Delete(ordinal) => format!("-{ordinal}"),
            })
            .collect();
        assert_eq!(actions.join(" "), expect, "{wanted:?} {pods:?}");
    }

    #[test]
    fn ordered_pods_wait_for_one_another() {
        let three = wanted(3);
        check(&three, "", "+0new");
        check(&three, "new-", "");
        check(&three, "new", "+1new");
        check(&three, "new . new", "+1new");
        check(&three, "new! new new", "!0");
        check(&three, "newx new new", "");
        check(&three, "new new new", "");
        check(&wanted(1), "new new new", "-2");
        check(&wanted(1), "new new newx", "");
        check(&wanted(1), "new- new new", "");
        // The lowest that is down may go; a higher one that is down waits for it.
        check(&wanted(1), "new new new-", "-2");
        check(&wanted(1), "new new- new-", "");
        check(&wanted(0), "new new", "-1");
    }

    #[test]
    fn parallel_pods_do_not_wait() {
        let all = |replicas| Wanted {
            parallel: true,
            ..wanted(replicas)
        };
        check(&all(3), "", "+0new +1new +2new");
        check(&all(3), "new- . new-", "+1new");
        check(&all(1), "new new- new", "-2 -1");
        check(&all(3), "new! . new", "!0 +1new");
        check(&all(3), "old old old", "-2");
        check(&all(3), "old old new-", "");
        check(&all(3), "old- old new", "-0");
    }

    #[test]
    fn updates_come_from_above_and_stop_at_the_partition() {
        let with = |partition, max_unavailable| Wanted {
            update: Update::Rolling {
                partition,
                max_unavailable,
            },
            ..wanted(4)
        };
        check(&with(0, 1), "old old old old", "-3");
        check(&with(0, 1), "old old old oldx", "");
        check(&with(0, 1), "old old old", "+3new");
        check(&with(0, 1), "old old old new", "-2");
        check(&with(3, 1), "old old old old", "-3");
        check(&with(3, 1), "old old old new", "");
        check(&with(3, 1), "old old . new", "+2old");
        check(&with(0, 2), "old old old old", "-3 -2");
        check(&with(0, 9), "old old old old", "-3 -2 -1 -0");
        let on_delete = Wanted {
            update: Update::OnDelete,
            ..wanted(3)
        };
        check(&on_delete, "old old old", "");
        check(&on_delete, "old . old", "+1new");
    }

    #[test]
    fn ordinals_may_start_anywhere() {
        let from_two = Wanted { start: 2, ..wanted(2) };
        check(&from_two, "", "+2new");
        check(&from_two, ". . new", "+3new");
        check(&from_two, "new new new new", "-1");
        check(&from_two, ". . old old", "-3");
    }

    /// A cluster that does what it is told, late and with mishaps.
    #[derive(Clone, Debug)]
    enum Mishap {
        BecomesAvailable(usize),
        Breaks(usize),
        Ends(usize),
        IsDeleted(usize),
        Vanishes(usize),
        Scale(i64),
        Roll,
    }

    fn mishaps() -> impl Strategy<Value = Vec<Mishap>> {
        let one = prop_oneof![
            6 => (0usize..8).prop_map(Mishap::BecomesAvailable),
            1 => (0usize..8).prop_map(Mishap::Breaks),
            1 => (0usize..8).prop_map(Mishap::Ends),
            1 => (0usize..8).prop_map(Mishap::IsDeleted),
            6 => (0usize..8).prop_map(Mishap::Vanishes),
            1 => (0i64..6).prop_map(Mishap::Scale),
            1 => Just(Mishap::Roll),
        ];
        prop::collection::vec(one, 0..80)
    }

    fn apply(wanted: &mut Wanted, pods: &mut Pods, mishap: &Mishap, rolls: &mut u32) {
        let nth = |pods: &Pods, n: &usize| pods.keys().copied().nth(n % pods.len().max(1));
        let change = |pods: &mut Pods, n: &usize, change: fn(&mut Seen)| {
            if let Some(pod) = nth(pods, n).and_then(|at| pods.get_mut(&at)) {
                change(pod);
            }
        };
        match mishap {
            Mishap::BecomesAvailable(n) => change(pods, n, |pod| pod.available = !pod.ended),
            Mishap::Breaks(n) => change(pods, n, |pod| pod.available = false),
            Mishap::Ends(n) => change(pods, n, |pod| (pod.ended, pod.available) = (true, false)),
            Mishap::IsDeleted(n) => change(pods, n, |pod| pod.terminating = true),
            Mishap::Vanishes(n) => {
                let gone = nth(pods, n).filter(|at| pods[at].terminating);
                gone.map(|at| pods.remove(&at));
            }
            Mishap::Scale(replicas) => wanted.replicas = *replicas,
            Mishap::Roll => {
                *rolls += 1;
                wanted.newest = format!("r{rolls}").into();
            }
        }
    }

    /// Checks one plan against what must hold of every plan.
    fn lint(wanted: &Wanted, pods: &Pods, actions: &[Action]) -> Result<(), TestCaseError> {
        let up = |ordinal: i64| pods.get(&ordinal).is_some_and(Seen::is_up);
        for action in actions {
            match action {
                Action::Create(ordinal, _) => {
                    prop_assert!(!pods.contains_key(ordinal), "a second {ordinal}");
                    prop_assert!(wanted.has(*ordinal));
                    if !wanted.parallel {
                        prop_assert!((wanted.start..*ordinal).all(up), "{ordinal} before its predecessors");
                    }
                }
                Action::Recreate(ordinal) => {
                    prop_assert!(pods[ordinal].ended && !pods[ordinal].terminating);
                }
                Action::Delete(ordinal) => {
                    let pod = &pods[ordinal];
                    prop_assert!(!pod.terminating);
                    if wanted.has(*ordinal) {
                        prop_assert!(pod.revision != wanted.newest, "an update of what is new");
                        if !wanted.parallel {
                            prop_assert!((wanted.start..wanted.end()).all(up));
                        }
                    } else if !wanted.parallel {
                        let higher = pods.keys().filter(|at| !wanted.has(**at)).all(|at| at <= ordinal);
                        prop_assert!(higher, "{ordinal} before a higher one");
                    }
                }
            }
        }
        if let Update::Rolling { max_unavailable, .. } = wanted.update {
            let taken = actions
                .iter()
                .filter(|action| matches!(action, Action::Delete(at) if wanted.has(*at) && pods[at].is_up()));
            let down = (wanted.start..wanted.end()).filter(|at| !up(*at)).count();
            let taken = taken.count();
            let bound = usize::try_from(max_unavailable).expect("small");
            prop_assert!(taken == 0 || taken + down <= bound, "{taken} taken with {down} down");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn order_and_identity_hold_whatever_happens(
            parallel: bool,
            start in 0i64..3,
            partition in 0i64..3,
            max_unavailable in 1i64..4,
            replicas in 0i64..6,
            mishaps in mishaps(),
        ) {
            let update = Update::Rolling { partition, max_unavailable };
            let mut wanted = Wanted { start, replicas, parallel, update, current: "r0".into(), newest: "r0".into() };
            let (mut pods, mut rolls) = (Pods::new(), 0);
            for mishap in &mishaps {
                apply(&mut wanted, &mut pods, mishap, &mut rolls);
                let actions = plan(&wanted, &pods);
                lint(&wanted, &pods, &actions)?;
                carry_out(&mut pods, &actions);
            }
            // Left alone, it comes to rest as asked.
            for _ in 0..200 {
                let actions = plan(&wanted, &pods);
                lint(&wanted, &pods, &actions)?;
                carry_out(&mut pods, &actions);
                pods.retain(|_, pod| !pod.terminating);
                pods.values_mut().for_each(|pod| pod.available = !pod.ended);
            }
            let ordinals: Vec<_> = pods.keys().copied().collect();
            prop_assert_eq!(ordinals, (start..start + wanted.replicas).collect::<Vec<_>>());
            prop_assert!(pods.iter().all(|(at, pod)| *at < start + partition || pod.revision == wanted.newest));
        }
    }

    fn carry_out(pods: &mut Pods, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Create(ordinal, revision) => {
                    let pod = Seen {
                        revision: revision.clone(),
                        ended: false,
                        terminating: false,
                        available: false,
                    };
                    pods.insert(*ordinal, pod);
                }
                Action::Recreate(ordinal) | Action::Delete(ordinal) => {
                    pods.get_mut(ordinal).expect("it is there").terminating = true;
                }
            }
        }
    }
}
