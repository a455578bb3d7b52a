//! How endpoints are spread over slices: what exists is kept as far as it can be. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::backends::{Endpoint, Group, Port};
use crate::projection::{Labels, Meta, projection};

/// How many endpoints a slice holds at most (upstream's default).
const CAPACITY: usize = 100;

/// A slice of ours as it exists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Slice {
    /// Metadata.
    pub(super) metadata: Meta<Labels>,
    address_type: Box<str>,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Endpoint>>,
}

projection!(Slice, "discovery.k8s.io", "v1", "endpointslices", labels: "endpointslice.kubernetes.io/managed-by in (endpointslice-controller.k8s.io,endpointslicemirroring-controller.k8s.io)");

impl Slice {
    fn group(&self) -> Group {
        let mut ports = self.ports.clone().unwrap_or_default();
        ports.sort();
        Group {
            address_type: self.address_type.clone(),
            ports,
        }
    }
}

/// A slice as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceForm {
    /// `IPv4` or `IPv6`.
    pub(super) address_type: Box<str>,
    /// Ports.
    pub(super) ports: Vec<Port>,
    /// Endpoints.
    pub(super) endpoints: Vec<Endpoint>,
}

/// The writes that lead from what exists to what is wanted.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// New slices.
    pub(super) create: Vec<SliceForm>,
    /// Slices that change.
    pub(super) update: Vec<(Arc<Slice>, SliceForm)>,
    /// Slices that are no longer needed.
    pub(super) delete: Vec<Arc<Slice>>,
}

/// Plans the writes. `labels` are those that every slice must carry.
pub(super) fn plan(mut desired: BTreeMap<Group, Vec<Endpoint>>, existing: &[Arc<Slice>], labels: &Value) -> Plan {
    let mut plan = Plan::default();
    let mut by_group: BTreeMap<Group, Vec<Arc<Slice>>> = BTreeMap::new();
    for slice in existing {
        by_group.entry(slice.group()).or_default().push(slice.clone());
    }
    let stale: Vec<_> = by_group
        .keys()
        .filter(|group| !desired.contains_key(group))
        .cloned()
        .collect();
    for group in stale {
        plan.delete.extend(by_group.remove(&group).unwrap_or_default());
    }
    for (group, endpoints) in &mut desired {
        let slices = by_group.remove(group).unwrap_or_default();
        plan_group(group, std::mem::take(endpoints), slices, labels, &mut plan);
    }
    plan
}

fn identity(endpoint: &Endpoint) -> (&[Box<str>], Option<&super::backends::Target>) {
    (&endpoint.addresses, endpoint.target_ref.as_ref())
}

fn plan_group(group: &Group, mut wanted: Vec<Endpoint>, slices: Vec<Arc<Slice>>, labels: &Value, plan: &mut Plan) {
    let is_placeholder = wanted.is_empty();
    // What each slice keeps: the endpoints that are still wanted, in their present condition.
    let mut kept: Vec<(Arc<Slice>, Vec<Endpoint>, bool)> = Vec::new();
    for slice in slices {
        let present = slice.endpoints.clone().unwrap_or_default();
        let mut keep = Vec::with_capacity(present.len());
        for old in &present {
            if let Some(at) = wanted.iter().position(|new| identity(new) == identity(old)) {
                keep.push(wanted.swap_remove(at));
            }
        }
        let changed = keep != present || serde_json::json!(slice.metadata.labels.to_map()) != *labels;
        kept.push((slice, keep, changed));
    }
    // New endpoints go first where something is written anyway, then where all of them fit, else
    // into new slices.
    for (_, keep, changed) in &mut kept {
        if *changed && !keep.is_empty() {
            let room = (CAPACITY - keep.len().min(CAPACITY)).min(wanted.len());
            keep.extend(wanted.drain(..room));
        }
    }
    if !wanted.is_empty() && wanted.len() < CAPACITY {
        let fitting = kept
            .iter_mut()
            .filter(|(_, keep, _)| keep.len() + wanted.len() <= CAPACITY);
        if let Some((_, keep, changed)) = fitting.max_by_key(|(_, keep, _)| keep.len()) {
            keep.append(&mut wanted);
            *changed = true;
        }
    }
    let form = |endpoints: Vec<Endpoint>| SliceForm {
        address_type: group.address_type.clone(),
        ports: group.ports.clone(),
        endpoints,
    };
    let mut placeholder_kept = false;
    for (slice, keep, changed) in kept {
        let needed = !keep.is_empty() || (is_placeholder && !std::mem::replace(&mut placeholder_kept, true));
        match (needed, changed) {
            (false, _) => plan.delete.push(slice),
            (true, true) => plan.update.push((slice, form(keep))),
            (true, false) => {}
        }
    }
    if is_placeholder && !placeholder_kept {
        plan.create.push(form(Vec::new()));
    }
    for chunk in wanted.chunks(CAPACITY) {
        plan.create.push(form(chunk.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn endpoint(number: u32, ready: bool) -> Endpoint {
        let endpoint = json!({"addresses": [format!("10.0.{}.{}", number / 250, number % 250)],
                              "conditions": {"ready": ready}});
        serde_json::from_value(endpoint).expect("an endpoint")
    }

    fn group() -> Group {
        Group {
            address_type: "IPv4".into(),
            ports: Vec::new(),
        }
    }

    /// Carries a plan out on what exists.
    fn apply(existing: &mut Vec<Arc<Slice>>, plan: Plan, next: &mut u32) -> usize {
        let writes = plan.create.len() + plan.update.len() + plan.delete.len();
        let gone = |slice: &Arc<Slice>| plan.delete.iter().any(|s| s.metadata.name == slice.metadata.name);
        existing.retain(|slice| !gone(slice));
        for (slice, form) in plan.update {
            let at = existing
                .iter()
                .position(|s| s.metadata.name == slice.metadata.name)
                .expect("exists");
            let mut changed = (*slice).clone();
            changed.endpoints = Some(form.endpoints);
            existing[at] = Arc::new(changed);
        }
        for form in plan.create {
            *next += 1;
            let slice = json!({"metadata": {"name": next.to_string()}, "addressType": form.address_type,
                               "ports": form.ports, "endpoints": form.endpoints});
            existing.push(Arc::new(serde_json::from_value(slice).expect("a slice")));
        }
        writes
    }

    proptest! {
        #[test]
        fn slices_hold_what_is_wanted_and_a_second_plan_is_empty(
            steps in prop::collection::vec(prop::collection::btree_map(0u32..400, any::<bool>(), 0..350), 1..4),
        ) {
            let (mut existing, mut next, labels) = (Vec::new(), 0, json!({}));
            for step in steps {
                let wanted: Vec<_> = step.iter().map(|(n, ready)| endpoint(*n, *ready)).collect();
                let desired = BTreeMap::from([(group(), wanted.clone())]);
                let planned = plan(desired.clone(), &existing, &labels);
                apply(&mut existing, planned, &mut next);
                let mut held: Vec<_> = existing.iter().flat_map(|s| s.endpoints.clone().unwrap_or_default()).collect();
                prop_assert!(existing.iter().all(|s| s.endpoints.as_ref().is_none_or(|e| e.len() <= CAPACITY)));
                let order = |a: &Endpoint, b: &Endpoint| a.addresses.cmp(&b.addresses);
                held.sort_by(order);
                let mut wanted = wanted;
                wanted.sort_by(order);
                prop_assert_eq!(held, wanted);
                prop_assert!(!existing.is_empty(), "a Service has a slice, if an empty one");
                let planned = plan(desired, &existing, &labels);
                prop_assert_eq!(apply(&mut existing, planned, &mut next), 0);
            }
        }
    }
}
