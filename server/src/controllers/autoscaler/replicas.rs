//! How many replicas a metric asks for: upstream's arithmetic, careful about Pods that say nothing. Pure.

use std::collections::BTreeMap;

/// What is known of the Pods, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Use of ready Pods.
    pub(super) used: BTreeMap<String, f64>,
    /// Requests of all Pods; empty when the target is an amount.
    pub(super) requested: BTreeMap<String, f64>,
    /// Pods that are not ready yet.
    pub(super) unready: Vec<String>,
    /// Pods without a metric.
    pub(super) missing: Vec<String>,
}

/// What to come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Per cent of what is requested.
    Utilization(i64),
    /// An amount per Pod.
    Average(f64),
}

/// What a metric says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    /// Replicas asked for.
    pub(super) replicas: i64,
    /// Per cent in use, when that is the target's measure.
    pub(super) utilization: Option<i64>,
    /// Amount in use per Pod.
    pub(super) average: f64,
}

fn ratio(used: &BTreeMap<String, f64>, requested: &BTreeMap<String, f64>, target: Target) -> f64 {
    let total: f64 = used.values().sum();
    match target {
        Target::Utilization(percent) => {
            let asked: f64 = used.keys().filter_map(|pod| requested.get(pod)).sum();
            (total * 100.0 / asked).floor() / percent as f64
        }
        Target::Average(amount) => total / used.len() as f64 / amount,
    }
}

/// Decides; `tolerance` is how far off the target is near enough, downwards and upwards.
pub(super) fn propose(usage: &Usage, target: Target, current: i64, tolerance: (f64, f64)) -> Option<Proposal> {
    if usage.used.is_empty() {
        return None;
    }
    let near = |ratio: f64| (1.0 - tolerance.0..=1.0 + tolerance.1).contains(&ratio);
    let first = ratio(&usage.used, &usage.requested, target);
    let total: f64 = usage.used.values().sum();
    let asked: f64 = usage.used.keys().filter_map(|pod| usage.requested.get(pod)).sum();
    let proposal = |replicas| Proposal {
        replicas,
        utilization: matches!(target, Target::Utilization(_)).then(|| (total * 100.0 / asked) as i64),
        average: total / usage.used.len() as f64,
    };
    let up_with_unready = !usage.unready.is_empty() && first > 1.0;
    if !up_with_unready && usage.missing.is_empty() {
        let replicas = if near(first) {
            current
        } else {
            ceil(first * usage.used.len() as f64)
        };
        return Some(proposal(replicas));
    }
    let mut used = usage.used.clone();
    for pod in &usage.missing {
        // Of what is not known the worst is assumed: on the way down full use, on the way up none.
        let full = match target {
            Target::Utilization(percent) => {
                usage.requested.get(pod).copied().unwrap_or_default() * percent.max(100) as f64 / 100.0
            }
            Target::Average(amount) => amount,
        };
        used.insert(pod.clone(), if first < 1.0 { full } else { 0.0 });
    }
    if up_with_unready {
        used.extend(usage.unready.iter().map(|pod| (pod.clone(), 0.0)));
    }
    let second = ratio(&used, &usage.requested, target);
    let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    let replicas = ceil(second * used.len() as f64);
    let backwards = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
    let stays = near(second) || turned || backwards;
    Some(proposal(if stays { current } else { replicas }))
}

fn ceil(number: f64) -> i64 {
    // What is a whole number but for rounding must not become the next.
    (number - 1e-9).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(used: &[f64], unready: usize, missing: usize, current: i64, expect: i64) {
        let names = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
        let pods: Vec<String> = names("p", used.len());
        let (unready, missing) = (names("u", unready), names("m", missing));
        let all = pods.iter().chain(&unready).chain(&missing);
        let usage = Usage {
            requested: all.map(|pod| (pod.clone(), 100.0)).collect(),
            used: pods.into_iter().zip(used.iter().copied()).collect(),
            unready,
            missing,
        };
        let found = propose(&usage, Target::Utilization(50), current, (0.1, 0.1)).unwrap();
        assert_eq!(found.replicas, expect);
    }

    #[test]
    fn replicas_follow_use() {
        check(&[50.0, 50.0], 0, 0, 2, 2);
        check(&[53.0, 53.0], 0, 0, 2, 2);
        check(&[100.0, 100.0], 0, 0, 2, 4);
        check(&[10.0, 10.0, 10.0], 0, 0, 3, 1);
        // Pods on their way count as idle when it is about more of them.
        check(&[100.0, 100.0], 2, 0, 4, 4);
        // Pods that say nothing count as busy when it is about fewer.
        check(&[10.0, 10.0], 0, 1, 3, 3);
    }
}
