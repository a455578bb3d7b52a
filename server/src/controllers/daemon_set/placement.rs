//! On which nodes a DaemonSet's Pods belong. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::controllers::kinds::Node;
use crate::projection::Labels;
use crate::scheduler::pod::{NodeAffinity, Taint, Toleration};

/// Key, effect: what every Pod of a DaemonSet bears, since it belongs to its node in good days and bad.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: &str = "node.kubernetes.io/network-unavailable";

/// What a template says about nodes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Placement {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Box<str>,
    node_selector: Labels,
    affinity: Option<Affinity>,
    tolerations: Vec<Toleration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
}

/// What a DaemonSet has to do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A Pod belongs there.
    Run,
    /// A Pod that is there may stay.
    Stay,
    /// None may be there.
    Leave,
}

impl Placement {
    /// Reads a template, as its Pods will be.
    pub(super) fn read(template: Option<&RawValue>) -> Self {
        let mut template: Value = template
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        bear(&mut template["spec"]);
        serde_json::from_value(template).unwrap_or_default()
    }

    /// What the DaemonSet has to do with a node.
    pub(super) fn verdict(&self, node: &Node) -> Verdict {
        let spec = &self.spec;
        let labels = &node.metadata.labels;
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        let named = spec.node_name.is_empty() || spec.node_name == node.metadata.name;
        let selected = spec
            .node_selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        let liked = required.is_none_or(|required| {
            let mut terms = required.node_selector_terms.iter();
            terms.any(|term| term.matches_metadata(&node.metadata))
        });
        if !named || !selected || !liked {
            return Verdict::Leave;
        }
        match (self.bears(node, "NoExecute"), self.bears(node, "NoSchedule")) {
            (true, true) => Verdict::Run,
            (true, false) => Verdict::Stay,
            (false, _) => Verdict::Leave,
        }
    }

    fn bears(&self, node: &Node, effect: &str) -> bool {
        let taints = node.spec.taints.iter().filter(|taint| taint.effect == effect);
        taints.into_iter().all(|taint| {
            let taint = Taint {
                key: taint.key.as_ref().into(),
                value: taint.value.clone(),
                effect: effect.into(),
            };
            self.spec
                .tolerations
                .iter()
                .any(|toleration| toleration.tolerates(&taint))
        })
    }
}

/// Gives a Pod's spec the tolerations that a DaemonSet's Pods have.
pub(super) fn bear(spec: &mut Value) {
    let on_host_network = spec["hostNetwork"] == true;
    let network = on_host_network.then_some((NO_NETWORK, "NoSchedule"));
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in BORNE.into_iter().chain(network) {
        let own = json!({"key": key, "operator": "Exists", "effect": effect});
        if !tolerations.contains(&own) {
            tolerations.push(own);
        }
    }
    spec["tolerations"] = tolerations.into();
}

/// Binds a Pod's spec to one node, through the scheduler.
pub(super) fn aim(spec: &mut Value, node: &str) {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    if !spec["affinity"].is_object() {
        spec["affinity"] = json!({});
    }
    if !spec["affinity"]["nodeAffinity"].is_object() {
        spec["affinity"]["nodeAffinity"] = json!({});
    }
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, node: Value, expect: Verdict) {
        let raw = RawValue::from_string(json!({"spec": spec}).to_string()).expect("JSON");
        let node: Node = serde_json::from_value(node).expect("a Node");
        assert_eq!(Placement::read(Some(&raw)).verdict(&node), expect, "{spec} {node:?}");
    }

    #[test]
    fn nodes_are_chosen_as_upstream() {
        use Verdict::{Leave, Run, Stay};
        let node = |taint: Value| {
            let taints = if taint.is_null() { json!([]) } else { json!([taint]) };
            json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": {"taints": taints}})
        };
        let plain = node(Value::Null);
        check(json!({}), plain.clone(), Run);
        check(json!({"nodeName": "n2"}), plain.clone(), Leave);
        check(json!({"nodeSelector": {"disk": "ssd"}}), plain.clone(), Run);
        check(json!({"nodeSelector": {"disk": "hdd"}}), plain.clone(), Leave);
        let affinity = |value: &str| {
            let term = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": [value]}]});
            let required = json!({"nodeSelectorTerms": [term]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
        };
        check(affinity("ssd"), plain.clone(), Run);
        check(affinity("hdd"), plain, Leave);
        let taint = |key: &str, effect: &str| node(json!({"key": key, "effect": effect}));
        check(json!({}), taint("mine", "NoSchedule"), Stay);
        check(json!({}), taint("mine", "NoExecute"), Leave);
        check(json!({}), taint("mine", "PreferNoSchedule"), Run);
        check(json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), Run);
        check(json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), Run);
        check(json!({}), taint(NO_NETWORK, "NoSchedule"), Stay);
        check(json!({"hostNetwork": true}), taint(NO_NETWORK, "NoSchedule"), Run);
        check(
            json!({"tolerations": [{"operator": "Exists"}]}),
            taint("mine", "NoExecute"),
            Run,
        );
    }
}
