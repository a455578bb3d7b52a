//! Matching as upstream, and a model in which caches lag and writes race.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::controllers::kinds::storage::ClaimReference;

fn claim(patch: Value) -> Claim {
    let mut claim = json!({"metadata": {"name": "c", "namespace": "default", "uid": "u"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "slow"}});
    json_patch::merge(&mut claim, &patch);
    serde_json::from_str(&claim.to_string()).expect("a claim")
}

fn volume(name: &str, patch: Value) -> Arc<Volume> {
    let mut volume = json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "slow"}});
    json_patch::merge(&mut volume, &patch);
    serde_json::from_str(&volume.to_string()).expect("a volume")
}

fn class(name: &str, waits: bool, patch: Value) -> Arc<StorageClass> {
    let mode = if waits { "WaitForFirstConsumer" } else { "Immediate" };
    let mut class = json!({"metadata": {"name": name}, "provisioner": "p", "volumeBindingMode": mode});
    json_patch::merge(&mut class, &patch);
    serde_json::from_str(&class.to_string()).expect("a class")
}

fn check(own: Value, volumes: &[Arc<Volume>], classes: &[Arc<StorageClass>], expect: &str) {
    let own = claim(own);
    let found = match for_claim(&own, World { volumes, classes }) {
        ForClaim::Rest => "rest".to_owned(),
        ForClaim::Wait(None) => "wait".to_owned(),
        ForClaim::Wait(Some((_, reason, words))) => format!("{reason}: {words}"),
        ForClaim::Classify(class) => format!("class {class}"),
        ForClaim::Ask(provisioner) => format!("ask {provisioner}"),
        ForClaim::Reserve(volume) => format!("reserve {}", volume.metadata.name),
        ForClaim::Complete(volume) => format!("complete {}", volume.metadata.name),
        ForClaim::Lose((_, reason, _)) => format!("lose {reason}"),
    };
    assert_eq!(found, expect, "{own:?}");
}

#[test]
fn volumes_match_as_upstream() {
    let size = |name: &str, size: &str| volume(name, json!({"spec": {"capacity": {"storage": size}}}));
    let all = [size("big", "5Gi"), size("small", "1Gi"), size("tiny", "1Mi")];
    check(json!({}), &all, &[], "reserve small");
    check(
        json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
        &all,
        &[],
        "reserve big",
    );
    let none = r#"ProvisioningFailed: storageclass.storage.k8s.io "slow" not found"#;
    for (own, other) in [
        (json!({"spec": {"accessModes": ["ReadWriteMany"]}}), json!({})),
        (json!({"spec": {"volumeMode": "Block"}}), json!({})),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), json!({})),
        (json!({}), json!({"spec": {"storageClassName": "fast"}})),
        (json!({}), json!({"status": {"phase": "Released"}})),
        (
            json!({}),
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ),
        (
            json!({}),
            json!({"spec": {"claimRef": {"name": "other", "namespace": "default"}}}),
        ),
    ] {
        check(own, &[volume("v", other)], &[], none);
    }
    let labelled = volume("v", json!({"metadata": {"labels": {"a": "b"}}}));
    check(
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        &[labelled],
        &[],
        "reserve v",
    );
}

#[test]
fn reservations_come_first() {
    let reserved = volume(
        "v9",
        json!({"spec": {"claimRef": {"name": "c", "namespace": "default"}, "capacity": {"storage": "9Gi"}}}),
    );
    let plain = volume("v1", json!({}));
    check(json!({}), &[plain.clone(), reserved], &[], "reserve v9");
    let ours = volume(
        "v9",
        json!({"spec": {"claimRef": {"name": "c", "namespace": "default", "uid": "u"}}}),
    );
    check(json!({}), &[plain.clone(), ours.clone()], &[], "complete v9");
    let named = json!({"spec": {"volumeName": "v1"}});
    check(named.clone(), std::slice::from_ref(&plain), &[], "reserve v1");
    check(named.clone(), &[], &[], "wait");
    let small = volume("v1", json!({"spec": {"capacity": {"storage": "1Mi"}}}));
    check(
        named.clone(),
        &[small],
        &[],
        r#"VolumeMismatch: Cannot bind to requested volume "v1": requested PV is too small"#,
    );
    let taken = volume(
        "v1",
        json!({"spec": {"claimRef": {"name": "x", "namespace": "default", "uid": "x"}}}),
    );
    check(
        named,
        std::slice::from_ref(&taken),
        &[],
        r#"FailedBinding: volume "v1" already bound to a different claim."#,
    );
    let done =
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v1"}});
    check(done.clone(), &[], &[], "lose ClaimLost");
    check(done, &[taken], &[], "lose ClaimMisbound");
}

#[test]
fn classes_provision() {
    let (now, later) = (class("slow", false, json!({})), class("slow", true, json!({})));
    check(json!({}), &[], std::slice::from_ref(&now), "ask p");
    let asked = json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "p"}}});
    check(asked, &[], &[now], "wait");
    let wait = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    check(json!({}), &[volume("v", json!({}))], std::slice::from_ref(&later), wait);
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}});
    check(selected, &[], &[later], "ask p");
    check(
        json!({"spec": {"storageClassName": ""}}),
        &[],
        &[],
        "FailedBinding: no persistent volumes available for this claim and no storage class is set",
    );
    let default = |name: &str, at: &str| {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
        class(
            name,
            true,
            json!({"metadata": {"annotations": annotations, "creationTimestamp": at}}),
        )
    };
    let classes = [
        default("old", "2026-01-01T00:00:00Z"),
        default("new", "2026-02-01T00:00:00Z"),
    ];
    check(json!({"spec": {"storageClassName": null}}), &[], &classes, "class new");
}

#[test]
fn volumes_follow_their_claims() {
    let with = |reference: Value, patch: Value| {
        let mut spec = json!({"spec": {"claimRef": reference}});
        json_patch::merge(&mut spec, &patch);
        volume("v", spec)
    };
    let to = |uid: &str| json!({"name": "c", "namespace": "default", "uid": uid});
    let own = claim(json!({}));
    let bound = claim(json!({"spec": {"volumeName": "v"}}));
    let elsewhere = claim(json!({"spec": {"volumeName": "w"}}));
    assert_eq!(for_volume(&volume("v", json!({})), None), ForVolume::Phase("Available"));
    assert_eq!(
        for_volume(&with(to(""), json!({})), Some(&own)),
        ForVolume::Phase("Available")
    );
    assert_eq!(
        for_volume(&with(to("u"), json!({})), Some(&own)),
        ForVolume::Phase("Bound")
    );
    assert_eq!(
        for_volume(&with(to("u"), json!({})), Some(&bound)),
        ForVolume::Phase("Bound")
    );
    assert_eq!(for_volume(&with(to("u"), json!({})), None), ForVolume::Release);
    assert_eq!(
        for_volume(&with(to("older"), json!({})), Some(&bound)),
        ForVolume::Release
    );
    let free = |keep_name| ForVolume::Free { keep_name };
    assert_eq!(for_volume(&with(to("u"), json!({})), Some(&elsewhere)), free(true));
    let chosen = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}});
    assert_eq!(for_volume(&with(to("u"), chosen), Some(&elsewhere)), free(false));
}

/// The API server with its revisions, and a binder that may act on what was true a while ago.
#[derive(Clone, Default)]
struct Model {
    claims: Vec<(u64, Claim)>,
    volumes: Vec<(u64, Arc<Volume>)>,
}

impl Model {
    fn world(&self) -> Vec<Arc<Volume>> {
        self.volumes.iter().map(|(_, volume)| volume.clone()).collect()
    }

    /// Writes a volume unless it changed since it was read.
    fn write_volume(&mut self, seen: &Self, name: &str, change: impl FnOnce(&mut Volume)) {
        let at = |model: &Self| {
            model
                .volumes
                .iter()
                .position(|(_, volume)| &*volume.metadata.name == name)
        };
        let (Some(then), Some(now)) = (at(seen), at(self)) else {
            return;
        };
        if seen.volumes[then].0 == self.volumes[now].0 {
            let mut volume = (*self.volumes[now].1).clone();
            change(&mut volume);
            self.volumes[now] = (self.volumes[now].0 + 1, Arc::new(volume));
        }
    }

    fn write_claim(&mut self, seen: &Self, uid: &str, change: impl FnOnce(&mut Claim)) {
        let at = |model: &Self| model.claims.iter().position(|(_, claim)| &*claim.metadata.uid == uid);
        let (Some(then), Some(now)) = (at(seen), at(self)) else {
            return;
        };
        if seen.claims[then].0 == self.claims[now].0 {
            self.claims[now].0 += 1;
            change(&mut self.claims[now].1);
        }
    }

    /// One reconcile of a claim by a binder that sees `seen`.
    fn bind(&mut self, seen: &Self, n: usize) {
        let Some((_, claim)) = seen.claims.get(n % seen.claims.len().max(1)) else {
            return;
        };
        let (volumes, uid) = (seen.world(), claim.metadata.uid.clone());
        match for_claim(
            claim,
            World {
                volumes: &volumes,
                classes: &[],
            },
        ) {
            ForClaim::Reserve(volume) => {
                let to = ClaimReference {
                    namespace: claim.metadata.namespace.clone(),
                    name: claim.metadata.name.clone(),
                    uid,
                };
                self.write_volume(seen, &volume.metadata.name, |volume| volume.spec.claim_ref = Some(to));
            }
            ForClaim::Complete(volume) => {
                let name = volume.metadata.name.clone();
                self.write_claim(seen, &uid, |claim| {
                    claim.spec.volume_name = name;
                    claim.metadata.annotations.bind_completed = Some("yes".into());
                });
            }
            _ => {}
        }
    }

    /// One reconcile of a volume by a binder that sees `seen`, with its live look at a missing claim.
    fn settle(&mut self, seen: &Self, n: usize) {
        let Some((_, volume)) = seen.volumes.get(n % seen.volumes.len().max(1)) else {
            return;
        };
        let named = |model: &Self| {
            let to = volume.spec.claim_ref.as_ref()?;
            let mut claims = model.claims.iter().map(|(_, claim)| claim);
            claims.find(|claim| claim.metadata.name == to.name).cloned()
        };
        let known = named(seen).filter(|claim| {
            volume
                .spec
                .claim_ref
                .as_ref()
                .is_some_and(|to| to.uid == claim.metadata.uid)
        });
        let claim = known.or_else(|| named(self));
        match for_volume(volume, claim.as_ref()) {
            ForVolume::Phase(phase) => {
                self.write_volume(seen, &volume.metadata.name, |volume| volume.status.phase = phase.into())
            }
            ForVolume::Release => self.write_volume(seen, &volume.metadata.name, |volume| {
                volume.status.phase = "Released".into()
            }),
            ForVolume::Free { keep_name } => self.write_volume(seen, &volume.metadata.name, |volume| match keep_name {
                true => volume
                    .spec
                    .claim_ref
                    .as_mut()
                    .into_iter()
                    .for_each(|to| to.uid = "".into()),
                false => volume.spec.claim_ref = None,
            }),
        }
    }
}

proptest! {
    #[test]
    fn a_volume_has_one_claim(
        volumes in 1usize..4,
        steps in prop::collection::vec((0u8..6, 0usize..8, 0usize..6), 1..120),
    ) {
        let mut model = Model::default();
        for n in 0..volumes {
            model.volumes.push((0, volume(&format!("v{n}"), json!({}))));
        }
        let (mut past, mut made) = (vec![model.clone()], 0);
        for (what, n, lag) in steps {
            let seen = past[past.len().saturating_sub(lag + 1)].clone();
            match what {
                0 => {
                    made += 1;
                    let name = format!("c{}", n % 3);
                    if !model.claims.iter().any(|(_, claim)| *claim.metadata.name == *name) {
                        model.claims.push((0, claim(json!({"metadata": {"name": name, "uid": format!("u{made}")}}))));
                    }
                }
                1 if !model.claims.is_empty() => drop(model.claims.remove(n % model.claims.len())),
                2 | 3 => model.bind(&seen, n),
                _ => model.settle(&seen, n),
            }
            past.push(model.clone());
            let bound: Vec<_> = model.claims.iter().map(|(_, claim)| claim).filter(|claim| !claim.spec.volume_name.is_empty()).collect();
            for claim in &bound {
                let volume = model.volumes.iter().map(|(_, volume)| volume);
                let volume = volume.into_iter().find(|volume| volume.metadata.name == claim.spec.volume_name).expect("it stays");
                prop_assert!(has(volume, claim), "{claim:?} names {volume:?}");
            }
            let mut names: Vec<_> = bound.iter().map(|claim| &claim.spec.volume_name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), bound.len());
        }
    }
}
