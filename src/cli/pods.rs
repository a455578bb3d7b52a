//! From what people name to the Pod and container that is meant.

use std::sync::Arc;
use std::time::Duration;

use mizzen_api::client::forward;
use mizzen_api::client::pods::{Selection, Target, Watched};
use mizzen_api::client::rest::Rest;
use mizzen_api::resource::Resource;
use mizzen_api::selector::LabelSelector;
use mizzen_api::view;
use serde_json::Value;

use super::error::{fail, of_pods};
use super::{Session, targets, tell};

/// The Pods that `NAME`, `pod/NAME` or `TYPE/NAME` stands for. A workload's Pods come newest last.
pub(crate) async fn of(session: &Session, argument: &str) -> anyhow::Result<Vec<Value>> {
    let pods = session.resource("pods").await?;
    let Some((kind, name)) = argument.split_once('/') else {
        return Ok(vec![session.get(&pods, &session.namespace, argument).await?]);
    };
    let resource = session.resource(kind).await?;
    let object = session.get(&resource, &session.namespace, name).await?;
    if Arc::ptr_eq(&resource, &pods) {
        return Ok(vec![object]);
    }
    let mut found = session
        .list(&pods, view::namespace(&object), Some(&selector(&resource, &object)?))
        .await?;
    found
        .sort_by(|a, b| view::text(a, "/metadata/creationTimestamp").cmp(view::text(b, "/metadata/creationTimestamp")));
    match found.is_empty() {
        true => fail(format!("no pods found for {}", targets::display(&resource, name))),
        false => Ok(found),
    }
}

/// The one Pod that is meant.
pub(crate) async fn one(session: &Session, argument: &str) -> anyhow::Result<Value> {
    let mut found = of(session, argument).await?;
    // A Pod that runs serves better than one that does not.
    let at = found
        .iter()
        .position(|p| view::text(p, "/status/phase") == "Running")
        .unwrap_or(0);
    let pod = found.swap_remove(at);
    if !found.is_empty() {
        tell(format!(
            "Found {} pods, using pod/{}",
            found.len() + 1,
            view::name(&pod)
        ));
    }
    Ok(pod)
}

/// The Pod and the container in it that are meant; a Pod that has ended is refused as something one cannot do.
pub(crate) async fn container(
    session: &Session,
    argument: &str,
    container: Option<&str>,
    cannot: &str,
) -> anyhow::Result<(Value, String)> {
    let pod = one(session, argument).await?;
    let phase = view::text(&pod, "/status/phase");
    if matches!(phase, "Succeeded" | "Failed") {
        return fail(format!("cannot {cannot} in a completed pod; current phase is {phase}"));
    }
    let name = match container {
        Some(name) => name.to_owned(),
        None => default_container(&pod)?,
    };
    Ok((pod, name))
}

/// The label selector of a workload's Pods.
pub(crate) fn selector(resource: &Resource, object: &Value) -> anyhow::Result<String> {
    let selector = match &*resource.kind {
        "Service" | "ReplicationController" => LabelSelector::from_map(view::map(object, "/spec/selector")),
        _ => LabelSelector::from_object(object.pointer("/spec/selector")).or_else(fail)?,
    };
    match selector.requirements().is_empty() {
        true => fail(format!(
            "cannot find the pods of {}: it selects none",
            targets::display(resource, view::name(object))
        )),
        false => Ok(selector.to_string()),
    }
}

/// The Pods of a target, of which one runs; waited for if need be.
pub(crate) async fn running(rest: &Rest, target: &Target, patience: Duration) -> anyhow::Result<Selection> {
    let mut selection = forward::resolve(rest, target).await.map_err(of_pods)?;
    if selection.first.iter().any(|pod| pod.serves()) {
        return Ok(selection);
    }
    let watched = Watched::start(rest, &selection);
    let serving = async {
        loop {
            let pods = watched.pods();
            if pods.iter().any(|pod| pod.serves()) {
                return pods;
            }
            watched.changed().await;
        }
    };
    match tokio::time::timeout(patience, serving).await {
        Ok(pods) => {
            selection.first = pods;
            Ok(selection)
        }
        Err(_) => match selection.first.first() {
            Some(pod) => fail(format!(
                "unable to forward port because pod is not running. Current status={}",
                pod.status.phase
            )),
            None => fail(format!("timed out waiting for a pod of {target}")),
        },
    }
}

/// Names of a Pod's containers: ordinary ones, then init and ephemeral ones.
pub(crate) fn containers(pod: &Value) -> Vec<&str> {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| view::list(pod, &format!("/spec/{kind}")))
        .map(|c| view::text(c, "/name"))
        .collect()
}

/// The container that is meant when none is named.
pub(crate) fn default_container(pod: &Value) -> anyhow::Result<String> {
    let annotated = view::text(pod, "/metadata/annotations/kubectl.kubernetes.io~1default-container");
    let all = containers(pod);
    if !annotated.is_empty() && all.contains(&annotated) {
        return Ok(annotated.to_owned());
    }
    let Some(first) = all.first() else {
        return fail(format!("pod {:?} has no containers", view::name(pod)));
    };
    if all.len() > 1 {
        let mark = |kind: &str, mark: &str| -> Vec<String> {
            let some = view::list(pod, &format!("/spec/{kind}")).iter();
            some.map(|c| format!("{}{mark}", view::text(c, "/name"))).collect()
        };
        let shown = [
            mark("containers", ""),
            mark("ephemeralContainers", " (ephem)"),
            mark("initContainers", " (init)"),
        ];
        tell(format!(
            "Defaulted container {first:?} out of: {}",
            shown.concat().join(", ")
        ));
    }
    Ok((*first).to_owned())
}
