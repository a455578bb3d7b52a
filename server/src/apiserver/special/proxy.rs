//! `nodes/proxy`, `pods/proxy` and `services/proxy`: HTTP through the API server.

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use mizzen_api::client::tls;
use mizzen_api::object::Object;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use super::kubelet;
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::call::Call;
use crate::apiserver::connect::{self, Target};
use crate::apiserver::decode;
use crate::cache::Reader;

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// `[scheme:]name[:port]`, as the path names what is meant.
struct Name<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> ApiResult<Self> {
        let parts: Vec<_> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme @ ("http" | "https" | ""), name, port] => (*scheme, *name, *port),
            _ => return Err(ApiError::bad_request(format!("invalid proxy request {text:?}"))),
        };
        Ok(Self {
            https: scheme == "https",
            name,
            port,
        })
    }

    fn number(&self) -> Option<u16> {
        self.port.parse().ok()
    }
}

/// Passes the request on to a Pod.
pub(super) async fn pod(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let name = Name::parse(call.name())?;
    let pod = call.peek("", "pods", call.namespace(), name.name).await?;
    let address = pod
        .get("status")
        .and_then(|status| status["podIP"].as_str())
        .unwrap_or_default();
    if address.is_empty() {
        return Err(ApiError::unavailable(format!(
            "address not allowed: pod {} has none yet",
            name.name
        )));
    }
    let port = if name.port.is_empty() {
        first_port(&pod)
    } else {
        name.number()
    };
    let target = http_target(&call, &name, address, port);
    connect::forward(&call, body, target).await
}

fn first_port(pod: &Object) -> Option<u16> {
    let containers = pod.get("spec").and_then(|spec| spec["containers"].as_array());
    let mut ports = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["ports"][0]["containerPort"].as_u64());
    ports.next().and_then(|port| u16::try_from(port).ok())
}

/// Passes the request on to a Pod behind a Service.
pub(super) async fn service(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let name = Name::parse(call.name())?;
    let service = call.peek("", "services", call.namespace(), name.name).await?;
    let no_endpoints = || ApiError::unavailable(format!("no endpoints available for service {:?}", call.name()));
    let port_name = port_name(&service, &name).ok_or_else(no_endpoints)?;
    let row = builtin_row("discovery.k8s.io", "endpointslices");
    let mut ready = Vec::new();
    for entry in call.server.cache.list(&row, Some(call.namespace())) {
        let of_service = entry
            .labels
            .iter()
            .any(|(key, value)| **key == *SERVICE_LABEL && **value == *name.name);
        if of_service {
            endpoints(&decode::stored(&entry.json)?, &port_name, &mut ready);
        }
    }
    if ready.is_empty() {
        return Err(no_endpoints());
    }
    let (address, port) = ready.swap_remove(rand::random_range(0..ready.len()));
    let target = http_target(&call, &name, &address, Some(port));
    connect::forward(&call, body, target).await
}

/// Name under which EndpointSlices list the Service's port.
fn port_name(service: &Object, name: &Name<'_>) -> Option<String> {
    let ports = service.get("spec").and_then(|spec| spec["ports"].as_array())?;
    let matches = |port: &&Value| {
        name.port.is_empty() || port["name"] == name.port || port["port"].as_u64() == name.number().map(u64::from)
    };
    if name.port.is_empty() && ports.len() != 1 {
        return None;
    }
    let port = ports.iter().find(matches)?;
    Some(port["name"].as_str().unwrap_or_default().to_owned())
}

fn endpoints(slice: &Object, port_name: &str, into: &mut Vec<(String, u16)>) {
    let list = |key: &str| slice.get(key).and_then(Value::as_array).into_iter().flatten();
    let port = list("ports").find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let Some(port) = port
        .and_then(|port| port["port"].as_u64())
        .and_then(|port| u16::try_from(port).ok())
    else {
        return;
    };
    for endpoint in list("endpoints").filter(|endpoint| endpoint["conditions"]["ready"] != false) {
        let addresses = endpoint["addresses"].as_array().into_iter().flatten();
        into.extend(
            addresses
                .filter_map(Value::as_str)
                .map(|address| (address.to_owned(), port)),
        );
    }
}

/// Passes the request on to a kubelet, or to another port of its node.
pub(super) async fn node(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let name = Name::parse(call.name())?;
    let mut target = kubelet::target(&call, name.name, path(&call)).await?;
    if let Some(port) = name.number().filter(|port| *port != target.port) {
        target.port = port;
        target.tls = target.tls.filter(|_| name.https);
    }
    target.prefix = prefix(&call);
    connect::forward(&call, body, target).await
}

fn http_target(call: &Call, name: &Name<'_>, host: &str, port: Option<u16>) -> Target {
    let default = if name.https { 443 } else { 80 };
    Target {
        host: host.to_owned(),
        port: port.unwrap_or(default),
        tls: name.https.then(|| Arc::new(tls::any_server())),
        path: path(call),
        prefix: prefix(call),
    }
}

/// Path and query as the other side gets them.
fn path(call: &Call) -> String {
    let path = if call.info.rest.is_empty() {
        "/"
    } else {
        &call.info.rest
    };
    match call.parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Our own path up to where the other side's begins.
fn prefix(call: &Call) -> String {
    let path = call.parts.uri.path();
    path.strip_suffix(&call.info.rest).unwrap_or(path).to_owned()
}
