//! `pods/log`, `exec`, `attach` and `portforward`: asked of the kubelet that runs the Pod.

use std::sync::Arc;

use axum::body::Body;
use form_urlencoded::Serializer;
use http::{Response, StatusCode};
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use crate::apiserver::call::{Call, read_body};
use crate::apiserver::connect::{self, Target};

/// Upstream's port, for nodes that do not tell theirs.
const DEFAULT_PORT: u16 = 10250;

/// Shows a container's log.
pub(super) async fn log(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let pod = pod(&call).await?;
    let container = container(&call, &pod)?;
    if node_name(&pod).is_empty() {
        return Ok(Response::new(Body::empty()));
    }
    const OPTIONS: [&str; 8] = [
        "follow",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "sinceTime",
        "stream",
        "tailLines",
        "timestamps",
    ];
    let options = OPTIONS.into_iter().filter(|option| call.query.has(option));
    let query = encode(options.map(|option| (option, call.query.get(option))));
    let path = format!(
        "/containerLogs/{}/{}/{container}?{query}",
        call.namespace(),
        call.name()
    );
    let response = connect::forward(&call, body, target(&call, node_name(&pod), path).await?).await?;
    // A WebSocket is an upgrade.
    if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    refusal(response).await
}

/// What the kubelet refuses is a Status to our client.
async fn refusal(response: Response<Body>) -> ApiResult<Response<Body>> {
    let code = response.status().as_u16();
    let text = read_body(response.into_body()).await?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(match code {
        400 => ApiError::bad_request(text),
        404 => ApiError::new(
            404,
            "NotFound",
            format!("the server could not find the requested resource ({text})"),
        ),
        403 => ApiError::forbidden(text),
        code => ApiError::new(code, "InternalError", format!("Internal error occurred: {text}")),
    })
}

/// Opens streams to a container: `exec` and `attach`.
pub(super) async fn stream(call: Arc<Call>, body: Body, what: &str) -> ApiResult<Response<Body>> {
    let pod = pod(&call).await?;
    let container = container(&call, &pod)?;
    let node = required_node(&pod)?;
    let streams = [
        ("stdin", "input", false),
        ("stdout", "output", what == "attach"),
        ("stderr", "error", what == "attach"),
        ("tty", "tty", false),
    ];
    let is_on = |ours, absent| {
        if call.query.has(ours) {
            call.query.flag(ours)
        } else {
            absent
        }
    };
    let streams = streams.into_iter().filter(|(ours, _, absent)| is_on(ours, *absent));
    let command = call.query.all("command").map(|argument| ("command", argument));
    let query = encode(streams.map(|(_, theirs, _)| (theirs, "1")).chain(command));
    let path = format!("/{what}/{}/{}/{container}?{query}", call.namespace(), call.name());
    connect::forward(&call, body, target(&call, node, path).await?).await
}

/// Opens streams to ports of a Pod.
pub(super) async fn port_forward(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let pod = pod(&call).await?;
    let node = required_node(&pod)?;
    let query = encode(call.query.all("ports").map(|ports| ("port", ports)));
    let path = format!("/portForward/{}/{}?{query}", call.namespace(), call.name());
    connect::forward(&call, body, target(&call, node, path).await?).await
}

fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn pod(call: &Call) -> ApiResult<Object> {
    call.peek("", "pods", call.namespace(), call.name()).await
}

fn node_name(pod: &Object) -> &str {
    pod.get("spec")
        .and_then(|spec| spec["nodeName"].as_str())
        .unwrap_or_default()
}

fn required_node(pod: &Object) -> ApiResult<&str> {
    match node_name(pod) {
        "" => Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.name()
        ))),
        node => Ok(node),
    }
}

/// The container that is meant, by name or because there is only one.
fn container(call: &Call, pod: &Object) -> ApiResult<String> {
    let names = |list: &str| -> Vec<String> {
        let list = pod.get("spec").and_then(|spec| spec[list].as_array());
        list.into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (containers, init, ephemeral) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    let asked = call.query.get("container");
    if !asked.is_empty() {
        let known = containers
            .iter()
            .chain(&init)
            .chain(&ephemeral)
            .any(|name| name == asked);
        return match known {
            true => Ok(asked.to_owned()),
            false => Err(ApiError::bad_request(format!(
                "container {asked} is not valid for pod {}",
                pod.name()
            ))),
        };
    }
    let default = pod
        .metadata()
        .and_then(|m| m.get("annotations"))
        .and_then(|a| a.get("kubectl.kubernetes.io/default-container"));
    if let Some(default) = default
        .and_then(Value::as_str)
        .filter(|name| containers.iter().any(|c| c == name))
    {
        return Ok(default.to_owned());
    }
    // Others beside a single ordinary one do not matter, as upstream.
    if let [only] = containers.as_slice() {
        return Ok(only.clone());
    }
    let mut choices = format!("choose one of: [{}]", containers.join(" "));
    if !init.is_empty() {
        choices.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        choices.push_str(&format!(
            " or one of the ephemeral containers: [{}]",
            ephemeral.join(" ")
        ));
    }
    Err(ApiError::bad_request(format!(
        "a container name must be specified for pod {}, {choices}",
        pod.name()
    )))
}

/// The kubelet of a node.
pub(super) async fn target(call: &Call, node: &str, path: String) -> ApiResult<Target> {
    target_of(call, &call.peek("", "nodes", "", node).await?, node, path)
}

/// The kubelet of a node that is at hand.
pub(super) fn target_of(call: &Call, object: &Object, node: &str, path: String) -> ApiResult<Target> {
    let tls = call.server.kubelet_tls.clone();
    let tls = tls.ok_or_else(|| ApiError::unavailable("this server has no credentials for kubelets"))?;
    let host = address(object).ok_or_else(|| {
        ApiError::internal(format!(
            "no preferred addresses found; known addresses: [] (of node {node})"
        ))
    })?;
    let port = object
        .get("status")
        .and_then(|status| status.pointer("/daemonEndpoints/kubeletEndpoint/Port"))
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    Ok(Target {
        host,
        port: port.unwrap_or(DEFAULT_PORT),
        tls: Some(tls),
        path,
        prefix: String::new(),
    })
}

/// The address at which a node is reached.
pub(super) fn address(node: &Object) -> Option<String> {
    let addresses = node.get("status").and_then(|status| status["addresses"].as_array())?;
    let of = |kind: &str| addresses.iter().find(|address| address["type"] == kind)?["address"].as_str();
    of("InternalIP").or_else(|| of("ExternalIP")).map(str::to_owned)
}
