//! The built-in provisioner: a claim of its class gets a directory on the node of its first Pod.
//!
//! Each node says in an annotation where its directories are; its kubelet makes one when it is first
//! mounted, and removes it when asked through the API server's `nodes/proxy`. Keys are claims and,
//! without a namespace, volumes.
//!
//! Invariant: data is removed only when the volume was Released (its claim is gone, looked up live by the
//! binder) and its policy is Delete; a finalizer keeps the volume until that is done.

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::params::DeleteParams;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Gvr, Rest};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::kinds::Node;
use super::kinds::storage::{Claim, StorageClass, Volume};
use super::queue::Queue;
use super::{Context, Controller, Next};
use crate::projection::{Watched, update};

/// How classes name this provisioner.
pub(crate) const PROVISIONER: &str = "mizzen.local/local-path";
/// Keeps a volume until its data is dealt with; the name is that of external provisioners.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

struct LocalPath {
    rest: Rest,
    claims: Arc<Reflector<Claim>>,
    volumes: Arc<Reflector<Volume>>,
    classes: Arc<Reflector<StorageClass>>,
    nodes: Arc<Reflector<Node>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = LocalPath {
        rest: context.rest.clone(),
        claims: context.caches.of(),
        volumes: context.caches.of(),
        classes: context.caches.of(),
        nodes: context.caches.of(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller.claims.subscribe(move |change| {
        let claim = change.latest();
        if change.new.is_some() && claim.metadata.annotations.provisioner.as_deref() == Some(PROVISIONER) {
            queue.add(claim.key());
        }
    });
    let queue = context.queue.clone();
    controller.volumes.subscribe(move |change| {
        if change.new.is_some_and(|volume| is_ours(volume)) {
            queue.add(change.latest().key());
        }
    });
    let (volumes, queue) = (controller.volumes.clone(), context.queue.clone());
    controller.nodes.subscribe(move |change| {
        let ready = |node: &Node| {
            node.status
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True")
        };
        let (before, now) = (change.old.map(|node| ready(node)), change.new.map(|node| ready(node)));
        // A node that comes back, or will never, may let a removal go on.
        if before != now && now != Some(false) {
            queue_released(&volumes, &queue);
        }
    });
    Arc::new(controller)
}

fn is_ours(volume: &Volume) -> bool {
    volume.metadata.annotations.provisioned_by.as_deref() == Some(PROVISIONER)
}

fn queue_released(volumes: &Reflector<Volume>, queue: &Queue) {
    let released = volumes.select("", |volume| is_ours(volume) && &*volume.status.phase == "Released");
    released.iter().for_each(|volume| queue.add(volume.key()));
}

#[async_trait]
impl Controller for LocalPath {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        match &*key.namespace {
            "" => self.reclaim(&key.name).await?,
            namespace => self.provision(namespace, &key.name).await?,
        }
        Ok(Next::Change)
    }
}

impl LocalPath {
    async fn provision(&self, namespace: &str, name: &str) -> rest::Result<()> {
        let Some(claim) = self.claims.get(namespace, name) else {
            return Ok(());
        };
        let volume = format!("pvc-{}", claim.metadata.uid);
        let waits = claim.spec.volume_name.is_empty() && !claim.metadata.is_deleting();
        if !waits || self.volumes.get("", &volume).is_some() {
            return Ok(());
        }
        let class = self.classes.get("", claim.class());
        let Some(class) = class.filter(|class| &*class.provisioner == PROVISIONER) else {
            return Ok(());
        };
        let Some(selected) = claim.metadata.annotations.selected_node.as_deref() else {
            let words = "a volume of this provisioner is on one node, which the first Pod decides: \
                         the class needs volumeBindingMode WaitForFirstConsumer";
            self.tell(&claim, Severity::Warning, "ProvisioningFailed", words.to_owned());
            return Ok(());
        };
        let Some(node) = self.nodes.get("", selected) else {
            // The scheduler chooses again.
            return update(&self.rest, &Claim::AT, &claim.metadata, "", |live| {
                live["metadata"]["annotations"][SELECTED_NODE] = Value::Null;
            })
            .await;
        };
        match plan(&claim, &class, &node) {
            Err(why) => {
                let words = format!(
                    "failed to provision volume with StorageClass {:?}: {why}",
                    class.metadata.name
                );
                self.tell(&claim, Severity::Warning, "ProvisioningFailed", words);
                Ok(())
            }
            Ok(object) => match self.rest.create::<IgnoredAny>(&Volume::AT, "", &object).await {
                Err(error) if !rest::is_already_exists(&error) => Err(error),
                _ => {
                    let words = format!("Successfully provisioned volume {volume}");
                    self.tell(&claim, Severity::Normal, "ProvisioningSucceeded", words);
                    Ok(())
                }
            },
        }
    }

    /// Deals with a volume that is Released or being deleted.
    async fn reclaim(&self, name: &str) -> rest::Result<()> {
        let Some(volume) = self.volumes.get("", name).filter(|volume| is_ours(volume)) else {
            return Ok(());
        };
        let released = &*volume.status.phase == "Released";
        let deletes = &*volume.spec.persistent_volume_reclaim_policy == "Delete";
        let deleting = volume.metadata.is_deleting();
        if !((released && deletes) || (deleting && !deletes)) {
            return Ok(());
        }
        if deletes && let Err(error) = self.remove(&volume).await {
            let about = volume.metadata.reference("v1", "PersistentVolume");
            let words = rest::message(&error);
            self.events
                .event(&about, Severity::Warning, "VolumeFailedDelete", words);
            return Err(error);
        }
        if !deleting {
            self.rest
                .delete(&Volume::AT, "", name, &DeleteParams::default())
                .await?;
            return Ok(());
        }
        update(&self.rest, &Volume::AT, &volume.metadata, "", |live| {
            if let Some(finalizers) = live["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|finalizer| finalizer != FINALIZER);
            }
        })
        .await
    }

    /// Has the volume's directory removed by its node; a node that is gone took it along.
    async fn remove(&self, volume: &Volume) -> rest::Result<()> {
        let (Some(node), Some(folder)) = (&volume.metadata.annotations.node, folder(volume)) else {
            return Ok(());
        };
        if self.nodes.get("", node).is_none() {
            return Ok(());
        }
        let proxy = format!("{}/proxy/localVolumes", node);
        let at = Gvr::new("", "v1", "nodes");
        self.rest
            .delete(&at, "", &format!("{proxy}/{folder}"), &DeleteParams::default())
            .await
    }

    fn tell(&self, claim: &Claim, severity: Severity, reason: &'static str, message: String) {
        let about = claim.metadata.reference("v1", "PersistentVolumeClaim");
        self.events.event(&about, severity, reason, message);
    }
}

/// The last part of a volume's path.
fn folder(volume: &Volume) -> Option<&str> {
    let path = &volume.spec.host_path.as_ref()?.path;
    path.rsplit('/').next().filter(|folder| !folder.is_empty())
}

/// The volume for a claim on a node, or why there can be none.
fn plan(claim: &Claim, class: &StorageClass, node: &Node) -> Result<Value, String> {
    if &*claim.spec.volume_mode == "Block" {
        return Err("block volumes are not supported".to_owned());
    }
    if claim.spec.selector.is_some() {
        return Err("claim.spec.selector is not supported".to_owned());
    }
    let shared = claim
        .spec
        .access_modes
        .iter()
        .find(|mode| !mode.starts_with("ReadWriteOnce"));
    if let Some(mode) = shared {
        return Err(format!(
            "access mode {mode} is not supported: the volume is on one node"
        ));
    }
    let meta = &claim.metadata;
    let Some(base) = &node.metadata.annotations.local_path else {
        return Err(format!("node {} does not offer local volumes", node.metadata.name));
    };
    let hostname = node.metadata.labels.get(HOSTNAME).unwrap_or(&node.metadata.name);
    let name = format!("pvc-{}", meta.uid);
    let path = format!("{}/{name}_{}_{}", base.trim_end_matches('/'), meta.namespace, meta.name);
    let expression = json!({"key": HOSTNAME, "operator": "In", "values": [hostname]});
    Ok(json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name, "finalizers": [FINALIZER],
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER, "mizzen.local/node": node.metadata.name},
        },
        "spec": {
            "accessModes": claim.spec.access_modes,
            "capacity": {"storage": claim.spec.resources.requests.storage},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": class.metadata.name,
            "volumeMode": "Filesystem",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(spec: Value, annotations: Value) -> Result<Value, String> {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "default", "uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        json_patch::merge(&mut claim["spec"], &spec);
        let class = json!({"metadata": {"name": "local-path"}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete"});
        let node = json!({"metadata": {"name": "n1", "labels": {HOSTNAME: "host1"}, "annotations": annotations}});
        plan(
            &serde_json::from_str(&claim.to_string()).expect("a claim"),
            &serde_json::from_str(&class.to_string()).expect("a class"),
            &serde_json::from_str(&node.to_string()).expect("a node"),
        )
    }

    #[test]
    fn a_volume_is_a_directory_of_its_node() {
        let offers = || json!({"mizzen.local/local-path": "/data/storage"});
        let volume = planned(json!({}), offers()).expect("a volume");
        assert_eq!(volume["spec"]["hostPath"]["path"], "/data/storage/pvc-u_default_c");
        assert_eq!(volume["metadata"]["annotations"]["mizzen.local/node"], "n1");
        insta::assert_snapshot!(volume["spec"]["nodeAffinity"], @r#"{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["host1"]}]}]}}"#);
        let why = |spec, annotations| planned(spec, annotations).expect_err("a reason");
        insta::assert_snapshot!(why(json!({"accessModes": ["ReadWriteMany"]}), offers()), @"access mode ReadWriteMany is not supported: the volume is on one node");
        insta::assert_snapshot!(why(json!({"volumeMode": "Block"}), offers()), @"block volumes are not supported");
        insta::assert_snapshot!(why(json!({"selector": {}}), offers()), @"claim.spec.selector is not supported");
        insta::assert_snapshot!(why(json!({}), json!({})), @"node n1 does not offer local volumes");
    }
}
