//! What hangs on what: trees of owners and references, and who uses an object.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::relations::{self, Reference};
use crate::view::{self, map, text};

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The object.
    pub reference: Reference,
    /// Its namespace; empty for cluster scope.
    pub namespace: String,
    /// Which of the given objects it is; none for one that is referred to and was not given.
    pub object: Option<usize>,
    /// How it hangs on the node above.
    pub link: Link,
    /// What hangs on it.
    pub children: Vec<Node>,
}

/// How a node hangs on the one above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// It stands at the top.
    Root,
    /// It is owned.
    Owned,
    /// It is selected by labels.
    Selected,
    /// It is used by name.
    Used,
}

impl Node {
    /// How many nodes there are, this one included.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }
}

/// The kinds to load for the tree of a kind, as `plural` or `plural.group`: those between it and its
/// Pods. What Pods use is named without being loaded.
pub fn loads(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" => &["replicasets.apps", "pods"],
        "CronJob" => &["jobs.batch", "pods"],
        "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController"
        | "Service"
        | "PodDisruptionBudget"
        | "NetworkPolicy"
        | "Node" => &["pods"],
        "Pod" => &[],
        "HorizontalPodAutoscaler" => &["deployments.apps", "statefulsets.apps", "replicasets.apps", "pods"],
        "Ingress" => &["services", "pods"],
        "Namespace" => &[
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "jobs.batch",
            "pods",
        ],
        // Anything else may own workloads.
        _ => &[
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "jobs.batch",
            "pods",
        ],
    }
}

/// Kinds that may use an object of a kind by name, as `plural` or `plural.group`: what to load for
/// [`used_by`].
pub fn users(kind: &str) -> &'static [&'static str] {
    const PODS: &[&str] = &[
        "pods",
        "deployments.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "replicasets.apps",
        "jobs.batch",
        "cronjobs.batch",
    ];
    match kind {
        "Secret" => &[
            "pods",
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "replicasets.apps",
            "jobs.batch",
            "cronjobs.batch",
            "serviceaccounts",
            "ingresses.networking.k8s.io",
        ],
        "ConfigMap" | "PersistentVolumeClaim" | "PriorityClass" | "RuntimeClass" => PODS,
        "ServiceAccount" => &[
            "pods",
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "replicasets.apps",
            "jobs.batch",
            "cronjobs.batch",
            "rolebindings.rbac.authorization.k8s.io",
            "clusterrolebindings.rbac.authorization.k8s.io",
        ],
        "PersistentVolume" => &["persistentvolumeclaims"],
        "StorageClass" => &["persistentvolumeclaims", "persistentvolumes"],
        "Node" => &["pods"],
        "Role" => &["rolebindings.rbac.authorization.k8s.io"],
        "ClusterRole" => &[
            "rolebindings.rbac.authorization.k8s.io",
            "clusterrolebindings.rbac.authorization.k8s.io",
        ],
        "Service" => &["ingresses.networking.k8s.io"],
        "IngressClass" => &["ingresses.networking.k8s.io"],
        "Deployment" | "StatefulSet" | "ReplicaSet" => &["horizontalpodautoscalers.autoscaling"],
        _ => &[],
    }
}

/// Who uses an object by name: indices of `objects`, in order.
pub fn used_by(target: &Value, objects: &[Value]) -> Vec<usize> {
    let wanted = reference(target);
    let namespace = view::namespace(target);
    let uses = |object: &Value| {
        let near = namespace.is_empty() || view::namespace(object) == namespace;
        (near && relations::uses(object).contains(&wanted)) || names_subject(object, &wanted, namespace)
    };
    (0..objects.len()).filter(|at| uses(&objects[*at])).collect()
}

/// Bindings name ServiceAccounts of any namespace.
fn names_subject(object: &Value, wanted: &Reference, namespace: &str) -> bool {
    wanted.kind == "ServiceAccount"
        && view::list(object, "/subjects").iter().any(|subject| {
            subject["kind"] == "ServiceAccount"
                && text(subject, "/name") == wanted.name
                && view::text_or(subject, "/namespace", view::namespace(object)) == namespace
        })
}

/// An object as others refer to it.
pub fn reference(object: &Value) -> Reference {
    let version = text(object, "/apiVersion");
    Reference {
        group: version.split_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: text(object, "/kind").to_owned(),
        name: view::name(object).to_owned(),
    }
}

/// What trees of one set of objects are built from.
struct Links<'a> {
    objects: &'a [Value],
    owned: HashMap<&'a str, Vec<usize>>,
    named: HashMap<(String, Reference), usize>,
    pods: Vec<usize>,
}

impl<'a> Links<'a> {
    fn new(objects: &'a [Value]) -> Self {
        let mut links = Self {
            objects,
            owned: HashMap::new(),
            named: HashMap::new(),
            pods: Vec::new(),
        };
        for (at, object) in objects.iter().enumerate() {
            for owner in view::list(object, "/metadata/ownerReferences") {
                links.owned.entry(text(owner, "/uid")).or_default().push(at);
            }
            let reference = reference(object);
            if reference.kind == "Pod" {
                links.pods.push(at);
            }
            links.named.insert((view::namespace(object).to_owned(), reference), at);
        }
        links
    }

    fn node(&self, at: usize, link: Link, above: &mut HashSet<usize>) -> Node {
        let object = &self.objects[at];
        let mut node = Node {
            reference: reference(object),
            namespace: view::namespace(object).to_owned(),
            object: Some(at),
            link,
            children: Vec::new(),
        };
        // Owners may go round in circles when people write them.
        if !above.insert(at) {
            return node;
        }
        let owned = self.owned.get(text(object, "/metadata/uid"));
        let owned: Vec<_> = owned.into_iter().flatten().map(|at| (Link::Owned, *at)).collect();
        let selected = match owned.is_empty() {
            true => self.selected(object),
            false => Vec::new(),
        };
        for (link, at) in owned.into_iter().chain(selected) {
            node.children.push(self.node(at, link, above));
        }
        // What a workload uses, its Pods use: it is shown at the Pods.
        if node.children.is_empty()
            || !matches!(
                node.reference.kind.as_str(),
                "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob"
            )
        {
            node.children.extend(self.used(object, above));
        }
        node.children
            .sort_by(|a, b| (a.link, &a.reference).cmp(&(b.link, &b.reference)));
        above.remove(&at);
        node
    }

    /// Pods that an object selects by labels, or that run on it.
    fn selected(&self, object: &Value) -> Vec<(Link, usize)> {
        let pods = self.pods.iter().copied().map(|at| (at, &self.objects[at]));
        if text(object, "/kind") == "Node" {
            let name = view::name(object);
            return pods
                .filter(|(_, pod)| text(pod, "/spec/nodeName") == name)
                .map(|(at, _)| (Link::Selected, at))
                .collect();
        }
        let Some(selector) = relations::pod_selector(object) else {
            return Vec::new();
        };
        let namespace = view::namespace(object);
        pods.filter(|(_, pod)| view::namespace(pod) == namespace && selector.matches(&map(pod, "/metadata/labels")))
            .map(|(at, _)| (Link::Selected, at))
            .collect()
    }

    fn used(&self, object: &Value, above: &mut HashSet<usize>) -> Vec<Node> {
        let namespace = view::namespace(object);
        // A Pod's node is no part of it.
        let uses = relations::uses(object).into_iter().filter(|r| r.kind != "Node");
        uses.map(|reference| {
            let here = (namespace.to_owned(), reference);
            let known = self
                .named
                .get(&here)
                .or_else(|| self.named.get(&(String::new(), here.1.clone())));
            match known {
                Some(at) => self.node(*at, Link::Used, above),
                None => Node {
                    reference: here.1,
                    namespace: here.0,
                    object: None,
                    link: Link::Used,
                    children: Vec::new(),
                },
            }
        })
        .collect()
    }
}

/// The trees whose tops are the objects of a kind, in the order of the objects.
pub fn trees(kind: &str, objects: &[Value]) -> Vec<Node> {
    let links = Links::new(objects);
    let roots = (0..objects.len()).filter(|at| text(&objects[*at], "/kind") == kind);
    roots
        .map(|at| links.node(at, Link::Root, &mut HashSet::new()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, version: &str, name: &str, owner: &str, spec: Value) -> Value {
        let owners = if owner.is_empty() {
            json!([])
        } else {
            json!([{"uid": owner, "controller": true}])
        };
        json!({"kind": kind, "apiVersion": version, "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": "web"},
            "ownerReferences": owners}, "spec": spec})
    }

    fn world() -> Vec<Value> {
        let pod = json!({"serviceAccountName": "sa", "nodeName": "n1", "containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]});
        vec![
            object(
                "Deployment",
                "apps/v1",
                "web",
                "",
                json!({"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": pod.clone()}}),
            ),
            object(
                "ReplicaSet",
                "apps/v1",
                "web-1",
                "web",
                json!({"template": {"spec": pod.clone()}}),
            ),
            object("ReplicaSet", "apps/v1", "web-0", "web", json!({})),
            object("Pod", "v1", "web-1-a", "web-1", pod),
            object("Service", "v1", "svc", "", json!({"selector": {"app": "web"}})),
            object("Secret", "v1", "s", "", json!({})),
            object("A", "x.io/v1", "a", "b", json!({})),
            object("A", "x.io/v1", "b", "a", json!({})),
            json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1", "uid": "n1"}}),
        ]
    }

    fn draw(node: &Node, depth: usize, out: &mut String) {
        let seen = if node.object.is_some() { "" } else { " ?" };
        out.push_str(&format!(
            "{}{:?} {}/{}{seen}\n",
            "  ".repeat(depth),
            node.link,
            node.reference.kind,
            node.reference.name
        ));
        node.children.iter().for_each(|child| draw(child, depth + 1, out));
    }

    #[test]
    fn trees_follow_owners_then_labels_then_names() {
        let mut out = String::new();
        for kind in ["Deployment", "Service", "Node", "A"] {
            trees(kind, &world()).iter().for_each(|tree| draw(tree, 0, &mut out));
        }
        insta::assert_snapshot!(out, @r"
        Root Deployment/web
          Owned ReplicaSet/web-0
          Owned ReplicaSet/web-1
            Owned Pod/web-1-a
              Used Secret/s
              Used ServiceAccount/sa ?
        Root Service/svc
          Selected Pod/web-1-a
            Used Secret/s
            Used ServiceAccount/sa ?
        Root Node/n1
          Selected Pod/web-1-a
            Used Secret/s
            Used ServiceAccount/sa ?
        Root A/a
          Owned A/b
            Owned A/a
        Root A/b
          Owned A/a
            Owned A/b
        ");
    }

    #[test]
    fn users_are_found_by_name() {
        let world = world();
        let users = |at: usize| {
            let users = used_by(&world[at], &world);
            users
                .into_iter()
                .map(|at| view::name(&world[at]))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(users(5), "web web-1 web-1-a");
        assert_eq!(users(8), "web web-1 web-1-a");
        assert_eq!(users(4), "");
        let account =
            json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "sa", "namespace": "d"}});
        let binding = json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "b"},
            "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": "d"}]});
        assert_eq!(used_by(&account, &[binding]), [0]);
    }
}
