//! Creating and deleting Pods on behalf of an owner, with the Events that tell of it.

use std::future::Future;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::params::{DeleteParams, Preconditions};
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::rest::{self, Rest};
use serde_json::Value;

use super::Context;
use super::kinds::Pod;
use crate::projection::{Meta, Watched};

/// How many Pods one owner creates or deletes at the same time: several owners do it at once, and together they
/// must leave room among the calls that the API server takes.
pub(super) const AT_ONCE: usize = 32;

/// Creates and deletes Pods.
#[derive(Debug)]
pub(super) struct PodControl {
    rest: Rest,
    events: Recorder,
}

#[derive(serde::Deserialize)]
struct Created {
    metadata: Meta,
}

impl PodControl {
    /// In the name of the controller that is being built.
    pub(super) fn new(context: &Context<'_>) -> Self {
        Self {
            rest: context.rest.clone(),
            events: context.events.clone(),
        }
    }

    /// Creates a Pod.
    pub(super) async fn create(&self, namespace: &str, about: &ObjectReference, pod: &Value) -> rest::Result<()> {
        let created: rest::Result<Created> = self.rest.create(&Pod::AT, namespace, pod).await;
        match created {
            Ok(created) => {
                let message = format!("Created pod: {}", created.metadata.name);
                self.events.event(about, Severity::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                if !rest::is_namespace_terminating(&error) {
                    let message = format!("Error creating: {}", rest::message(&error));
                    self.events.event(about, Severity::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    /// Deletes a Pod: this one, not a successor of the same name.
    pub(super) async fn delete<A>(&self, about: &ObjectReference, pod: &Meta<A>) -> rest::Result<()> {
        let result = delete_exactly(&self.rest, pod).await;
        match &result {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.name);
                self.events.event(about, Severity::Normal, "SuccessfulDelete", message);
            }
            Err(error) => {
                let message = format!("Error deleting: {}", rest::message(error));
                self.events.event(about, Severity::Warning, "FailedDelete", message);
            }
        }
        result
    }
}

/// Deletes a Pod unless it was already replaced by one of the same name.
pub(super) async fn delete_exactly<A>(rest: &Rest, pod: &Meta<A>) -> rest::Result<()> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(pod.uid.to_string()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match rest.delete(&Pod::AT, &pod.namespace, &pod.name, &params).await {
        Err(error) if rest::is_conflict(&error) => Ok(()),
        result => result,
    }
}

/// How far [`in_batches`] came.
pub(super) struct Batches {
    /// How many succeeded.
    pub(super) done: usize,
    /// Why it stopped.
    pub(super) error: Option<rest::Error>,
}

/// Works in batches that double: a quota or a bad template costs one refusal, not hundreds.
pub(super) async fn in_batches<T, F>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Batches
where
    F: Future<Output = rest::Result<()>>,
{
    let (mut items, mut size, mut done) = (items.into_iter().peekable(), 1, 0);
    while items.peek().is_some() {
        let results = join_all(items.by_ref().take(size).map(&work)).await;
        let tried = results.len();
        let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        done += tried - failed.len();
        if let Some(error) = failed.into_iter().next_back() {
            return Batches {
                done,
                error: Some(error),
            };
        }
        size = AT_ONCE.min(size * 2);
    }
    Batches { done, error: None }
}
