//! PersistentVolumes and claims find each other, and part.
//!
//! Keys are claims and, without a namespace, volumes. What to do is [`decide`], pure; here it is written,
//! every write upon the revision that was decided upon. Making volumes is for provisioners, ours
//! ([`super::local_path`]) and others'.

mod decide;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Change, Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Rest};
use serde_json::{Value, json};

use self::decide::{ForClaim, ForVolume, Words, World};
use super::kinds::storage::{Claim, StorageClass, Volume};
use super::queue::Queue;
use super::{Context, Controller, Next, local_path};
use crate::projection::{Watched, update};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONER: [&str; 2] = [
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

struct VolumeBinder {
    rest: Rest,
    claims: Arc<Reflector<Claim>>,
    volumes: Arc<Reflector<Volume>>,
    classes: Arc<Reflector<StorageClass>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = VolumeBinder {
        rest: context.rest.clone(),
        claims: context.caches.of(),
        volumes: context.caches.of(),
        classes: context.caches.of(),
        events: context.events.clone(),
    };
    let (volumes, queue) = (controller.volumes.clone(), context.queue.clone());
    controller.claims.subscribe(move |change| {
        let claim = change.latest();
        queue.add(claim.key());
        for volume in volumes.select("", |volume| concerns(volume, claim)) {
            queue.add(volume.key());
        }
    });
    let (claims, queue) = (controller.claims.clone(), context.queue.clone());
    controller
        .volumes
        .subscribe(move |change| volume_changed(change, &claims, &queue));
    let (claims, queue) = (controller.claims.clone(), context.queue.clone());
    controller.classes.subscribe(move |_| queue_unbound(&claims, &queue));
    Arc::new(controller)
}

fn concerns(volume: &Volume, claim: &Claim) -> bool {
    let named = volume.spec.claim_ref.as_ref();
    volume.metadata.name == claim.spec.volume_name
        || named.is_some_and(|to| to.name == claim.metadata.name && to.namespace == claim.metadata.namespace)
}

fn volume_changed(change: &Change<'_, Volume>, claims: &Reflector<Claim>, queue: &Queue) {
    queue.add(change.latest().key());
    for named in [change.old, change.new]
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.spec.claim_ref.as_ref())
    {
        queue.add(Key::new(&named.namespace, &named.name));
    }
    let is_free = |volume: &Volume| volume.spec.claim_ref.is_none();
    if change.new.is_some_and(|volume| is_free(volume)) {
        queue_unbound(claims, queue);
    } else if change.new.is_none() && !change.initial {
        let name = change.latest().name();
        claims
            .all()
            .iter()
            .filter(|claim| &*claim.spec.volume_name == name)
            .for_each(|claim| queue.add(claim.key()));
    }
}

fn queue_unbound(claims: &Reflector<Claim>, queue: &Queue) {
    let all = claims.all();
    let unbound = all
        .iter()
        .filter(|claim| claim.metadata.annotations.bind_completed.is_none());
    unbound.for_each(|claim| queue.add(claim.key()));
}

#[async_trait]
impl Controller for VolumeBinder {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        match &*key.namespace {
            "" => self.volume(&key.name).await?,
            namespace => self.claim(namespace, &key.name).await?,
        }
        Ok(Next::Change)
    }
}

impl VolumeBinder {
    async fn claim(&self, namespace: &str, name: &str) -> rest::Result<()> {
        let Some(claim) = self.claims.get(namespace, name) else {
            return Ok(());
        };
        let (volumes, classes) = (self.volumes.all(), self.classes.all());
        let world = World {
            volumes: &volumes,
            classes: &classes,
        };
        match decide::for_claim(&claim, world) {
            ForClaim::Rest => Ok(()),
            ForClaim::Wait(why) => {
                self.tell(&claim, why);
                self.claim_phase(&claim, "Pending").await
            }
            ForClaim::Lose(why) => {
                if &*claim.status.phase != "Lost" {
                    self.tell(&claim, Some(why));
                }
                self.claim_phase(&claim, "Lost").await
            }
            ForClaim::Classify(class) => {
                update(&self.rest, &Claim::AT, &claim.metadata, "", |live| {
                    live["spec"]["storageClassName"] = class.into();
                })
                .await
            }
            ForClaim::Ask(provisioner) => self.ask(&claim, provisioner).await,
            ForClaim::Reserve(volume) => self.reserve(volume, &claim).await,
            ForClaim::Complete(volume) => self.complete(volume, &claim).await,
        }
    }

    /// Names the provisioner that is to make a volume.
    async fn ask(&self, claim: &Claim, provisioner: &str) -> rest::Result<()> {
        if provisioner != local_path::PROVISIONER {
            let words = format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
                 the system administrator. If volume creation is delayed, please verify that the provisioner is running \
                 and correctly registered."
            );
            self.tell(claim, Some((false, "ExternalProvisioning", words)));
        }
        update(&self.rest, &Claim::AT, &claim.metadata, "", |live| {
            for annotation in PROVISIONER {
                live["metadata"]["annotations"][annotation] = provisioner.into();
            }
        })
        .await
    }

    /// The volume names the claim. Of several binders and claims the first to write wins.
    async fn reserve(&self, volume: &Volume, claim: &Claim) -> rest::Result<()> {
        let chosen = volume.spec.claim_ref.is_none();
        update(&self.rest, &Volume::AT, &volume.metadata, "", |live| {
            live["spec"]["claimRef"] = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace, "name": claim.metadata.name, "uid": claim.metadata.uid,
                "resourceVersion": claim.metadata.resource_version,
            });
            if chosen {
                live["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
            }
        })
        .await
    }

    /// The claim names the volume; once it does, it is Bound.
    async fn complete(&self, volume: &Volume, claim: &Claim) -> rest::Result<()> {
        let (chosen, done) = (
            claim.spec.volume_name.is_empty(),
            claim.metadata.annotations.bind_completed.is_some(),
        );
        if chosen || !done {
            return update(&self.rest, &Claim::AT, &claim.metadata, "", |live| {
                live["spec"]["volumeName"] = (*volume.metadata.name).into();
                let annotations = &mut live["metadata"]["annotations"];
                annotations[BIND_COMPLETED] = "yes".into();
                if chosen {
                    annotations[BOUND_BY_CONTROLLER] = "yes".into();
                }
            })
            .await;
        }
        let (status, spec) = (&claim.status, &volume.spec);
        let says = status.access_modes == spec.access_modes && status.capacity.storage == spec.capacity.storage;
        if &*status.phase == "Bound" && says {
            return Ok(());
        }
        update(&self.rest, &Claim::AT, &claim.metadata, "status", |live| {
            live["status"]["phase"] = "Bound".into();
            live["status"]["accessModes"] = json!(spec.access_modes);
            live["status"]["capacity"] = json!({"storage": spec.capacity.storage});
        })
        .await
    }

    async fn claim_phase(&self, claim: &Claim, phase: &str) -> rest::Result<()> {
        if &*claim.status.phase == phase {
            return Ok(());
        }
        update(&self.rest, &Claim::AT, &claim.metadata, "status", |live| {
            live["status"] = json!({"phase": phase});
        })
        .await
    }

    async fn volume(&self, name: &str) -> rest::Result<()> {
        let Some(volume) = self.volumes.get("", name) else {
            return Ok(());
        };
        let claim = self.claim_of(&volume).await?;
        match decide::for_volume(&volume, claim.as_deref()) {
            ForVolume::Phase(phase) => self.volume_phase(&volume, phase, None).await,
            ForVolume::Free { keep_name } => {
                update(&self.rest, &Volume::AT, &volume.metadata, "", |live| {
                    if keep_name {
                        live["spec"]["claimRef"]["uid"] = Value::Null;
                        live["spec"]["claimRef"]["resourceVersion"] = Value::Null;
                    } else {
                        live["spec"]["claimRef"] = Value::Null;
                        live["metadata"]["annotations"][BOUND_BY_CONTROLLER] = Value::Null;
                    }
                })
                .await
            }
            ForVolume::Release => self.release(&volume).await,
        }
    }

    /// The claim that a volume names. Data may be deleted because it is gone, so the cache is not enough
    /// to say that it is.
    async fn claim_of(&self, volume: &Volume) -> rest::Result<Option<Arc<Claim>>> {
        let Some(named) = &volume.spec.claim_ref else {
            return Ok(None);
        };
        let cached = self.claims.get(&named.namespace, &named.name);
        if cached.as_ref().is_some_and(|claim| claim.metadata.uid == named.uid) || named.uid.is_empty() {
            return Ok(cached);
        }
        let live: Option<Claim> = self.rest.get(&Claim::AT, &named.namespace, &named.name).await?;
        Ok(live.map(Arc::new))
    }

    /// The claim is gone: the volume is Released, and whoever made it may take it away.
    async fn release(&self, volume: &Volume) -> rest::Result<()> {
        let somebody_elses = volume.metadata.annotations.provisioned_by.is_some();
        let why = match &*volume.spec.persistent_volume_reclaim_policy {
            "Delete" if !somebody_elses => Some((
                "VolumeFailedDelete",
                "error getting deleter volume plugin for volume: no deletable volume plugin matched",
            )),
            "Recycle" => Some(("VolumeFailedRecycle", "No recycler plugin found for the volume!")),
            _ => None,
        };
        match (&*volume.status.phase, why) {
            ("Failed", _) | ("Released", None) => Ok(()),
            ("Released", Some((reason, words))) => {
                let about = volume.metadata.reference("v1", "PersistentVolume");
                self.events.event(&about, Severity::Warning, reason, words.to_owned());
                self.volume_phase(volume, "Failed", Some(words)).await
            }
            _ => self.volume_phase(volume, "Released", None).await,
        }
    }

    async fn volume_phase(&self, volume: &Volume, phase: &str, message: Option<&str>) -> rest::Result<()> {
        if &*volume.status.phase == phase {
            return Ok(());
        }
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        update(&self.rest, &Volume::AT, &volume.metadata, "status", |live| {
            live["status"] = json!({"phase": phase, "lastPhaseTransitionTime": now.to_string()});
            if let Some(message) = message {
                live["status"]["message"] = message.into();
            }
        })
        .await
    }

    fn tell(&self, claim: &Claim, words: Option<Words>) {
        if let Some((warns, reason, message)) = words {
            let severity = if warns { Severity::Warning } else { Severity::Normal };
            let about = claim.metadata.reference("v1", "PersistentVolumeClaim");
            self.events.event(&about, severity, reason, message);
        }
    }
}
