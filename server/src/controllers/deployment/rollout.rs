//! The arithmetic of rollouts: how many replicas each ReplicaSet should have next. Pure.

use crate::controllers::kinds::Deployment;

/// How far a rolling update may stray from the wanted number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Above.
    pub(super) surge: i64,
    /// Below, counting available ones.
    pub(super) unavailable: i64,
}

impl Bounds {
    /// The bounds of a Deployment; both zero would allow no step at all, so one may then be missing.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let wanted = deployment.replicas();
        let strategy = &deployment.spec.strategy;
        let Some(rolling) = strategy.rolling_update.as_ref().filter(|_| deployment.is_rolling()) else {
            return Self {
                surge: 0,
                unavailable: 0,
            };
        };
        let surge = rolling.max_surge.as_ref().map_or(0, |share| share.of(wanted, true));
        let unavailable = rolling
            .max_unavailable
            .as_ref()
            .map_or(0, |share| share.of(wanted, false));
        let stuck = surge == 0 && unavailable == 0;
        Self {
            surge,
            unavailable: if stuck { 1 } else { unavailable }.min(wanted),
        }
    }
}

/// What the arithmetic needs to know of a ReplicaSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Wanted replicas.
    pub(super) wanted: i64,
    /// Available ones.
    pub(super) available: i64,
}

fn wanted(sizes: &[Size]) -> i64 {
    sizes.iter().map(|size| size.wanted).sum()
}

/// The next number of replicas of the new ReplicaSet in a rolling update.
pub(super) fn grow_new(replicas: i64, bounds: Bounds, new: Size, old: &[Size]) -> i64 {
    if new.wanted >= replicas {
        return replicas;
    }
    let room = replicas + bounds.surge - new.wanted - wanted(old);
    new.wanted + room.clamp(0, replicas - new.wanted)
}

/// The next numbers of the old ReplicaSets (oldest first): first those go that are not available
/// anyway, then as many of the others as the available ones above the minimum.
pub(super) fn shrink_old(replicas: i64, bounds: Bounds, new: Size, old: &[Size]) -> Vec<i64> {
    let mut next: Vec<i64> = old.iter().map(|size| size.wanted).collect();
    let minimum = replicas - bounds.unavailable;
    let new_unavailable = new.wanted - new.available;
    let budget = new.wanted + wanted(old) - minimum - new_unavailable;
    if budget <= 0 {
        return next;
    }
    let mut cleaned = 0;
    for (next, size) in next.iter_mut().zip(old) {
        let step = (size.wanted - size.available).clamp(0, budget - cleaned);
        *next -= step;
        cleaned += step;
    }
    let available = new.available + old.iter().map(|size| size.available).sum::<i64>();
    let mut spare = (available - minimum).max(0);
    for next in &mut next {
        let step = (*next).min(spare);
        *next -= step;
        spare -= step;
    }
    next
}

/// A ReplicaSet that takes part in proportional scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Wanted replicas.
    pub(super) wanted: i64,
    /// The largest number that all together were allowed when it was last scaled.
    pub(super) out_of: i64,
}

/// The next numbers of active ReplicaSets when the Deployment is scaled in the middle of a rollout:
/// each keeps its share; what rounding leaves goes to the first. The largest come first.
pub(super) fn proportional(replicas: i64, surge: i64, shares: &[Share]) -> Vec<i64> {
    let total: i64 = shares.iter().map(|share| share.wanted).sum();
    let allowed = if replicas > 0 { replicas + surge } else { 0 };
    let change = allowed - total;
    let mut done = 0;
    let mut next: Vec<i64> = shares
        .iter()
        .map(|share| {
            let step = match (share.wanted, replicas) {
                (0, _) => 0,
                (wanted, 0) => -wanted,
                (wanted, _) => scaled(wanted, replicas + surge, share.out_of) - wanted,
            };
            let left = change - done;
            let step = if change > 0 {
                step.min(left).max(0)
            } else {
                step.max(left).min(0)
            };
            done += step;
            share.wanted + step
        })
        .collect();
    if let Some(first) = next.first_mut() {
        *first = (*first + change - done).max(0);
    }
    next
}

/// `wanted * size / out_of`, rounded to the nearest.
fn scaled(wanted: i64, size: i64, out_of: i64) -> i64 {
    if out_of <= 0 {
        return wanted;
    }
    (2 * wanted * size + out_of) / (2 * out_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_rounded_up_and_down() {
        let check = |surge: &str, unavailable: &str, expect: (i64, i64)| {
            let text = format!(
                r#"{{"spec": {{"replicas": 10, "strategy": {{"type": "RollingUpdate",
                    "rollingUpdate": {{"maxSurge": {surge}, "maxUnavailable": {unavailable}}}}}}}}}"#
            );
            let bounds = Bounds::of(&serde_json::from_str(&text).expect("a Deployment"));
            assert_eq!((bounds.surge, bounds.unavailable), expect);
        };
        check(r#""25%""#, r#""25%""#, (3, 2));
        check("0", "0", (0, 1));
        check("1", "0", (1, 0));
        check("0", "100", (0, 10));
    }

    #[test]
    fn scaling_in_a_rollout_is_proportional() {
        let share = |wanted| Share { wanted, out_of: 13 };
        // Upstream's documented example: 8 and 5 of 10 + 3, scaled to 15.
        assert_eq!(proportional(15, 3, &[share(8), share(5)]), [11, 7]);
        assert_eq!(proportional(5, 2, &[share(8), share(5)]), [4, 3]);
        assert_eq!(proportional(0, 0, &[share(8), share(5)]), [0, 0]);
    }

    /// A cluster that follows what it is told: Pods become available, and unavailable ones linger.
    #[derive(Debug)]
    struct World {
        new: Size,
        old: Vec<Size>,
    }

    impl World {
        fn available(&self) -> i64 {
            self.new.available + self.old.iter().map(|size| size.available).sum::<i64>()
        }

        /// One reconcile, as the controller does it; whether anything was scaled.
        fn reconcile(&mut self, replicas: i64, bounds: Bounds) -> bool {
            let grown = grow_new(replicas, bounds, self.new, &self.old);
            if grown != self.new.wanted {
                self.new.wanted = grown;
                return true;
            }
            let next = shrink_old(replicas, bounds, self.new, &self.old);
            let mut scaled = false;
            for (size, next) in self.old.iter_mut().zip(next) {
                scaled |= size.wanted != next;
                size.wanted = next;
                // The ReplicaSet deletes unavailable Pods first.
                size.available = size.available.min(next);
            }
            scaled
        }
    }

    proptest! {
        #[test]
        fn a_rollout_keeps_its_bounds_and_ends(
            replicas in 0i64..40,
            surge in 0i64..10,
            unavailable in 0i64..10,
            split in prop::collection::vec(0i64..40, 1..4),
            broken in 0i64..40,
        ) {
            let bounds = Bounds { surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable }.min(replicas) };
            // Old ReplicaSets that together have what the Deployment wants, some of it broken.
            let mut left = replicas;
            let mut old = Vec::new();
            for part in split {
                let wanted = part.min(left);
                left -= wanted;
                old.push(Size { wanted, available: wanted });
            }
            old[0].wanted += left;
            old[0].available += left;
            old[0].available -= broken.min(old[0].available);
            let mut world = World { new: Size::default(), old };
            let floor = world.available().min(replicas - bounds.unavailable);
            let mut steps = 0;
            loop {
                let scaled = world.reconcile(replicas, bounds);
                let total = world.new.wanted + wanted(&world.old);
                prop_assert!(total <= replicas + bounds.surge, "{total} Pods: {world:?}");
                prop_assert!(world.available() >= floor, "{} available: {world:?}", world.available());
                if !scaled {
                    if world.new.available == world.new.wanted {
                        break;
                    }
                    // One more new Pod becomes available.
                    world.new.available += 1;
                }
                steps += 1;
                prop_assert!(steps < 1000, "no end: {world:?}");
            }
            prop_assert_eq!(world.new.wanted, replicas);
            prop_assert_eq!(wanted(&world.old), 0);
        }

        #[test]
        fn proportional_scaling_reaches_the_allowed_size(
            replicas in 0i64..100,
            surge in 0i64..20,
            sizes in prop::collection::vec(1i64..50, 1..5),
            out_of in 1i64..200,
        ) {
            let shares: Vec<_> = sizes.iter().map(|wanted| Share { wanted: *wanted, out_of }).collect();
            let next = proportional(replicas, surge, &shares);
            let total: i64 = next.iter().sum();
            let allowed = if replicas > 0 { replicas + surge } else { 0 };
            prop_assert!(next.iter().all(|n| *n >= 0));
            // Taking from the first only goes down to zero.
            prop_assert!(total == allowed || next[0] == 0 && total >= allowed);
        }
    }
}
