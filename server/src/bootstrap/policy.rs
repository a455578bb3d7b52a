//! The default RBAC policy, read from the compact table in `policy.txt`.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::apiserver::authorization::rbac::GROUP;
use crate::apiserver::authorization::rules::Rule;

const TABLE: &str = include_str!("policy.txt");
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// A default role with its bindings.
#[derive(Clone, Debug, Default)]
pub struct DefaultRole {
    /// Namespace; empty for a ClusterRole.
    pub namespace: &'static str,
    /// Name.
    pub name: String,
    /// Rules; an aggregate has none of its own.
    pub rules: Vec<Rule>,
    /// The aggregate that this role is part of (`rbac.authorization.k8s.io/aggregate-to-…`).
    pub part_of: Option<&'static str>,
    /// The aggregate that this role is.
    pub aggregate: Option<&'static str>,
    /// Bindings: name and subjects.
    pub bindings: Vec<(String, Vec<Value>)>,
}

/// All default roles.
pub fn roles() -> &'static [DefaultRole] {
    static ROLES: LazyLock<Vec<DefaultRole>> = LazyLock::new(|| parse(TABLE));
    &ROLES
}

/// The rules of a default ClusterRole.
pub fn cluster_role_rules(name: &str) -> Vec<Rule> {
    let role = roles()
        .iter()
        .find(|role| role.namespace.is_empty() && role.name == name);
    role.map(|role| role.rules.clone()).unwrap_or_default()
}

impl DefaultRole {
    /// The role as an object.
    pub fn object(&self) -> Value {
        let kind = if self.namespace.is_empty() {
            "ClusterRole"
        } else {
            "Role"
        };
        let mut role = self.base(kind, &self.name);
        if let Some(label) = self.part_of {
            role["metadata"]["labels"][aggregation_label(label)] = "true".into();
        }
        match self.aggregate {
            // The rules are the aggregation controller's to fill in.
            Some(label) => {
                let mut labels = Map::new();
                labels.insert(aggregation_label(label), "true".into());
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            }
            None => role["rules"] = serde_json::to_value(&self.rules).expect("rules encode"),
        }
        role
    }

    /// Its bindings as objects.
    pub fn binding_objects(&self) -> impl Iterator<Item = Value> {
        let (kind, role_kind) = match self.namespace {
            "" => ("ClusterRoleBinding", "ClusterRole"),
            _ => ("RoleBinding", "Role"),
        };
        self.bindings.iter().map(move |(name, subjects)| {
            let mut binding = self.base(kind, name);
            binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": self.name});
            if !subjects.is_empty() {
                binding["subjects"] = subjects.clone().into();
            }
            binding
        })
    }

    fn base(&self, kind: &str, name: &str) -> Value {
        let mut metadata = json!({
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {super::AUTO_UPDATE: "true"},
        });
        if !self.namespace.is_empty() {
            metadata["namespace"] = self.namespace.into();
        }
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata})
    }
}

fn aggregation_label(label: &str) -> String {
    format!("{GROUP}/aggregate-to-{label}")
}

/// The table is part of the program: a mistake in it is one of ours, and every test finds it.
fn parse(table: &'static str) -> Vec<DefaultRole> {
    let mut roles: Vec<DefaultRole> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            roles.push(role(&words));
            continue;
        }
        let role = roles.last_mut().expect("a role before its rules");
        match words[..] {
            ["->", name, ref subjects @ ..] => {
                let subjects = subjects.iter().map(|word| subject(word)).collect();
                role.bindings.push((name.into(), subjects));
            }
            _ => role.rules.push(rule(&words)),
        }
    }
    roles
}

fn role(words: &[&'static str]) -> DefaultRole {
    let mut role = DefaultRole::default();
    let rest = match words {
        ["clusterrole", name, rest @ ..] => {
            role.name = (*name).into();
            rest
        }
        ["role", namespace, name, rest @ ..] => {
            role.namespace = namespace;
            role.name = (*name).into();
            rest
        }
        ["controller", name, rest @ ..] => {
            role.name = format!("system:controller:{name}");
            let account = json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"});
            role.bindings.push((role.name.clone(), vec![account]));
            rest
        }
        other => panic!("not a role: {other:?}"),
    };
    for pair in rest.chunks(2) {
        match pair {
            ["<", label] => role.aggregate = Some(label),
            [">", label] => role.part_of = Some(label),
            other => panic!("not an aggregation: {other:?}"),
        }
    }
    role
}

fn rule(words: &[&'static str]) -> Rule {
    let group = |word| if word == "core" { "" } else { word };
    let list = |words: &'static str| words.split(',').map(|word| group(word).into()).collect();
    match words {
        ["events"] => rule(&["create,patch,update", "core,events.k8s.io", "events"]),
        [verb, paths] => Rule {
            verbs: verbs(verb),
            non_resource_urls: paths.split(',').map(Box::from).collect(),
            ..Rule::default()
        },
        [verb, groups, resources, names @ ..] => Rule {
            verbs: verbs(verb),
            api_groups: list(groups),
            resources: resources.split(',').map(Box::from).collect(),
            resource_names: names.iter().flat_map(|names| names.split(',')).map(Box::from).collect(),
            ..Rule::default()
        },
        other => panic!("not a rule: {other:?}"),
    }
}

fn verbs(words: &'static str) -> Box<[Box<str>]> {
    let mut verbs: Vec<&str> = Vec::new();
    for word in words.split(',') {
        match word {
            "read" => verbs.extend(READ),
            "write" => verbs.extend(WRITE),
            verb => verbs.push(verb),
        }
    }
    verbs.sort_unstable();
    verbs.into_iter().map(Box::from).collect()
}

fn subject(word: &str) -> Value {
    match word.split_once(':').expect("a kind of subject") {
        ("user", name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        ("group", name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        ("account", name) => {
            let (namespace, name) = name.split_once('/').expect("a namespace and a name");
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        other => panic!("not a subject: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> &'static DefaultRole {
        roles().iter().find(|role| role.name == name).unwrap()
    }

    #[test]
    fn the_table_reads_as_upstreams_objects() {
        let metadata = |name: &str| {
            json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}})
        };
        let viewer = find("system:public-info-viewer");
        assert_eq!(
            viewer.object(),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": metadata("system:public-info-viewer"),
                "rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}]})
        );
        assert_eq!(
            viewer.binding_objects().collect::<Vec<_>>(),
            [
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": metadata("system:public-info-viewer"),
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:public-info-viewer"},
                "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": "system:authenticated"},
                    {"apiGroup": GROUP, "kind": "Group", "name": "system:unauthenticated"}]})
            ]
        );
        let mut edit = metadata("edit");
        edit["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] = "true".into();
        assert_eq!(
            find("edit").object(),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": edit,
                "aggregationRule": {"clusterRoleSelectors": [
                    {"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}]}})
        );
        insta::assert_snapshot!(find("system:controller:job-controller").rules[3], @r#"{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete" "list" "patch" "watch"]}"#);
        insta::assert_snapshot!(find("extension-apiserver-authentication-reader").rules[0], @r#"{APIGroups:[""], Resources:["configmaps"], ResourceNames:["extension-apiserver-authentication"], Verbs:["get" "list" "watch"]}"#);
        assert_eq!(
            cluster_role_rules("cluster-admin"),
            [Rule::everything(), Rule::every_path()]
        );
    }

    #[test]
    fn nobody_unauthenticated_gets_more_than_public_information() {
        for role in roles() {
            for (name, subjects) in &role.bindings {
                let open = subjects
                    .iter()
                    .any(|s| matches!(s["name"].as_str(), Some("system:unauthenticated" | "system:anonymous")));
                assert!(!open || role.name == "system:public-info-viewer", "{name}");
            }
        }
    }
}
