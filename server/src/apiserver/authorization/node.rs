//! The Node authorizer: what a kubelet may do beyond what it may do to its own Node.
//!
//! A node may read what the Pods bound to it use, and nothing else of that sort. The relations are
//! looked up in the watch cache per request: a node has few Pods, all relations start in the Pod's
//! namespace, and so there is no graph to keep in step and none to hold in memory.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use memchr::memmem;
use mizzen_api::resource::Resource;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Authorizer, Decision};
use crate::bootstrap::policy;
use crate::cache::Reader;
use crate::identity::User;

/// Group that every node is in.
pub const NODES: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
/// Annotation of the Pods that nodes create to show what they run by themselves.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where nodes' Leases are.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node that a user is; `None` for everybody else.
pub fn node_name(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(USER_PREFIX)?;
    (user.in_group(NODES) && !name.is_empty()).then_some(name)
}

/// The authorizer.
pub struct Node {
    reader: Arc<dyn Reader>,
    pods: Arc<Resource>,
    claims: Arc<Resource>,
    attachments: Arc<Resource>,
    rules: Vec<Rule>,
}

/// What a Pod refers to in its namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
}

impl Node {
    /// Relations by what the cache holds.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            pods: super::builtin_row("", "pods"),
            claims: super::builtin_row("", "persistentvolumeclaims"),
            attachments: super::builtin_row("storage.k8s.io", "volumeattachments"),
            rules: policy::cluster_role_rules("system:node"),
        }
    }

    /// The Pods in a namespace that are bound to the node.
    fn pods(&self, node: &str, namespace: &str) -> impl Iterator<Item = Value> {
        let mention = serde_json::to_string(node).unwrap_or_default();
        let node = node.to_owned();
        let entries = self.reader.list(&self.pods, Some(namespace)).into_iter();
        entries
            // Most Pods are other nodes'; they need no decoding.
            .filter(move |entry| memmem::find(&entry.json, mention.as_bytes()).is_some())
            .filter_map(|entry| serde_json::from_slice::<Value>(&entry.json).ok())
            .filter(move |pod| pod["spec"]["nodeName"] == *node)
    }

    fn pods_refer_to(&self, node: &str, namespace: &str, kind: Reference, name: &str) -> bool {
        !namespace.is_empty() && self.pods(node, namespace).any(|pod| refers_to(&pod, kind, name))
    }

    fn read_only(&self, node: &str, wanted: &Attributes, kind: Reference, verbs: &[&str]) -> Decision {
        if !verbs.contains(&&*wanted.verb) {
            return refuse(match verbs {
                ["get"] => "can only get individual resources of this type",
                _ => "can only read resources of this type",
            });
        }
        if !wanted.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if wanted.name.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        related(self.pods_refer_to(node, &wanted.namespace, kind, &wanted.name), node)
    }

    fn claim(&self, node: &str, wanted: &Attributes) -> Decision {
        if wanted.subresource == "status" && matches!(&*wanted.verb, "update" | "patch" | "get") {
            let related_to_it = self.pods_refer_to(node, &wanted.namespace, Reference::Claim, &wanted.name);
            return related(related_to_it, node);
        }
        self.read_only(node, wanted, Reference::Claim, &["get"])
    }

    /// A volume is the node's if a claim that its Pods use is bound to it.
    fn volume(&self, node: &str, wanted: &Attributes) -> Decision {
        if wanted.verb != "get" || !wanted.subresource.is_empty() {
            return refuse("can only get individual resources of this type");
        }
        let bound = self.reader.list(&self.claims, None).into_iter().any(|claim| {
            serde_json::from_slice::<Value>(&claim.json).is_ok_and(|c| c["spec"]["volumeName"] == *wanted.name)
                && self.pods_refer_to(node, &claim.namespace, Reference::Claim, &claim.name)
        });
        related(bound, node)
    }

    fn attachment(&self, node: &str, wanted: &Attributes) -> Decision {
        if wanted.verb != "get" || !wanted.subresource.is_empty() {
            return refuse("can only get individual resources of this type");
        }
        let own = self
            .reader
            .get(&self.attachments, "", &wanted.name)
            .and_then(|entry| serde_json::from_slice::<Value>(&entry.json).ok())
            .is_some_and(|attachment| attachment["spec"]["nodeName"] == *node);
        related(own, node)
    }

    /// The Pods bound to the node; many at once only when they are selected by it.
    fn pod(&self, node: &str, wanted: &Attributes) -> Decision {
        if wanted.verb != "get" {
            if wanted.fields.required_value("spec.nodeName") == Some(node) {
                return Decision::Allow(String::new());
            }
            return refuse("can only list/watch pods with spec.nodeName field selector");
        }
        let bound = self
            .reader
            .get(&self.pods, &wanted.namespace, &wanted.name)
            .and_then(|entry| serde_json::from_slice::<Value>(&entry.json).ok())
            .is_some_and(|pod| pod["spec"]["nodeName"] == *node);
        related(bound, node)
    }

    /// Tokens of the ServiceAccounts that the node's Pods run as. Admission also checks the Pod that the
    /// token is bound to.
    fn token(&self, node: &str, wanted: &Attributes) -> Decision {
        if wanted.verb != "create" || wanted.subresource != "token" {
            return refuse("can only create tokens for individual service accounts");
        }
        let runs_as = |pod: &Value| pod["spec"]["serviceAccountName"] == *wanted.name;
        let used = !wanted.name.is_empty() && self.pods(node, &wanted.namespace).any(|pod| runs_as(&pod));
        related(used, node)
    }
}

/// Leases, and whatever else bears the node's name.
fn own_object(node: &str, wanted: &Attributes, verbs: &[&str]) -> Decision {
    if !verbs.contains(&&*wanted.verb) || !wanted.subresource.is_empty() {
        return refuse("can only create, get, update, patch, or delete this type");
    }
    // The name of what is created stands in the body, where NodeRestriction looks at it.
    if wanted.verb != "create" && wanted.name != node {
        return refuse("can only access an object with the same name as the requesting node");
    }
    Decision::Allow(String::new())
}

fn own_node(node: &str, wanted: &Attributes) -> Decision {
    if wanted.name == node {
        return Decision::Allow(String::new());
    }
    refuse(&format!(
        "node '{node}' cannot read {:?}, only its own Node object",
        wanted.name
    ))
}

fn related(found: bool, node: &str) -> Decision {
    if found {
        return Decision::Allow(String::new());
    }
    refuse(&format!("no relationship found between node '{node}' and this object"))
}

fn refuse(reason: &str) -> Decision {
    Decision::NoOpinion(reason.to_owned())
}

#[async_trait]
impl Authorizer for Node {
    async fn authorize(&self, user: &User, wanted: &Attributes) -> Decision {
        let Some(node) = node_name(user) else {
            return Decision::NoOpinion(String::new());
        };
        let read = ["get", "list", "watch"];
        let own = ["get", "create", "update", "patch", "delete"];
        match (&*wanted.group, &*wanted.resource) {
            ("", "secrets") => self.read_only(node, wanted, Reference::Secret, &read),
            ("", "configmaps") => self.read_only(node, wanted, Reference::ConfigMap, &read),
            ("", "persistentvolumeclaims") => self.claim(node, wanted),
            ("", "persistentvolumes") => self.volume(node, wanted),
            ("", "serviceaccounts") => self.token(node, wanted),
            ("", "pods") if wanted.subresource.is_empty() && read.contains(&&*wanted.verb) => self.pod(node, wanted),
            ("", "nodes") if read.contains(&&*wanted.verb) => own_node(node, wanted),
            ("storage.k8s.io", "volumeattachments") => self.attachment(node, wanted),
            ("storage.k8s.io", "csinodes") => own_object(node, wanted, &own),
            ("coordination.k8s.io", "leases") if wanted.namespace == LEASE_NAMESPACE => own_object(node, wanted, &own),
            ("coordination.k8s.io", "leases") => refuse(&format!(
                "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
            )),
            _ if self.rules.iter().any(|rule| rule.allows(wanted)) => Decision::Allow(String::new()),
            _ => Decision::NoOpinion(String::new()),
        }
    }
}

/// Whether a Pod refers to the object of that kind and name. Mirror Pods count for nothing: nodes create
/// them by themselves.
fn refers_to(pod: &Value, kind: Reference, name: &str) -> bool {
    pod["metadata"]["annotations"][MIRROR].is_null() && references(pod).contains(&(kind, name.into()))
}

/// Everything in its namespace that a Pod refers to.
pub fn references(pod: &Value) -> Vec<(Reference, Cow<'_, str>)> {
    let mut out = Vec::new();
    let spec = &pod["spec"];
    for secret in items(&spec["imagePullSecrets"]) {
        insert(&mut out, Reference::Secret, &secret["name"]);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(&spec[field]) {
            container_references(container, &mut out);
        }
    }
    for volume in items(&spec["volumes"]) {
        volume_references(pod, volume, &mut out);
    }
    out
}

fn container_references<'a>(container: &'a Value, out: &mut Vec<(Reference, Cow<'a, str>)>) {
    for source in items(&container["envFrom"]) {
        insert(out, Reference::Secret, &source["secretRef"]["name"]);
        insert(out, Reference::ConfigMap, &source["configMapRef"]["name"]);
    }
    for variable in items(&container["env"]) {
        let source = &variable["valueFrom"];
        insert(out, Reference::Secret, &source["secretKeyRef"]["name"]);
        insert(out, Reference::ConfigMap, &source["configMapKeyRef"]["name"]);
    }
}

fn volume_references<'a>(pod: &'a Value, volume: &'a Value, out: &mut Vec<(Reference, Cow<'a, str>)>) {
    insert(out, Reference::ConfigMap, &volume["configMap"]["name"]);
    insert(out, Reference::Claim, &volume["persistentVolumeClaim"]["claimName"]);
    for source in items(&volume["projected"]["sources"]) {
        insert(out, Reference::Secret, &source["secret"]["name"]);
        insert(out, Reference::ConfigMap, &source["configMap"]["name"]);
    }
    if !volume["ephemeral"].is_null()
        && let (Some(pod), Some(volume)) = (pod["metadata"]["name"].as_str(), volume["name"].as_str())
    {
        out.push((Reference::Claim, format!("{pod}-{volume}").into()));
    }
    // Secrets of storage drivers stand under one of these names in whatever source the volume has.
    for source in volume.as_object().into_iter().flat_map(|sources| sources.values()) {
        insert(out, Reference::Secret, &source["secretName"]);
        insert(out, Reference::Secret, &source["secretRef"]["name"]);
        insert(out, Reference::Secret, &source["nodePublishSecretRef"]["name"]);
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn insert<'a>(out: &mut Vec<(Reference, Cow<'a, str>)>, kind: Reference, name: &'a Value) {
    if let Some(name) = name.as_str() {
        out.push((kind, name.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::fake::Fake;
    use mizzen_api::selector::FieldSelector;
    use serde_json::json;

    fn pod(namespace: &str, name: &str, node: &str, spec: Value) -> Value {
        let mut spec = spec;
        spec["nodeName"] = node.into();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name}, "spec": spec})
    }

    fn world() -> Node {
        let all = json!({
            "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "init-env"}}}]}],
            "containers": [{"envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "cm-from"}}]}],
            "ephemeralContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "cm-env"}}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "volume"}},
                {"name": "b", "configMap": {"name": "cm-volume"}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "cm-projected"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
                {"name": "f", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
            ],
        });
        let mut mirror = pod(
            "a",
            "mirror",
            "n1",
            json!({"volumes": [{"secret": {"secretName": "coveted"}}]}),
        );
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": "a", "name": "claim"}, "spec": {"volumeName": "pv1"}});
        Node::new(Fake::new([
            pod("a", "p", "n1", all),
            pod(
                "a",
                "q",
                "n2",
                json!({"serviceAccountName": "other", "volumes": [{"secret": {"secretName": "foreign"}}], "hostname": "n1"}),
            ),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "unbound"},
                "spec": {"volumes": [{"secret": {"secretName": "waiting"}}]}}),
            mirror,
            claim,
        ]))
    }

    async fn check(node: &Node, user: &User, lines: &[(&str, bool)]) {
        for (line, expect) in lines {
            let words: Vec<_> = line.split(' ').collect();
            let [verb, group, resource, namespace, name, ref on_node @ ..] = words[..] else {
                panic!("five words: {line}")
            };
            let fields = on_node
                .iter()
                .map(|node| format!("spec.nodeName={node}"))
                .collect::<String>();
            let word = |word: &str| word.trim_matches('-').to_owned();
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let attributes = Attributes {
                verb: verb.into(),
                group: word(group),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: word(namespace),
                name: word(name),
                fields: FieldSelector::parse(&fields).unwrap(),
                ..Attributes::default()
            };
            let decision = node.authorize(user, &attributes).await;
            assert_eq!(matches!(decision, Decision::Allow(_)), *expect, "{line}: {decision:?}");
        }
    }

    #[tokio::test]
    async fn a_node_reads_what_its_pods_use_and_nothing_else() {
        let n1 = User::new("system:node:n1", [NODES]);
        let lines = [
            ("get - secrets a pull", true),
            ("get - secrets a init-env", true),
            ("get - secrets a from", true),
            ("get - secrets a volume", true),
            ("get - secrets a projected", true),
            ("get - secrets a csi", true),
            ("watch - secrets a volume", true),
            ("list - secrets a volume", true),
            ("get - configmaps a cm-from", true),
            ("get - configmaps a cm-env", true),
            ("get - configmaps a cm-volume", true),
            ("get - configmaps a cm-projected", true),
            ("get - persistentvolumeclaims a claim", true),
            ("get - persistentvolumeclaims a p-e", true),
            ("update - persistentvolumeclaims/status a claim", true),
            ("get - persistentvolumes - pv1", true),
            ("create - serviceaccounts/token a bot", true),
            // Another kind's, another namespace's, another node's, an unbound Pod's, a mirror Pod's.
            ("get - secrets a cm-volume", false),
            ("get - secrets b volume", false),
            ("get - secrets a foreign", false),
            ("get - secrets a waiting", false),
            ("get - secrets a coveted", false),
            ("get - secrets - volume", false),
            ("get - persistentvolumes - pv2", false),
            ("create - serviceaccounts/token a other", false),
            ("create - serviceaccounts/token b bot", false),
            // More than one object, or more than reading.
            ("list - secrets a -", false),
            ("watch - secrets - -", false),
            ("list - configmaps a -", false),
            ("update - secrets a volume", false),
            ("delete - secrets a volume", false),
            ("create - secrets a -", false),
            ("list - persistentvolumeclaims a claim", false),
            ("update - persistentvolumeclaims a claim", false),
            ("get - serviceaccounts a bot", false),
        ];
        check(&world(), &n1, &lines).await;
    }

    #[tokio::test]
    async fn a_node_may_do_what_a_kubelet_needs() {
        let n1 = User::new("system:node:n1", [NODES]);
        let lines = [
            ("create - nodes - -", true),
            ("get - nodes - n1", true),
            ("get - nodes - n2", false),
            ("list - nodes - -", false),
            ("watch - nodes - n1", true),
            ("get - pods a p", true),
            ("get - pods a q", false),
            ("list - pods a -", false),
            ("watch - pods - - n1", true),
            ("watch - pods - - n2", false),
            ("patch - nodes/status - n1", true),
            ("list - services - -", true),
            ("patch - pods/status a p", true),
            ("create - events a -", true),
            ("create coordination.k8s.io leases kube-node-lease -", true),
            ("update coordination.k8s.io leases kube-node-lease n1", true),
            ("update coordination.k8s.io leases kube-node-lease n2", false),
            ("update coordination.k8s.io leases kube-system n1", false),
            ("get storage.k8s.io csinodes - n1", true),
            ("get storage.k8s.io csinodes - n2", false),
            ("create authentication.k8s.io tokenreviews - -", true),
            ("get - pods/exec a p", false),
            ("list apps deployments a -", false),
            ("create rbac.authorization.k8s.io clusterrolebindings - -", false),
            ("delete - nodes - n1", false),
        ];
        check(&world(), &n1, &lines).await;
    }

    #[tokio::test]
    async fn others_get_nothing_from_it() {
        let lines = [("get - secrets a volume", false), ("list - services - -", false)];
        for user in [
            User::new("system:node:n1", []),
            User::new("system:node:", [NODES]),
            User::new("n1", [NODES]),
            User::new("system:serviceaccount:a:bot", [NODES]),
            User::anonymous(),
        ] {
            check(&world(), &user, &lines).await;
        }
    }
}
