//! What every cluster has from its first start: namespaces, priority classes, the default RBAC policy, and
//! the `kubernetes` Service that leads to the API server.
//!
//! [`run`] brings it about at every start, through the API, before anything else asks for it. It is
//! idempotent: where nothing is missing, nothing is written. What users changed stays, but for what would
//! lock the cluster's own parts out: roles and bindings get back what they lost, unless an annotation
//! forbids it ([`AUTO_UPDATE`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::DeleteParams;
use mizzen_api::client::rest::{self, Gvr, Rest};
use mizzen_api::resource::{Resource, builtin};
use serde_json::{Value, json};

pub mod policy;

use crate::apiserver::authorization::rules::{Rule, uncovered};
use crate::controllers::certificates::approval::password_secret;
use crate::join::{AGENT_CONFIG, NAMESPACE};

/// Annotation of RBAC objects that are brought up to date at start unless a user sets it to `false`.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// How we name ourselves to the API server.
const AGENT: &str = "mizzen-bootstrap";

/// Name of the Service that leads to the servers.
const KUBERNETES: &str = "kubernetes";

/// The role of who enforces NetworkPolicies.
const POLICIES: &str = "mizzen:network-policies";

/// How often an object is looked at anew because another server wrote it meanwhile.
const ATTEMPTS: usize = 10;

/// Objects written at the same time: they share the store's commits.
const AT_ONCE: usize = 64;

/// What depends on this server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API server can be reached from Pods and nodes.
    pub server: SocketAddr,
    /// Whether it is the only one; several publish themselves while they run.
    pub alone: bool,
    /// Address of the `kubernetes` Service.
    pub service_address: IpAddr,
    /// The CA behind client certificates, which extension API servers check clients by.
    pub client_ca_pem: String,
    /// The CA behind front proxies' certificates.
    pub request_header_ca_pem: String,
    /// What agents are told about the cluster.
    pub agents: BTreeMap<&'static str, String>,
    /// Name of the node in this process and the hash of its password.
    pub node: Option<(String, String)>,
    /// Whether nodes enforce NetworkPolicies, for which they see all Pods.
    pub network_policy: bool,
}

/// Brings the objects about. The client must be allowed everything.
pub async fn run(client: kube::Client, options: &Options) -> Result<()> {
    let writer = Writer(Rest::new(client, AGENT));
    // All others live in these.
    writer.ensure_all(namespaces()).await?;
    let mut objects = priority_classes();
    let roles = policy::roles().iter();
    let (roles, without): (Vec<_>, Vec<_>) = roles.partition(|role| options.network_policy || role.name != POLICIES);
    objects.extend(roles.iter().map(|role| role.object()));
    objects.extend(roles.iter().flat_map(|role| role.binding_objects()));
    for role in without {
        for object in role.binding_objects().chain([role.object()]) {
            writer.remove(&object).await?;
        }
    }
    objects.push(kubernetes_service(options));
    if options.server.ip().is_loopback() {
        tracing::warn!("the API server has no address that Pods can reach: the kubernetes Service leads nowhere");
    } else if options.alone {
        objects.extend(kubernetes_endpoints(&[options.server.ip().to_string()], options.server));
    }
    objects.push(authentication_config(options));
    objects.push(agent_config(options));
    let node = options.node.as_ref();
    objects.extend(node.map(|(name, hash)| password_secret(name, hash)));
    objects.push(storage_class());
    writer.ensure_all(objects).await
}

struct Writer(Rest);

impl Writer {
    async fn ensure_all(&self, objects: Vec<Value>) -> Result<()> {
        stream::iter(objects)
            .map(|object| async move {
                let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
                let mut ensured = self.ensure(&object).await;
                for _ in 1..ATTEMPTS {
                    match &ensured {
                        Err(error) if raced(error) => ensured = self.ensure(&object).await,
                        _ => break,
                    }
                }
                ensured.with_context(|| format!("cannot set up {what}"))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn ensure(&self, wanted: &Value) -> Result<()> {
        let (row, namespace, name) = place(wanted)?;
        let at = Gvr::new(&row.group, &row.version, &row.plural);
        let Some(existing) = self.0.get::<Value>(&at, namespace, name).await? else {
            self.0.create::<Value>(&at, namespace, wanted).await?;
            return Ok(());
        };
        match merge(&existing, wanted) {
            Merge::Keep => {}
            Merge::Update(object) => {
                self.0.replace::<Value>(&at, (namespace, name), "", &object).await?;
            }
            Merge::Replace => {
                self.remove(wanted).await?;
                self.0.create::<Value>(&at, namespace, wanted).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, object: &Value) -> Result<()> {
        let (row, namespace, name) = place(object)?;
        let at = Gvr::new(&row.group, &row.version, &row.plural);
        self.0.delete(&at, namespace, name, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// Where an object belongs: its resource, namespace and name.
fn place(object: &Value) -> Result<(&'static Resource, &str, &str)> {
    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }
    let api_version = text(&object["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let row = builtin()
        .by_kind(group, version, text(&object["kind"]))
        .context("no such kind")?;
    let metadata = &object["metadata"];
    Ok((row, text(&metadata["namespace"]), text(&metadata["name"])))
}

/// Whether another server that starts was quicker.
fn raced(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<kube::Error>();
    error.is_some_and(|error| rest::is_conflict(error) || rest::is_already_exists(error))
}

/// What is to be done about an object that is there.
#[derive(Debug, PartialEq)]
enum Merge {
    Keep,
    Update(Value),
    /// It must be created anew, because what is wrong cannot be changed.
    Replace,
}

fn merge(existing: &Value, wanted: &Value) -> Merge {
    let mut merged = existing.clone();
    match wanted["kind"].as_str().unwrap_or_default() {
        "ClusterRole" | "Role" | "ClusterRoleBinding" | "RoleBinding"
            if existing["metadata"]["annotations"][AUTO_UPDATE] == "false" =>
        {
            return Merge::Keep;
        }
        "ClusterRole" | "Role" => merge_role(&mut merged, wanted),
        "ClusterRoleBinding" | "RoleBinding" if existing["roleRef"] != wanted["roleRef"] => return Merge::Replace,
        "ClusterRoleBinding" | "RoleBinding" => merge_subjects(&mut merged, wanted),
        // These say where the server is now.
        "Endpoints" => merged["subsets"] = wanted["subsets"].clone(),
        "EndpointSlice" => {
            merged["endpoints"] = wanted["endpoints"].clone();
            merged["ports"] = wanted["ports"].clone();
        }
        "ConfigMap" => {
            for (key, value) in wanted["data"].as_object().into_iter().flatten() {
                merged["data"][key] = value.clone();
            }
        }
        "Service" => merge_ports(&mut merged, wanted),
        _ => {}
    }
    if merged == *existing {
        Merge::Keep
    } else {
        Merge::Update(merged)
    }
}

fn merge_role(role: &mut Value, wanted: &Value) {
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            role["metadata"][field][key] = value.clone();
        }
    }
    if !wanted["aggregationRule"].is_null() {
        role["aggregationRule"] = wanted["aggregationRule"].clone();
        return;
    }
    let rules = |role: &Value| serde_json::from_value::<Vec<Rule>>(role["rules"].clone()).unwrap_or_default();
    let (mut all, expected) = (rules(role), rules(wanted));
    let before = all.len();
    let lost: Vec<_> = expected
        .into_iter()
        .filter(|rule| !uncovered(&all, std::slice::from_ref(rule)).is_empty())
        .collect();
    all.extend(lost);
    if all.len() != before {
        role["rules"] = serde_json::to_value(all).expect("rules encode");
    }
}

fn merge_subjects(binding: &mut Value, wanted: &Value) {
    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        let same = |own: &Value| {
            ["kind", "name", "namespace"]
                .iter()
                .all(|field| own[field] == subject[field])
        };
        let present = binding["subjects"].as_array().is_some_and(|all| all.iter().any(same));
        match binding["subjects"].as_array_mut() {
            _ if present => {}
            Some(subjects) => subjects.push(subject.clone()),
            None => binding["subjects"] = json!([subject]),
        }
    }
}

/// Only where the port leads: the rest of the Service has been defaulted, and may be users' own.
fn merge_ports(service: &mut Value, wanted: &Value) {
    let wanted = &wanted["spec"]["ports"][0];
    let ports = service["spec"]["ports"].as_array_mut();
    if let Some(port) = ports.into_iter().flatten().find(|port| port["name"] == wanted["name"]) {
        port["targetPort"] = wanted["targetPort"].clone();
    }
}

fn namespaces() -> Vec<Value> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    names
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .into()
}

fn priority_classes() -> Vec<Value> {
    let class = |name: &str, value: u32, description: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description})
    };
    vec![
        class(
            "system-cluster-critical",
            2_000_000_000,
            "For Pods that the cluster needs, on whichever node.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "For Pods that their node needs, on just this node.",
        ),
    ]
}

/// The class of the built-in provisioner. Users may take its being the default away.
fn storage_class() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": crate::controllers::local_path::PROVISIONER,
        "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"})
}

fn kubernetes_service(options: &Options) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {
            "name": KUBERNETES, "namespace": "default", "labels": {"component": "apiserver", "provider": KUBERNETES}},
        "spec": {"type": "ClusterIP", "clusterIP": options.service_address.to_string(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": options.server.port()}]}})
}

/// Where the Service leads to; `like` tells the servers' port and kind of address.
fn kubernetes_endpoints(servers: &[String], like: SocketAddr) -> [Value; 2] {
    let ports = json!([{"name": "https", "port": like.port(), "protocol": "TCP"}]);
    let family = if like.is_ipv4() { "IPv4" } else { "IPv6" };
    let addresses: Vec<_> = servers.iter().map(|ip| json!({"ip": ip})).collect();
    let endpoints = servers
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}));
    [
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {
                "name": KUBERNETES, "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": addresses, "ports": ports}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
                "name": KUBERNETES, "namespace": "default",
                "labels": {"kubernetes.io/service-name": KUBERNETES}},
            "addressType": family, "endpoints": endpoints.collect::<Vec<_>>(), "ports": ports}),
    ]
}

/// Lets the `kubernetes` Service lead to these servers, in order of address.
pub async fn publish_servers(client: kube::Client, servers: &[String], like: SocketAddr) -> Result<()> {
    let writer = Writer(Rest::new(client, AGENT));
    writer.ensure_all(kubernetes_endpoints(servers, like).into()).await
}

/// How extension API servers know clients that come to them directly or through us.
fn authentication_config(options: &Options) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
    "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
    "data": {
        "client-ca-file": options.client_ca_pem,
        "requestheader-client-ca-file": options.request_header_ca_pem,
        "requestheader-allowed-names": r#"["system:auth-proxy"]"#,
        "requestheader-username-headers": r#"["X-Remote-User"]"#,
        "requestheader-group-headers": r#"["X-Remote-Group"]"#,
        "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
        "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
    }})
}

/// What agents need to know beside what the API tells anyway.
fn agent_config(options: &Options) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": AGENT_CONFIG, "namespace": NAMESPACE}, "data": options.agents})
}

#[cfg(test)]
mod tests;
