//! Keeps a node's hands off other nodes: their Node objects, their Pods, tokens of Pods elsewhere.
//!
//! Together with the Node authorizer this bounds what a stolen kubelet credential is worth.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::authorization::node::{LEASE_NAMESPACE, MIRROR, NODES, node_name, references};
use crate::cache::Reader;

/// Labels under this domain are for administrators to confine workloads with.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes' own domains that a kubelet may set on its Node.
const KUBELET_LABELS: [&str; 13] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The plugin.
pub struct NodeRestriction {
    reader: Arc<dyn Reader>,
    pods: Arc<Resource>,
    nodes: Arc<Resource>,
}

impl NodeRestriction {
    /// A plugin that looks Pods up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            pods: builtin_row("", "pods"),
            nodes: builtin_row("", "nodes"),
        }
    }

    fn read(&self, row: &Resource, namespace: &str, name: &str) -> Option<Value> {
        let entry = self.reader.get(row, namespace, name)?;
        serde_json::from_slice(&entry.json).ok()
    }

    fn mirror_pod(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let pod = Value::Object(request.object.as_deref().cloned().unwrap_or_default());
        if pod["metadata"]["annotations"][MIRROR].is_null() {
            return Err(refuse(
                request,
                format_args!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"),
            ));
        }
        if pod["spec"]["nodeName"] != *node {
            return Err(refuse(
                request,
                format_args!("node {node:?} can only create pods with spec.nodeName set to itself"),
            ));
        }
        self.check_owners(node, request, &pod)?;
        let wrong = if pod["spec"]["serviceAccountName"]
            .as_str()
            .is_some_and(|name| !name.is_empty())
        {
            "pods that reference a service account"
        } else if let Some((kind, _)) = references(&pod).first() {
            return Err(refuse(
                request,
                format_args!("node {node:?} can not create pods that reference a {kind:?}")
                    .to_string()
                    .to_lowercase(),
            ));
        } else {
            return Ok(());
        };
        Err(refuse(request, format_args!("node {node:?} can not create {wrong}")))
    }

    /// A mirror Pod is owned by its Node, or by nobody.
    fn check_owners(&self, node: &str, request: &AdmissionRequest<'_>, pod: &Value) -> ApiResult<()> {
        let owners = pod["metadata"]["ownerReferences"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let owner = match owners {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(refuse(
                    request,
                    format_args!("node {node:?} can only create pods with a single owner reference set to itself"),
                ));
            }
        };
        let uid = self
            .read(&self.nodes, "", node)
            .map(|own| own["metadata"]["uid"].clone());
        let is_own = owner["apiVersion"] == "v1"
            && owner["kind"] == "Node"
            && owner["name"] == *node
            && uid.is_some_and(|uid| owner["uid"] == uid)
            && owner["controller"] == true
            && owner["blockOwnerDeletion"] != true;
        if is_own {
            return Ok(());
        }
        Err(refuse(
            request,
            format_args!("node {node:?} can only create pods with an owner reference set to itself"),
        ))
    }

    fn pod(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let on_node = |pod: Option<&Object>| {
            pod.and_then(|pod| pod.get("spec"))
                .is_some_and(|spec| spec["nodeName"] == *node)
        };
        match (request.operation, request.subresource) {
            (Operation::Create, "") => self.mirror_pod(node, request),
            (Operation::Delete, "") if on_node(request.old) => Ok(()),
            (Operation::Delete, "") => Err(refuse(
                request,
                format_args!("node {node:?} can only delete pods with spec.nodeName set to itself"),
            )),
            (Operation::Update, "status") if !on_node(request.old) => Err(refuse(
                request,
                format_args!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"),
            )),
            (Operation::Update, "status") => self.keeps_labels(node, request),
            (Operation::Create, "eviction") => {
                let pod = self.read(&self.pods, request.namespace, request.name);
                if pod.is_some_and(|pod| pod["spec"]["nodeName"] == *node) {
                    return Ok(());
                }
                Err(refuse(
                    request,
                    format_args!("node {node:?} can only evict pods with spec.nodeName set to itself"),
                ))
            }
            (operation, subresource) => Err(refuse(
                request,
                format_args!("unexpected operation {operation:?} of pods/{subresource} by node {node:?}"),
            )),
        }
    }

    fn keeps_labels(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        if part(request.object.as_deref(), "metadata", "labels") == part(request.old, "metadata", "labels") {
            return Ok(());
        }
        Err(refuse(
            request,
            format_args!("node {node:?} cannot update labels through pod status"),
        ))
    }

    fn node(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let target = request.object_name();
        if target != node {
            return Err(refuse(
                request,
                format_args!("node {node:?} is not allowed to modify node {target:?}"),
            ));
        }
        let (new, old) = (request.object.as_deref(), request.old);
        if request.operation == Operation::Update {
            for (section, field) in [("spec", "taints"), ("metadata", "ownerReferences")] {
                if part(new, section, field) != part(old, section, field) {
                    return Err(refuse(
                        request,
                        format_args!("node {node:?} is not allowed to modify {field}"),
                    ));
                }
            }
        }
        if matches!(request.operation, Operation::Create | Operation::Update) {
            self.check_labels(node, request)?;
        }
        Ok(())
    }

    fn check_labels(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let labels = |object: Option<&Object>| {
            part(object, "metadata", "labels")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let (new, old) = (labels(request.object.as_deref()), labels(request.old));
        let changed = new
            .keys()
            .chain(old.keys())
            .filter(|key| new.get(*key) != old.get(*key));
        let mut wrong: Vec<_> = changed.filter(|key| !may_set(key)).map(String::as_str).collect();
        wrong.sort_unstable();
        wrong.dedup();
        if wrong.is_empty() {
            return Ok(());
        }
        let verb = if request.operation == Operation::Create {
            "set"
        } else {
            "modify"
        };
        Err(refuse(
            request,
            format_args!(
                "node {node:?} is not allowed to {verb} the following labels: {}",
                wrong.join(", ")
            ),
        ))
    }

    /// Tokens only for Pods that run here, and only for audiences that the Pod asks for.
    fn token(&self, node: &str, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let spec = request
            .object
            .as_deref()
            .and_then(|object| object.get("spec"))
            .cloned()
            .unwrap_or_default();
        let bound = &spec["boundObjectRef"];
        if bound["kind"] != "Pod" || bound["apiVersion"] != "v1" {
            return Err(refuse(request, "node requested token not bound to a pod"));
        }
        let uid = bound["uid"].as_str().unwrap_or_default();
        if uid.is_empty() {
            return Err(refuse(request, "node requested token with a pod binding without a uid"));
        }
        let name = bound["name"].as_str().unwrap_or_default();
        let pod = self
            .read(&self.pods, request.namespace, name)
            .ok_or_else(|| ApiError::not_found(&self.pods, name))?;
        if pod["metadata"]["uid"] != *uid {
            return Err(ApiError::conflict(
                &self.pods,
                name,
                format_args!("the UID in the bound object reference ({uid}) does not match the UID in record"),
            ));
        }
        if pod["spec"]["nodeName"] != *node {
            return Err(refuse(
                request,
                "node requested token bound to a pod scheduled on a different node",
            ));
        }
        let audiences = spec["audiences"].as_array().into_iter().flatten();
        for audience in audiences.filter_map(Value::as_str) {
            if !asks_for(&pod, audience) {
                return Err(refuse(
                    request,
                    format_args!(
                        "audience {audience:?} not found in pod spec volume, \
                         {} is not authorized to request tokens for this audience",
                        request.user.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn part<'a>(object: Option<&'a Object>, section: &str, field: &str) -> Option<&'a Value> {
    let value = object?.get(section)?.get(field)?;
    let empty = value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty);
    (!empty).then_some(value)
}

/// Whether a volume of the Pod projects a token for this audience. The API server's own audience is the
/// empty one there, which is not asked for by name.
fn asks_for(pod: &Value, audience: &str) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    sources.any(|source| {
        let token = &source["serviceAccountToken"];
        !token.is_null() && token["audience"].as_str().unwrap_or_default() == audience
    })
}

/// Whether a kubelet may set this label on its own Node.
fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.'));
    if within(RESTRICTED_DOMAIN) {
        return false;
    }
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved || KUBELET_LABELS.contains(&label) || KUBELET_DOMAINS.into_iter().any(within)
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        if !request.user.in_group(NODES) {
            return Ok(());
        }
        let Some(node) = node_name(request.user).map(str::to_owned) else {
            return Err(refuse(
                request,
                format_args!("could not determine node from user {:?}", request.user.name),
            ));
        };
        let own_name = request.object_name() == node;
        match (&*request.resource.group, &*request.resource.plural, request.subresource) {
            ("", "pods", _) => self.pod(&node, request),
            ("", "nodes", _) => self.node(&node, request),
            ("", "persistentvolumeclaims", "status") if request.operation == Operation::Update => Ok(()),
            ("", "persistentvolumeclaims", _) => Err(refuse(
                request,
                format_args!("node {node:?} may only update the status of claims"),
            )),
            ("", "serviceaccounts", "token") => self.token(&node, request),
            ("coordination.k8s.io", "leases", _) if request.namespace != LEASE_NAMESPACE => Err(refuse(
                request,
                format_args!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"),
            )),
            ("coordination.k8s.io", "leases", _) if !own_name => Err(refuse(
                request,
                "can only access node lease with the same name as the requesting node",
            )),
            ("storage.k8s.io", "csinodes", _) if !own_name => Err(refuse(
                request,
                "can only access CSINode with the same name as the requesting node",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;
    use crate::identity::User;
    use serde_json::json;

    fn pod(name: &str, node: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": name, "uid": name},
            "spec": {"nodeName": node, "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]}})
    }

    async fn check(case: Case) -> String {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "node-1"}});
        let plugin = NodeRestriction::new(Fake::new([pod("p", "n1"), pod("q", "n2"), node]));
        match admit(&plugin, case.by(User::new("system:node:n1", [NODES]))).await {
            Ok(_) => "ok".into(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[tokio::test]
    async fn a_node_touches_its_own_pods_only() {
        let delete = |node| {
            Case::create("pods")
                .named("x")
                .operation(Operation::Delete)
                .old(pod("x", node))
        };
        assert_eq!(check(delete("n1")).await, "ok");
        insta::assert_snapshot!(check(delete("n2")).await, @r#"403 pods "x" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself"#);
        let status = |node| {
            Case::create("pods/status")
                .named("x")
                .operation(Operation::Update)
                .old(pod("x", node))
        };
        assert_eq!(check(status("n1")).await, "ok");
        insta::assert_snapshot!(check(status("n2")).await, @r#"403 pods "x" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself"#);
        let labelled = status("n1").with(json!({"metadata": {"labels": {"a": "b"}}}));
        insta::assert_snapshot!(check(labelled).await, @r#"403 pods "x" is forbidden: node "n1" cannot update labels through pod status"#);
        let evict = |name| Case::create("pods/eviction").in_namespace("a").named(name);
        assert_eq!(check(evict("p")).await, "ok");
        insta::assert_snapshot!(check(evict("q")).await, @r#"403 pods "q" is forbidden: node "n1" can only evict pods with spec.nodeName set to itself"#);
        insta::assert_snapshot!(check(Case::create("pods").named("x").operation(Operation::Update)).await, @r#"403 pods "x" is forbidden: unexpected operation Update of pods/ by node "n1""#);
    }

    #[tokio::test]
    async fn a_node_creates_mirror_pods_only() {
        let create = |metadata: Value, spec: Value| {
            Case::create("pods")
                .with(json!({"metadata": metadata, "spec": spec}))
                .named("x")
        };
        let mirror = || json!({"annotations": {MIRROR: "x"}});
        let owned = |uid: &str| {
            let mut metadata = mirror();
            metadata["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true}]);
            metadata
        };
        assert_eq!(check(create(mirror(), json!({"nodeName": "n1"}))).await, "ok");
        assert_eq!(check(create(owned("node-1"), json!({"nodeName": "n1"}))).await, "ok");
        insta::assert_snapshot!(check(create(owned("other"), json!({"nodeName": "n1"}))).await, @r#"403 pods "x" is forbidden: node "n1" can only create pods with an owner reference set to itself"#);
        insta::assert_snapshot!(check(create(json!({}), json!({"nodeName": "n1"}))).await, @r#"403 pods "x" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#);
        insta::assert_snapshot!(check(create(mirror(), json!({"nodeName": "n2"}))).await, @r#"403 pods "x" is forbidden: node "n1" can only create pods with spec.nodeName set to itself"#);
        insta::assert_snapshot!(check(create(mirror(), json!({"nodeName": "n1", "serviceAccountName": "x"}))).await, @r#"403 pods "x" is forbidden: node "n1" can not create pods that reference a service account"#);
        insta::assert_snapshot!(check(create(mirror(), json!({"nodeName": "n1", "volumes": [{"secret": {"secretName": "s"}}]}))).await, @r#"403 pods "x" is forbidden: node "n1" can not create pods that reference a secret"#);
    }

    #[tokio::test]
    async fn a_node_changes_its_own_node_only() {
        let update = |name: &str, new: Value, old: Value| {
            Case::create("nodes")
                .with(new)
                .named(name)
                .operation(Operation::Update)
                .old(old)
        };
        assert_eq!(check(Case::create("nodes").named("n1")).await, "ok");
        insta::assert_snapshot!(check(Case::create("nodes").named("n2")).await, @r#"403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#);
        insta::assert_snapshot!(check(update("n2", json!({}), json!({}))).await, @r#"403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#);
        let tainted = json!({"spec": {"taints": [{"key": "a"}]}});
        assert_eq!(check(update("n1", tainted.clone(), tainted.clone())).await, "ok");
        insta::assert_snapshot!(check(update("n1", json!({}), tainted)).await, @r#"403 nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#);
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let fine = labels(
            json!({"kubernetes.io/hostname": "n1", "example.com/a": "b", "node.kubernetes.io/x": "y", "plain": ""}),
        );
        assert_eq!(check(update("n1", fine, json!({}))).await, "ok");
        let role =
            labels(json!({"node-role.kubernetes.io/control-plane": "", "x.node-restriction.kubernetes.io/a": ""}));
        insta::assert_snapshot!(check(update("n1", role.clone(), json!({}))).await, @r#"403 nodes "n1" is forbidden: node "n1" is not allowed to modify the following labels: node-role.kubernetes.io/control-plane, x.node-restriction.kubernetes.io/a"#);
        insta::assert_snapshot!(check(update("n1", json!({}), role)).await, @r#"403 nodes "n1" is forbidden: node "n1" is not allowed to modify the following labels: node-role.kubernetes.io/control-plane, x.node-restriction.kubernetes.io/a"#);
    }

    #[tokio::test]
    async fn a_node_gets_tokens_for_its_pods_only() {
        let request = |kind: &str, name: &str, uid: &str, audiences: Value| {
            Case::create("serviceaccounts/token")
                .in_namespace("a")
                .with(json!({"spec": {"audiences": audiences,
                "boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}}))
                .named("bot")
        };
        assert_eq!(check(request("Pod", "p", "p", json!([]))).await, "ok");
        assert_eq!(check(request("Pod", "p", "p", json!(["vault"]))).await, "ok");
        insta::assert_snapshot!(check(request("Pod", "p", "p", json!(["other"]))).await, @r#"403 serviceaccounts "bot" is forbidden: audience "other" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"#);
        insta::assert_snapshot!(check(request("Pod", "q", "q", json!([]))).await, @r#"403 serviceaccounts "bot" is forbidden: node requested token bound to a pod scheduled on a different node"#);
        insta::assert_snapshot!(check(request("Pod", "p", "", json!([]))).await, @r#"403 serviceaccounts "bot" is forbidden: node requested token with a pod binding without a uid"#);
        insta::assert_snapshot!(check(request("Pod", "p", "old", json!([]))).await, @r#"409 Operation cannot be fulfilled on pods "p": the UID in the bound object reference (old) does not match the UID in record"#);
        insta::assert_snapshot!(check(request("Secret", "p", "p", json!([]))).await, @r#"403 serviceaccounts "bot" is forbidden: node requested token not bound to a pod"#);
    }

    #[tokio::test]
    async fn leases_bear_the_nodes_name() {
        let lease = |namespace, name| Case::create("leases").in_namespace(namespace).named(name);
        assert_eq!(check(lease("kube-node-lease", "n1")).await, "ok");
        insta::assert_snapshot!(check(lease("kube-node-lease", "n2")).await, @r#"403 leases.coordination.k8s.io "n2" is forbidden: can only access node lease with the same name as the requesting node"#);
        insta::assert_snapshot!(check(lease("default", "n1")).await, @r#"403 leases.coordination.k8s.io "n1" is forbidden: can only access leases in the "kube-node-lease" system namespace"#);
    }

    #[tokio::test]
    async fn others_are_not_concerned() {
        let plugin = NodeRestriction::new(Fake::new([]));
        assert!(admit(&plugin, Case::create("nodes").named("x")).await.is_ok());
        let odd = Case::create("nodes").named("x").by(User::new("odd", [NODES]));
        insta::assert_snapshot!(admit(&plugin, odd).await.unwrap_err().message, @r#"nodes "x" is forbidden: could not determine node from user "odd""#);
    }
}
