//! The claims of a StatefulSet's Pods: named after them, kept or deleted with them as the set says.

use serde_json::{Map, Value, json};

use crate::controllers::kinds::Pod;
use crate::controllers::kinds::sets::{RetentionPolicy, StatefulSet};
use crate::projection::Owner;

/// The claim templates of a set.
pub(super) fn templates(set: &StatefulSet) -> Vec<Value> {
    let raw = set.spec.volume_claim_templates.as_ref();
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// The name of the claim that a template makes for an ordinal.
pub(super) fn name(template: &Value, set: &str, ordinal: i64) -> String {
    format!(
        "{}-{set}-{ordinal}",
        template["metadata"]["name"].as_str().unwrap_or_default()
    )
}

/// A claim as its template describes it, labelled as the set selects.
pub(super) fn claim(template: &Value, set: &StatefulSet, ordinal: i64) -> Value {
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let selected = set.spec.selector.match_labels().iter();
    labels.extend(selected.map(|(key, value)| (key.to_owned(), value.into())));
    let mut metadata = Map::new();
    metadata.insert("name".into(), name(template, &set.metadata.name, ordinal).into());
    metadata.insert("labels".into(), labels.into());
    if let Some(annotations) = template["metadata"].get("annotations") {
        metadata.insert("annotations".into(), annotations.clone());
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
}

fn deletes(policy: &str) -> bool {
    policy == "Delete"
}

/// Whether the set's policy ever deletes claims.
pub(super) fn may_delete(policy: &RetentionPolicy) -> bool {
    deletes(&policy.when_deleted) || deletes(&policy.when_scaled)
}

/// The owners that a claim should have: with which of set and Pod it goes. `None` when it has them.
pub(super) fn owners(present: &[Owner], set: &StatefulSet, pod: &Pod, wanted: bool) -> Option<Vec<Value>> {
    let policy = &set.spec.persistent_volume_claim_retention_policy;
    let is_set = |owner: &Owner| owner.uid == set.metadata.uid;
    let is_pod = |owner: &Owner| &*owner.kind == "Pod" && owner.name == pod.metadata.name;
    // Somebody else manages it.
    if present
        .iter()
        .any(|owner| owner.controller && !is_set(owner) && !is_pod(owner))
    {
        return None;
    }
    let goes_with_pod = deletes(&policy.when_scaled) && !wanted;
    let goes_with_set = deletes(&policy.when_deleted) && !goes_with_pod;
    let mut owners: Vec<Value> = present
        .iter()
        .filter(|owner| !is_set(owner) && !is_pod(owner))
        .map(|owner| {
            json!({"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
                "controller": owner.controller, "blockOwnerDeletion": owner.block_owner_deletion})
        })
        .collect();
    if goes_with_set {
        owners.push(set.metadata.controller_reference("apps/v1", "StatefulSet"));
    }
    if goes_with_pod {
        owners.push(pod.metadata.controller_reference("v1", "Pod"));
    }
    let has = |test: &dyn Fn(&Owner) -> bool| present.iter().any(test);
    let right =
        has(&is_set) == goes_with_set && has(&|owner| is_pod(owner) && owner.uid == pod.metadata.uid) == goes_with_pod;
    (!right || has(&is_pod) != goes_with_pod).then_some(owners)
}

/// Whether a claim goes with a Pod that is no longer there, so that no new Pod may use it.
pub(super) fn is_stale(present: &[Owner], pod: &str, live_uid: Option<&str>) -> bool {
    let of_pod = present
        .iter()
        .filter(|owner| &*owner.kind == "Pod" && &*owner.name == pod);
    of_pod.into_iter().any(|owner| Some(&*owner.uid) != live_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: (&str, &str), wanted: bool, present: &str, expect: &str) {
        let set = json!({"metadata": {"name": "db", "uid": "s"}, "spec": {"persistentVolumeClaimRetentionPolicy":
            {"whenDeleted": policy.0, "whenScaled": policy.1}}});
        let set: StatefulSet = serde_json::from_str(&set.to_string()).expect("a set");
        let pod: Pod = serde_json::from_str(r#"{"metadata": {"name": "db-0", "uid": "p"}}"#).expect("a Pod");
        let owner = |word: &str| Owner {
            kind: if word == "s" { "StatefulSet" } else { "Pod" }.into(),
            name: if word == "s" { "db" } else { "db-0" }.into(),
            uid: word.into(),
            ..Owner::default()
        };
        let present: Vec<_> = present.split_whitespace().map(owner).collect();
        let found = owners(&present, &set, &pod, wanted).map(|owners| {
            let uids: Vec<_> = owners
                .iter()
                .map(|owner| owner["uid"].as_str().expect("a uid").to_owned())
                .collect();
            format!("[{}]", uids.join(" "))
        });
        assert_eq!(found.as_deref().unwrap_or("right"), expect);
    }

    #[test]
    fn claims_go_with_what_the_policy_says() {
        check(("Retain", "Retain"), true, "", "right");
        check(("Retain", "Retain"), true, "s", "[]");
        check(("Delete", "Retain"), true, "", "[s]");
        check(("Delete", "Retain"), false, "s", "right");
        check(("Retain", "Delete"), true, "p", "[]");
        check(("Retain", "Delete"), false, "", "[p]");
        check(("Delete", "Delete"), true, "s", "right");
        check(("Delete", "Delete"), false, "s", "[p]");
        check(("Delete", "Delete"), false, "older", "[p]");
    }

    #[test]
    fn a_claim_of_a_pod_that_was_is_stale() {
        let of = |uid: &str| {
            vec![Owner {
                kind: "Pod".into(),
                name: "db-0".into(),
                uid: uid.into(),
                ..Owner::default()
            }]
        };
        assert!(is_stale(&of("old"), "db-0", None));
        assert!(is_stale(&of("old"), "db-0", Some("new")));
        assert!(!is_stale(&of("new"), "db-0", Some("new")));
        assert!(!is_stale(&[], "db-0", None));
    }
}
