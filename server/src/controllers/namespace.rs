//! Namespace deletion: empties a terminating namespace of everything discovery knows, then releases it.
//!
//! Pods go first and everything else after the last of them, so that nothing a Pod still needs is
//! taken away. While something is left, the key comes back when it should be gone at the latest, and
//! earlier when a Pod leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::core::params::{DeleteParams, ListParams};
use mizzen_api::client::reflector::{Key, Reflector};
use mizzen_api::client::rest::{self, List, Rest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::discovery::{self, Served};
use super::kinds::{Namespace, Pod};
use super::{Context, Controller, Next};
use crate::projection::{Meta, Watched};

const FINALIZER: &str = "kubernetes";
/// How soon content without a grace period is looked at again.
const SHORTLY: Duration = Duration::from_secs(1);

struct Namespaces {
    rest: Rest,
    namespaces: Arc<Reflector<Namespace>>,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Namespaces {
        rest: context.rest.clone(),
        namespaces: context.caches.of(),
    };
    let queue = context.queue.clone();
    controller
        .namespaces
        .subscribe(move |change| queue.add(change.latest().key_of()));
    let (namespaces, queue) = (controller.namespaces.clone(), context.queue.clone());
    context.caches.of::<Pod>().subscribe(move |change| {
        let namespace = &change.latest().metadata.namespace;
        let dying = || namespaces.get("", namespace).is_some_and(|n| n.metadata.is_deleting());
        if change.new.is_none() && dying() {
            queue.add(Key::new("", namespace));
        }
    });
    Arc::new(controller)
}

#[async_trait]
impl Controller for Namespaces {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(namespace) = self.namespaces.get("", &key.name) else {
            return Ok(Next::Change);
        };
        let is_ours = namespace
            .spec
            .finalizers
            .iter()
            .any(|finalizer| &**finalizer == FINALIZER);
        if !namespace.metadata.is_deleting() || !is_ours {
            return Ok(Next::Change);
        }
        let mut content = Content::default();
        match discovery::served(self.rest.client()).await {
            Ok((resources, failed)) => {
                content.undiscovered = failed;
                self.empty(&key.name, &resources, &mut content).await;
            }
            Err(error) => content.undiscovered.push(rest::message(&error)),
        }
        self.write_conditions(&namespace, &content).await?;
        if !content.undiscovered.is_empty() || !content.failures.is_empty() {
            let problems = [content.undiscovered, content.failures].concat();
            anyhow::bail!("namespace {} cannot be emptied: {}", key.name, problems.join("; "));
        }
        if content.remaining.is_empty() {
            self.finalize(&namespace).await?;
            return Ok(Next::Change);
        }
        Ok(Next::After(content.patience.max(SHORTLY)))
    }
}

/// What is left in a namespace.
#[derive(Debug, Default)]
struct Content {
    undiscovered: Vec<String>,
    failures: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    /// How long the longest grace period still lasts.
    patience: Duration,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ItemMeta {
    #[serde(flatten)]
    meta: Meta,
    deletion_grace_period_seconds: Option<u64>,
}

impl Namespaces {
    async fn empty(&self, namespace: &str, resources: &[Served], content: &mut Content) {
        let deletable = |served: &&Served| served.namespaced && served.allows(&["delete", "list"]);
        let is_pods = |served: &&Served| served.group.is_empty() && &*served.plural == "pods";
        for served in resources.iter().filter(is_pods) {
            self.empty_of(namespace, served, content).await;
        }
        if !content.remaining.is_empty() {
            return;
        }
        for served in resources.iter().filter(deletable).filter(|served| !is_pods(served)) {
            self.empty_of(namespace, served, content).await;
        }
    }

    async fn empty_of(&self, namespace: &str, served: &Served, content: &mut Content) {
        if let Err(error) = self.try_empty(namespace, served, content).await
            && !rest::is_not_found(&error)
        {
            content
                .failures
                .push(format!("{}: {}", served.name(), rest::message(&error)));
        }
    }

    /// Deletes all objects of a resource, and counts what is left of them.
    async fn try_empty(&self, namespace: &str, served: &Served, content: &mut Content) -> rest::Result<()> {
        let items = self.list(namespace, served).await?;
        if items.is_empty() {
            return Ok(());
        }
        if items.iter().any(|item| !item.metadata.meta.is_deleting()) {
            let background = DeleteParams::background();
            if served.allows(&["deletecollection"]) {
                self.rest
                    .delete_collection(&served.at(), namespace, &background)
                    .await?;
            } else {
                for item in &items {
                    let name = &item.metadata.meta.name;
                    self.rest.delete(&served.at(), namespace, name, &background).await?;
                }
            }
        }
        for item in self.list(namespace, served).await? {
            *content.remaining.entry(served.name()).or_default() += 1;
            for finalizer in &item.metadata.meta.finalizers {
                *content.finalizers.entry(finalizer.to_string()).or_default() += 1;
            }
            let grace = item.metadata.deletion_grace_period_seconds.unwrap_or(0);
            content.patience = content.patience.max(Duration::from_secs(grace / 2 + 1));
        }
        Ok(())
    }

    async fn list(&self, namespace: &str, served: &Served) -> rest::Result<Vec<Item>> {
        let request = kube::core::Request::new(served.at().path(namespace)).list_metadata(&ListParams::default());
        let list: List<Item> = self.rest.send(request).await?;
        Ok(list.items)
    }

    /// Takes our finalizer away: the API server then removes the namespace.
    async fn finalize(&self, namespace: &Namespace) -> rest::Result<()> {
        let meta = &namespace.metadata;
        let Some(mut live) = self.rest.get::<Value>(&Namespace::AT, "", &meta.name).await? else {
            return Ok(());
        };
        if live["metadata"]["uid"].as_str() != Some(&*meta.uid) {
            return Ok(());
        }
        if let Some(finalizers) = live["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let target = ("", &*meta.name);
        let done = self
            .rest
            .replace::<IgnoredAny>(&Namespace::AT, target, "finalize", &live)
            .await;
        match done {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn write_conditions(&self, namespace: &Namespace, content: &Content) -> rest::Result<()> {
        let Some(mut live) = self
            .rest
            .get::<Value>(&Namespace::AT, "", &namespace.metadata.name)
            .await?
        else {
            return Ok(());
        };
        let before = live["status"].clone();
        set_conditions(&mut live["status"], content, Timestamp::now());
        if live["status"] == before {
            return Ok(());
        }
        let target = ("", &*namespace.metadata.name);
        self.rest
            .replace::<IgnoredAny>(&Namespace::AT, target, "status", &live)
            .await
            .map(drop)
    }
}

/// Sets all five conditions, keeping the time of those that stay as they are.
fn set_conditions(status: &mut Value, content: &Content, now: Timestamp) {
    let listed = |what: &BTreeMap<String, usize>, between: &str| {
        let parts: Vec<_> = what
            .iter()
            .map(|(name, count)| format!("{name}{between}{count} resource instances"))
            .collect();
        parts.join(", ")
    };
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            (!content.undiscovered.is_empty()).then(|| {
                let failures = content.undiscovered.join(", ");
                (
                    "DiscoveryFailed",
                    format!(
                        "Discovery failed for some groups, {}: {failures}",
                        content.undiscovered.len()
                    ),
                )
            }),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!content.failures.is_empty()).then(|| {
                let failures = content.failures.join(", ");
                (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {failures}",
                        content.failures.len()
                    ),
                )
            }),
            (
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        (
            "NamespaceContentRemaining",
            (!content.remaining.is_empty()).then(|| {
                let what = listed(&content.remaining, " has ");
                ("SomeResourcesRemain", format!("Some resources are remaining: {what}"))
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!content.finalizers.is_empty()).then(|| {
                let what = listed(&content.finalizers, " in ");
                (
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {what}"),
                )
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (kind, problem, (good, words)) in conditions {
        let state = if problem.is_some() { "True" } else { "False" };
        let (reason, message) = problem.unwrap_or((good, words.to_owned()));
        set_condition(
            status,
            json!({
                "type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": now,
            }),
        );
    }
}

fn set_condition(status: &mut Value, mut condition: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|present| present["type"] == condition["type"])
    {
        Some(present) => {
            if present["status"] == condition["status"] {
                condition["lastTransitionTime"] = present["lastTransitionTime"].clone();
            }
            *present = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left() {
        let content = Content {
            remaining: BTreeMap::from([("pods".to_owned(), 2)]),
            finalizers: BTreeMap::from([("example.com/x".to_owned(), 1)]),
            ..Content::default()
        };
        let mut status = json!({"phase": "Terminating"});
        set_conditions(&mut status, &content, Timestamp::UNIX_EPOCH);
        let shown: Vec<_> = status["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .map(|c| {
                format!(
                    "{} {} {}",
                    c["status"].as_str().unwrap_or(""),
                    c["reason"].as_str().unwrap_or(""),
                    c["message"].as_str().unwrap_or("")
                )
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        False ResourcesDiscovered All resources successfully discovered
        False ParsedGroupVersions All legacy kube types successfully parsed
        False ContentDeleted All content successfully deleted, may be waiting on finalization
        True SomeResourcesRemain Some resources are remaining: pods has 2 resource instances
        True SomeFinalizersRemain Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances
        ");
        let before = status.clone();
        set_conditions(&mut status, &content, Timestamp::now());
        assert_eq!(status, before, "a second time writes nothing");
    }
}
