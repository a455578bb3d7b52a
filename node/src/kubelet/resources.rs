//! From requests and limits to what the kernel is told: QoS class, CPU shares and quota, memory
//! limit, and the order in which the kernel kills when memory runs out. Pure.

use std::collections::BTreeMap;

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::podinfo::{Part, PodInfo};
use super::quantity;

/// A Pod's quality of service: who gives way first when the node runs out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Limits equal requests for CPU and memory, in every container.
    Guaranteed,
    /// Something is requested.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The cgroup of the class under the Pods' cgroup; guaranteed Pods live directly in it.
    #[must_use]
    pub fn cgroup(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

/// The period of the CPU quota, in microseconds: the kernel's and upstream's default.
pub const CPU_PERIOD_US: i64 = 100_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA_US: i64 = 1_000;
const GUARANTEED_OOM_ADJ: i64 = -997;
const BEST_EFFORT_OOM_ADJ: i64 = 1_000;
/// Priorities from here on are the system's own Pods.
pub const CRITICAL_PRIORITY: i32 = 2_000_000_000;

type List = BTreeMap<String, Quantity>;

/// All containers that count for resources: init containers first, ephemeral ones not at all.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let counted = pod.parts().filter(|(part, _)| *part != Part::Ephemeral);
    counted.map(|(_, container)| container)
}

/// The Pod's class.
#[must_use]
pub fn qos_class(pod: &Pod) -> QosClass {
    if let Some(resources) = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref())
        && [&resources.requests, &resources.limits]
            .iter()
            .any(|list| list.as_ref().is_some_and(|l| !l.is_empty()))
    {
        return class_of(std::iter::once(Some(resources)));
    }
    class_of(all_containers(pod).map(|container| container.resources.as_ref()))
}

fn class_of<'a>(parts: impl Iterator<Item = Option<&'a ResourceRequirements>>) -> QosClass {
    let (mut any, mut guaranteed) = (false, true);
    for part in parts {
        for resource in ["cpu", "memory"] {
            let read = |list: Option<&List>| list.and_then(|l| l.get(resource)).map_or(0, quantity::milli);
            let limit = read(part.and_then(|p| p.limits.as_ref()));
            let request = read(part.and_then(|p| p.requests.as_ref()));
            any |= limit != 0 || request != 0;
            guaranteed &= limit != 0 && (request == 0 || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// CPU shares for a request in thousandths of a CPU.
#[must_use]
pub fn cpu_shares(milli: i64) -> i64 {
    if milli == 0 {
        MIN_SHARES
    } else {
        (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
    }
}

/// CPU quota in microseconds per [`CPU_PERIOD_US`] for a limit in thousandths of a CPU; 0 is none.
#[must_use]
pub fn cpu_quota_us(milli: i64) -> i64 {
    if milli == 0 {
        0
    } else {
        (milli * CPU_PERIOD_US / 1000).max(MIN_QUOTA_US)
    }
}

/// What a container's kernel objects are set to.
#[must_use]
pub fn for_container(pod: &Pod, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    let requests = resources.requests.unwrap_or_default();
    let limit_milli = limits.get("cpu").map_or(0, quantity::milli);
    let request_milli = requests.get("cpu").map_or(limit_milli, quantity::milli);
    let memory_limit = limits.get("memory").map_or(0, quantity::value);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: cpu_quota_us(limit_milli),
        cpu_shares: cpu_shares(request_milli),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score_adj(pod, requests.get("memory").map_or(0, quantity::value), node_memory),
        ..Default::default()
    }
}

/// Who the kernel kills first: guaranteed Pods last, and the others by their share of memory.
#[must_use]
pub fn oom_score_adj(pod: &Pod, memory_request: i64, node_memory: i64) -> i64 {
    if pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default() >= CRITICAL_PRIORITY {
        return GUARANTEED_OOM_ADJ;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => GUARANTEED_OOM_ADJ,
        QosClass::BestEffort => BEST_EFFORT_OOM_ADJ,
        QosClass::Burstable => {
            let share = i128::from(memory_request) * 1000 / i128::from(node_memory.max(1));
            let adj = 1000 - i64::try_from(share).unwrap_or(1000);
            adj.clamp(1000 + GUARANTEED_OOM_ADJ, BEST_EFFORT_OOM_ADJ - 1)
        }
    }
}

/// What the Pod's own cgroup is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCgroup {
    /// Relative weight.
    pub cpu_shares: i64,
    /// Quota in microseconds per period, when every container has a limit.
    pub cpu_quota_us: Option<i64>,
    /// Bytes, when every container has a limit.
    pub memory_limit: Option<i64>,
}

/// Which of the two lists of a container's resources is meant.
type Pick = fn(&ResourceRequirements) -> Option<&List>;
/// What is asked for.
pub const REQUESTS: Pick = |resources| resources.requests.as_ref();
/// What is the most.
pub const LIMITS: Pick = |resources| resources.limits.as_ref();

/// The sum of what the Pod's containers are given, as upstream counts, and whether every one of them says: restartable
/// init containers run beside the others, ordinary ones before them, so the larger of both phases counts; what the Pod
/// itself says overrides; what its sandbox costs comes on top.
#[must_use]
pub fn total(pod: &Pod, pick: Pick, name: &str, unit: fn(&Quantity) -> i64) -> (i64, bool) {
    let spec = pod.spec();
    let overhead = spec.overhead.as_ref().and_then(|list| list.get(name)).map_or(0, unit);
    if let Some(own) = spec.resources.as_ref().and_then(pick).and_then(|list| list.get(name)) {
        return (unit(own) + overhead, true);
    }
    let mut complete = true;
    let (mut main, mut sidecars, mut peak) = (0, 0, 0);
    for (part, container) in pod.parts() {
        let found = container
            .resources
            .as_ref()
            .and_then(pick)
            .and_then(|list| list.get(name));
        let own = found.map_or(0, unit);
        complete &= found.is_some() || part == Part::Ephemeral;
        match part {
            Part::Init => peak = peak.max(sidecars + own),
            Part::Sidecar => sidecars += own,
            Part::Main => main += own,
            Part::Ephemeral => {}
        }
    }
    (peak.max(main + sidecars) + overhead, complete)
}

/// What the Pod's own cgroup is set to, from what its containers may use.
#[must_use]
pub fn for_pod(pod: &Pod) -> PodCgroup {
    let (cpu_limit, cpu_limited) = total(pod, LIMITS, "cpu", quantity::milli);
    let (memory_limit, memory_limited) = total(pod, LIMITS, "memory", quantity::value);
    let cpu_request = total(pod, REQUESTS, "cpu", quantity::milli).0;
    PodCgroup {
        cpu_shares: cpu_shares(if cpu_request == 0 && cpu_limited {
            cpu_limit
        } else {
            cpu_request
        }),
        cpu_quota_us: (cpu_limited && cpu_limit > 0).then(|| cpu_quota_us(cpu_limit)),
        memory_limit: (memory_limited && memory_limit > 0).then_some(memory_limit),
    }
}

/// Whether an init container keeps running beside the others.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "spec": { "containers": containers } })).expect("a pod")
    }

    #[test]
    fn classes() {
        let cases = [
            (serde_json::json!([{ "name": "a" }]), QosClass::BestEffort),
            (
                serde_json::json!([{ "name": "a", "resources": { "requests": { "cpu": "1" } } }]),
                QosClass::Burstable,
            ),
            (
                serde_json::json!([{ "name": "a", "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } }]),
                QosClass::Guaranteed,
            ),
            (
                serde_json::json!([
                    { "name": "a", "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } }, { "name": "b" }
                ]),
                QosClass::Burstable,
            ),
        ];
        for (containers, expected) in cases {
            assert_eq!(qos_class(&pod(containers.clone())), expected, "{containers}");
        }
    }

    #[test]
    fn shares_and_quota_as_the_kernel_wants_them() {
        assert_eq!(
            (cpu_shares(0), cpu_shares(1), cpu_shares(500), cpu_shares(1000)),
            (2, 2, 512, 1024)
        );
        assert_eq!((cpu_quota_us(0), cpu_quota_us(1), cpu_quota_us(250)), (0, 1000, 25_000));
    }

    #[test]
    fn a_larger_request_is_killed_later() {
        let burstable = pod(serde_json::json!([{ "name": "a", "resources": { "requests": { "memory": "1Gi" } } }]));
        assert_eq!(oom_score_adj(&burstable, 1 << 30, 4 << 30), 750);
        assert_eq!(oom_score_adj(&burstable, 0, 4 << 30), 999);
        assert_eq!(oom_score_adj(&burstable, 4 << 30, 4 << 30), 3);
    }

    #[test]
    fn the_larger_phase_counts_and_what_the_sandbox_costs_on_top() {
        let asks = |name: &str, cpu: &str, policy: Option<&str>| serde_json::json!({ "name": name, "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let pod = |init: serde_json::Value| -> Pod {
            let spec = serde_json::json!({ "initContainers": init, "containers": [asks("a", "1", None)], "overhead": { "cpu": "50m" } });
            serde_json::from_value(serde_json::json!({ "spec": spec })).expect("a pod")
        };
        let cpu = |init| total(&pod(init), REQUESTS, "cpu", quantity::milli).0;
        assert_eq!(cpu(serde_json::json!([])), 1050);
        assert_eq!(cpu(serde_json::json!([asks("i", "3", None)])), 3050);
        assert_eq!(
            cpu(serde_json::json!([
                asks("s", "500m", Some("Always")),
                asks("i", "3", None)
            ])),
            3550
        );
        assert_eq!(
            cpu(serde_json::json!([
                asks("i", "1", None),
                asks("s", "500m", Some("Always"))
            ])),
            1550
        );
    }

    #[test]
    fn a_pods_memory_is_limited_only_when_every_container_is() {
        let limited = serde_json::json!({ "name": "a", "resources": { "limits": { "memory": "1Gi", "cpu": "1" } } });
        let both = for_pod(&pod(serde_json::json!([limited.clone(), limited.clone()])));
        assert_eq!(both.memory_limit, Some(2 << 30));
        assert_eq!(
            for_pod(&pod(serde_json::json!([limited, { "name": "b" }]))).memory_limit,
            None
        );
    }
}
