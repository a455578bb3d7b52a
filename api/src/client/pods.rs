//! The Pods behind a name: which ones they are now, and as they come and go.
//!
//! [`resolve`] turns what people name (a Pod, a workload, a Service) into a [`Selection`]; [`Watched`] keeps that
//! selection's Pods up to date with one watch, whose task ends when it is dropped. Log followers and port-forwards
//! are built on both, so that they follow a workload from one Pod to the next.

use std::sync::Arc;

use kube::core::params::ListParams;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reflector::{Projection, Reflector, Selector};
use super::rest::{self, Gvr, Rest};
use crate::relations::{self, Reference};
use crate::resource::builtin;
use crate::view;

/// Where Pods are.
pub const PODS: Gvr<'static> = Gvr::new("", "v1", "pods");
/// How far up owners are followed: a Pod's ReplicaSet's Deployment, and whatever stands above that.
const OWNERS_MAX: usize = 3;

/// Why Pods could not be found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's answer, or none.
    #[error("{}", rest::message(.0))]
    Api(#[from] kube::Error),
    /// The object is of no use for this.
    #[error("{0}")]
    Unfit(String),
}

/// An object whose Pods are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Namespace.
    pub namespace: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl Target {
    /// A Pod.
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self::new(namespace, "", "Pod", name)
    }

    /// An object of a built-in kind.
    pub fn new(namespace: &str, group: &str, kind: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// How a Pod's successors are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// Only a Pod of that name follows.
    Name,
    /// Any Pod of the same workload follows.
    Workload,
}

/// Which Pods are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Their namespace.
    pub namespace: String,
    /// Label selector; empty when `name` selects.
    pub labels: String,
    /// Name of the only Pod; empty when `labels` select.
    pub name: String,
    /// The Pod that was asked for by name, and is the first choice.
    pub preferred: Option<String>,
    /// The Pods as they were when this was resolved.
    pub first: Vec<Arc<Pod>>,
    /// Ports of the Service that was asked for.
    pub service_ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name; empty when there is one port only.
    #[serde(default)]
    pub name: String,
    /// Number.
    pub port: u16,
    /// Where it leads to in the Pod.
    pub target_port: Option<Port>,
}

/// A port by number, or by the name that a container gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl std::str::FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = text.bytes().any(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match text.parse() {
            Ok(number @ 1..) => Ok(Self::Number(number)),
            Err(_) if is_name => Ok(Self::Name(text.to_owned())),
            _ => Err(format!("{text:?} is neither a port number nor a port's name")),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Selection {
    fn named(pod: &Value) -> Result<Self, Error> {
        Ok(Self {
            namespace: view::namespace(pod).to_owned(),
            name: view::name(pod).to_owned(),
            preferred: Some(view::name(pod).to_owned()),
            first: vec![Arc::new(project(pod.clone())?)],
            ..Self::default()
        })
    }

    /// The number, in a Pod, of a port as people name it: a Service's port, a container's name for it, a number.
    pub fn port_in(&self, pod: &Pod, wanted: &Port) -> Result<u16, Error> {
        let mut wanted = wanted;
        if !self.service_ports.is_empty() {
            let is_wanted = |p: &&ServicePort| match wanted {
                Port::Number(number) => p.port == *number,
                Port::Name(name) => p.name == *name,
            };
            let Some(port) = self.service_ports.iter().find(is_wanted) else {
                return Err(Error::Unfit(format!("service does not have a service port {wanted}")));
            };
            match &port.target_port {
                Some(Port::Number(0)) | None => return Ok(port.port),
                Some(target) => wanted = target,
            }
        }
        match wanted {
            Port::Number(number) => Ok(*number),
            Port::Name(name) => {
                let mut ports = pod.spec.all().flat_map(|c| &c.ports);
                let found = ports.find(|p| *p.name == **name).map(|p| p.container_port);
                found.ok_or_else(|| Error::Unfit(format!("pod {} has no port named {name:?}", pod.metadata.name)))
            }
        }
    }
}

/// Finds the Pods of an object.
pub async fn resolve(rest: &Rest, target: &Target, succession: Succession) -> Result<Selection, Error> {
    let object = get(rest, &target.namespace, &target.group, &target.kind, &target.name).await?;
    if target.kind != "Pod" {
        return of_workload(rest, &target.namespace, &object, None).await;
    }
    if succession == Succession::Workload
        && let Some(workload) = workload_of(rest, &target.namespace, &object).await
        && let Ok(selection) = of_workload(rest, &target.namespace, &workload, Some(target.name.clone())).await
    {
        return Ok(selection);
    }
    Selection::named(&object)
}

/// The topmost owner that selects Pods, as far as this client may look.
async fn workload_of(rest: &Rest, namespace: &str, pod: &Value) -> Option<Value> {
    let mut found = None;
    let mut object = pod.clone();
    for _ in 0..OWNERS_MAX {
        let Some(Reference { group, kind, name }) = relations::owners(&object).into_iter().next() else {
            break;
        };
        match get(rest, namespace, &group, &kind, &name).await {
            Ok(owner) => object = owner,
            Err(_) => break,
        }
        if relations::pod_selector(&object).is_some() {
            found = Some(object.clone());
        }
    }
    found
}

async fn of_workload(
    rest: &Rest,
    namespace: &str,
    object: &Value,
    preferred: Option<String>,
) -> Result<Selection, Error> {
    let display = format!("{}/{}", view::text(object, "/kind").to_lowercase(), view::name(object));
    let Some(selector) = relations::pod_selector(object).filter(|s| !s.requirements().is_empty()) else {
        return Err(Error::Unfit(format!(
            "cannot find the pods of {display}: it selects none"
        )));
    };
    let labels = selector.to_string();
    let service_ports = match view::text(object, "/kind") {
        "Service" => view::list(object, "/spec/ports")
            .iter()
            .filter_map(|port| serde_json::from_value(port.clone()).ok())
            .collect(),
        _ => Vec::new(),
    };
    let listed = rest
        .list(&PODS, namespace, &ListParams::default().labels(&labels))
        .await?;
    Ok(Selection {
        namespace: namespace.to_owned(),
        labels,
        preferred,
        first: listed.items.into_iter().map(Arc::new).collect(),
        service_ports,
        ..Selection::default()
    })
}

async fn get(rest: &Rest, namespace: &str, group: &str, kind: &str, name: &str) -> Result<Value, Error> {
    let known = builtin().iter().find(|r| r.group == group && r.kind == kind);
    let Some(resource) = known.filter(|r| r.namespaced()) else {
        return Err(Error::Unfit(format!("cannot find the pods of a {kind}")));
    };
    let at = Gvr::new(&resource.group, &resource.version, &resource.plural);
    let request = kube::core::Request::new(at.path(namespace)).get(name, &kube::core::params::GetParams::default());
    let mut object: Value = rest.send(request).await?;
    object["kind"] = kind.into();
    Ok(object)
}

fn project(pod: Value) -> Result<Pod, Error> {
    serde_json::from_value(pod).map_err(|error| Error::Api(kube::Error::SerdeError(error)))
}

/// A selection's Pods, kept up to date.
#[derive(Debug)]
pub struct Watched {
    pods: Arc<Reflector<Pod>>,
    changed: Arc<Notify>,
    _stop: DropGuard,
}

impl Watched {
    /// Starts the watch.
    pub fn start(rest: &Rest, selection: &Selection) -> Self {
        Self::with(rest, selection, Arc::default())
    }

    /// Starts a watch that tells of changes through `changed`, which several watches may share.
    pub fn with(rest: &Rest, selection: &Selection, changed: Arc<Notify>) -> Self {
        let fields = match selection.name.as_str() {
            "" => String::new(),
            name => format!("metadata.name={name}"),
        };
        let selector = Selector {
            namespace: selection.namespace.clone(),
            labels: selection.labels.clone(),
            fields,
            ..Selector::default()
        };
        let pods = Reflector::selected(PODS, selector);
        let told = changed.clone();
        pods.subscribe(move |_| told.notify_one());
        let stop = CancellationToken::new();
        tokio::spawn(pods.clone().run(rest.clone(), stop.clone()));
        Self {
            pods,
            changed,
            _stop: stop.drop_guard(),
        }
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        self.pods.synced().await;
    }

    /// Whether the first list is there.
    pub fn is_synced(&self) -> bool {
        self.pods.is_synced()
    }

    /// Waits for a change since the last call. For one caller.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The Pods as they are, by name.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.all();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
    }
}

/// What streams need to know of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Names and times.
    pub metadata: Metadata,
    /// Its containers.
    pub spec: Spec,
    /// What became of them.
    pub status: Status,
}

/// A Pod's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: Box<str>,
    /// Namespace.
    pub namespace: Box<str>,
    /// Identity.
    pub uid: Box<str>,
    /// Revision.
    pub resource_version: Box<str>,
    /// When it was made.
    pub creation_timestamp: Box<str>,
    /// When it is to be gone.
    pub deletion_timestamp: Option<Box<str>>,
    annotations: Annotations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "kubectl.kubernetes.io/default-container")]
    default_container: Box<str>,
}

/// A Pod's containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Ordinary ones.
    pub containers: Vec<Container>,
    /// Those that run first.
    pub init_containers: Vec<Container>,
    /// Those added for debugging.
    pub ephemeral_containers: Vec<Container>,
}

impl Spec {
    /// All containers: ordinary ones, then init and ephemeral ones.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        let more = self.init_containers.iter().chain(&self.ephemeral_containers);
        self.containers.iter().chain(more)
    }
}

/// A container as it is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Name.
    pub name: Box<str>,
    /// Ports that it tells of.
    pub ports: Vec<ContainerPort>,
    /// Whether it has an input to attach to.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// A port that a container tells of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: Box<str>,
    /// Number.
    pub container_port: u16,
    /// `TCP` when empty.
    pub protocol: Box<str>,
}

/// What became of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Phase.
    pub phase: Box<str>,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: Box<str>,
    status: Box<str>,
}

/// What became of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: Box<str>,
    /// How often it was started again.
    pub restart_count: u32,
    /// Its latest instance; empty before the first.
    #[serde(rename = "containerID")]
    pub container_id: Box<str>,
    state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Box<str>,
    exit_code: i32,
}

impl ContainerStatus {
    /// The instance whose log there is: that which runs, or that which ran last.
    pub fn instance(&self) -> Option<&str> {
        let ended = self.state.terminated.as_ref().map(|t| &*t.container_id);
        match (&self.state.running, ended) {
            (Some(_), _) => Some(&*self.container_id),
            (None, Some(id)) if !id.is_empty() => Some(id),
            (None, Some(_)) => Some(&*self.container_id),
            // It waits to be started again; its last instance still has a log.
            (None, None) => Some(&*self.container_id),
        }
        .filter(|id| !id.is_empty())
    }

    /// Whether it runs.
    pub fn running(&self) -> bool {
        self.state.running.is_some()
    }

    /// The code that it ended with.
    pub fn exit_code(&self) -> Option<i32> {
        self.state.terminated.as_ref().map(|t| t.exit_code)
    }
}

impl Pod {
    /// What became of a container.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        let Status {
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
            ..
        } = &self.status;
        let more = init_container_statuses.iter().chain(ephemeral_container_statuses);
        container_statuses.iter().chain(more).find(|c| &*c.name == name)
    }

    /// The container that is meant when none is named.
    pub fn default_container(&self) -> Option<&str> {
        let annotated = &*self.metadata.annotations.default_container;
        let mut all = self.spec.all().map(|c| &*c.name);
        match self.spec.all().any(|c| &*c.name == annotated) {
            true => Some(annotated),
            false => all.next(),
        }
    }

    /// Whether it runs and is not on its way out.
    pub fn serves(&self) -> bool {
        &*self.status.phase == "Running" && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether it says that it is ready.
    pub fn ready(&self) -> bool {
        let is_ready = |c: &Condition| &*c.r#type == "Ready" && &*c.status == "True";
        self.status.conditions.iter().any(is_ready)
    }
}

impl Projection for Pod {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    fn name(&self) -> &str {
        &self.metadata.name
    }

    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: Value) -> Pod {
        project(value).expect("a pod")
    }

    #[test]
    fn ports_are_found_by_number_and_name_and_through_services() {
        let web = pod(json!({"metadata": {"name": "web"}, "spec": {"containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}}));
        let plain = Selection::default();
        let service = Selection {
            service_ports: serde_json::from_value(json!([
                {"port": 80, "name": "web", "targetPort": "http"}, {"port": 81, "targetPort": 9000}, {"port": 82}]))
            .expect("ports"),
            ..Selection::default()
        };
        let check = |selection: &Selection, wanted: &str| {
            let wanted = wanted.parse().expect("a port");
            match selection.port_in(&web, &wanted) {
                Ok(port) => port.to_string(),
                Err(error) => error.to_string(),
            }
        };
        insta::assert_snapshot!(check(&plain, "1234"), @"1234");
        insta::assert_snapshot!(check(&plain, "http"), @"8080");
        insta::assert_snapshot!(check(&plain, "dns"), @r#"pod web has no port named "dns""#);
        insta::assert_snapshot!(check(&service, "80"), @"8080");
        insta::assert_snapshot!(check(&service, "web"), @"8080");
        insta::assert_snapshot!(check(&service, "81"), @"9000");
        insta::assert_snapshot!(check(&service, "82"), @"82");
        insta::assert_snapshot!(check(&service, "8080"), @"service does not have a service port 8080");
        assert!("0".parse::<Port>().is_err() && "-".parse::<Port>().is_err() && "70000".parse::<Port>().is_err());
    }

    #[test]
    fn the_instance_is_the_one_with_a_log() {
        let instance = |state: Value| {
            let pod =
                pod(json!({"status": {"containerStatuses": [{"name": "c", "containerID": "now", "state": state}]}}));
            pod.container("c").and_then(|c| c.instance().map(str::to_owned))
        };
        assert_eq!(instance(json!({"running": {}})).as_deref(), Some("now"));
        assert_eq!(
            instance(json!({"terminated": {"containerID": "last"}})).as_deref(),
            Some("last")
        );
        assert_eq!(instance(json!({"waiting": {}})).as_deref(), Some("now"));
    }
}
