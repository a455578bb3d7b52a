//! The table of resources: one row per kind, from which everything that enumerates kinds derives.
//!
//! Built-in rows are static; a CustomResourceDefinition adds rows at run time, so every field owns or
//! borrows alike ([`Text`]). A registry is an immutable value: whoever changes it publishes a new one.

mod builtin;
pub mod discovered;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use builtin::builtin;

/// A string that is static for built-in rows and owned for rows added at run time.
pub type Text = Cow<'static, str>;

/// Whether objects of a resource live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Objects live in the cluster, outside any namespace.
    Cluster,
    /// Objects live in a namespace.
    Namespaced,
}

/// A part of a resource with a path and verbs of its own, such as `pods/log`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subresource {
    /// Last path segment: `status`, `scale`, `log`, …
    pub name: Text,
    /// Group of the kind that it speaks, when that differs from its parent's (`autoscaling` for `scale`).
    pub group: Option<Text>,
    /// Version of the kind that it speaks, when that differs from its parent's.
    pub version: Option<Text>,
    /// Kind that it speaks (`Scale`, `Eviction`, …); the parent's for `status`.
    pub kind: Text,
    /// Verbs as discovery lists them.
    pub verbs: Cow<'static, [Text]>,
}

/// Where objects of a resource are kept, and as which version of their kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// First segments of the key below `/registry/`, as upstream lays them out: `pods`,
    /// `services/specs`, `example.com/widgets`. Two versions of one resource share it.
    pub prefix: Text,
    /// Group of the stored form.
    pub group: Text,
    /// Version of the stored form. When this is not the row's own version, objects are converted
    /// between the two (see [`crate::convert`]).
    pub version: Text,
}

/// A field beside `metadata.name` and `metadata.namespace` by which field selectors may select.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectableField {
    /// How selectors name it: `spec.nodeName`.
    pub label: Text,
    /// Where the stored form holds it; further places, for when the first is empty, after a `|`.
    pub path: Text,
    /// Its value in an object that lacks it.
    pub zero: Text,
}

/// One resource: a row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Text,
    /// Version within the group, such as `v1`.
    pub version: Text,
    /// Kind, such as `Pod`.
    pub kind: Text,
    /// Path segment, such as `pods`.
    pub plural: Text,
    /// Singular name, such as `pod`.
    pub singular: Text,
    /// Short names, such as `po`.
    pub short_names: Cow<'static, [Text]>,
    /// Categories, such as `all`.
    pub categories: Cow<'static, [Text]>,
    /// Cluster or namespace.
    pub scope: Scope,
    /// Verbs as discovery lists them. Review kinds only have `create` and are never stored.
    pub verbs: Cow<'static, [Text]>,
    /// Subresources, in the order discovery lists them.
    pub subresources: Cow<'static, [Subresource]>,
    /// Where objects are kept; `None` for what is answered but never stored, such as reviews.
    pub storage: Option<Storage>,
    /// Fields that field selectors may name.
    pub selectable_fields: Cow<'static, [SelectableField]>,
}

impl Resource {
    /// `group/version`, or the bare version for the core group: the `apiVersion` of its objects.
    pub fn api_version(&self) -> Text {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version).into()
        }
    }

    /// `plural` or `plural.group`: how upstream names the resource in messages.
    pub fn qualified_name(&self) -> Text {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group).into()
        }
    }

    /// URL path of an object, or with an empty name of the collection: in a namespace, or with an empty
    /// one everywhere. Namespaces mean nothing to resources of cluster scope.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let namespace = if self.namespaced() { namespace } else { "" };
        let mut path = collection_path(&self.group, &self.version, &self.plural, namespace);
        if !name.is_empty() {
            path.push('/');
            path.extend(name.bytes().flat_map(path_characters));
        }
        path
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether objects are stored in another version than the row's, and so need conversion.
    pub fn is_converted(&self) -> bool {
        self.storage
            .as_ref()
            .is_some_and(|s| s.version != self.version || s.group != self.group)
    }

    /// Whether `verb` is served on the resource itself.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// URL path of a collection; an empty namespace means cluster scope or all namespaces.
pub fn collection_path(group: &str, version: &str, plural: &str, namespace: &str) -> String {
    let mut path = match group {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    };
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(namespace);
    }
    path.push('/');
    path.push_str(plural);
    path
}

/// A byte of a name in a URL's path: names such as `system:node` stand as they are.
fn path_characters(byte: u8) -> impl Iterator<Item = char> {
    let plain = byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte);
    let text = match plain {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.chars().collect::<Vec<_>>().into_iter()
}

/// A set of resources that can be looked up by path, by kind and by any name a person types.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    rows: Vec<Arc<Resource>>,
}

impl Registry {
    /// A registry of these rows, kept in this order.
    pub fn new(rows: impl IntoIterator<Item = Resource>) -> Self {
        Self {
            rows: rows.into_iter().map(Arc::new).collect(),
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.iter()
    }

    /// The row served under `/apis/{group}/{version}/{plural}`.
    pub fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.rows
            .iter()
            .find(|r| r.plural == plural && r.group == group && r.version == version)
    }

    /// The row that any name a person may type stands for: plural, singular, short name or kind,
    /// optionally followed by the group or by version and group (`deploy`, `deployments.apps`,
    /// `deployments.v1.apps`). Of several, groups and versions of higher priority come first.
    pub fn resolve(&self, name: &str) -> Option<&Arc<Resource>> {
        let (name, rest) = name.split_once('.').unwrap_or((name, ""));
        let name = name.to_lowercase();
        let fits = |r: &Resource| {
            rest.is_empty()
                || rest == r.group
                || rest
                    .strip_prefix(&*r.version)
                    .is_some_and(|rest| rest.strip_prefix('.').unwrap_or(rest) == r.group)
        };
        let exact = |r: &Resource| r.plural == name || r.singular == name || r.kind.to_lowercase() == name;
        let short = |r: &Resource| r.short_names.iter().any(|s| *s == name);
        let best = |matches: &dyn Fn(&Resource) -> bool| {
            let candidates = self.rows.iter().filter(|r| matches(r) && fits(r));
            candidates.min_by_key(|r| {
                let (group, version) = priority(&r.group, &r.version);
                (std::cmp::Reverse(group), std::cmp::Reverse(version))
            })
        };
        best(&exact).or_else(|| best(&short))
    }

    /// The groups in the order in which discovery lists them, each with its versions, preferred first.
    /// The core group comes first, with an empty name.
    pub fn groups(&self) -> Vec<(Text, Vec<Text>)> {
        let mut rows: Vec<_> = self.rows.iter().map(|r| (&r.group, &r.version)).collect();
        rows.sort_by_key(|(group, version)| {
            let (group_priority, version_priority) = priority(group, version);
            (
                std::cmp::Reverse(group_priority),
                *group,
                std::cmp::Reverse(version_priority),
                *version,
            )
        });
        rows.dedup();
        let mut groups: Vec<(Text, Vec<Text>)> = Vec::new();
        for (group, version) in rows {
            match groups.last_mut() {
                Some((last, versions)) if last == group => versions.push(version.clone()),
                _ => groups.push((group.clone(), vec![version.clone()])),
            }
        }
        groups
    }

    /// The row of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.rows
            .iter()
            .find(|r| r.kind == kind && r.group == group && r.version == version)
    }
}

/// How strongly a group is preferred over others, and a version over its siblings: what upstream puts
/// into the APIService of a group version.
pub fn priority(group: &str, version: &str) -> (u32, u32) {
    let group_priority = match group {
        "" => 18000,
        "apiregistration.k8s.io" => 17900,
        "apps" => 17800,
        "events.k8s.io" => 17750,
        "authentication.k8s.io" => 17700,
        "authorization.k8s.io" => 17600,
        "autoscaling" => 17500,
        "batch" => 17400,
        "certificates.k8s.io" => 17300,
        "networking.k8s.io" => 17200,
        "policy" => 17100,
        "rbac.authorization.k8s.io" => 17000,
        "storage.k8s.io" => 16800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16700,
        "scheduling.k8s.io" => 16600,
        "coordination.k8s.io" => 16500,
        "node.k8s.io" => 16300,
        "discovery.k8s.io" => 16200,
        "flowcontrol.apiserver.k8s.io" => 16100,
        "resource.k8s.io" => 15900,
        "storagemigration.k8s.io" => 15800,
        // As the manifest of metrics-server has it.
        "metrics.k8s.io" => return (100, 100),
        // What upstream gives the groups of CustomResourceDefinitions.
        _ => return (1000, 100),
    };
    let version_priority = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", _) => 21,
        _ => 15,
    };
    (group_priority, version_priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_in_upstreams_order() {
        let groups: Vec<_> = builtin()
            .groups()
            .iter()
            .map(|(group, versions)| format!("{group}: {}", versions.join(" ")))
            .collect();
        insta::assert_snapshot!(groups.join("\n"), @r"
        : v1
        apiregistration.k8s.io: v1
        apps: v1
        events.k8s.io: v1
        authentication.k8s.io: v1
        authorization.k8s.io: v1
        autoscaling: v2 v1
        batch: v1
        certificates.k8s.io: v1
        networking.k8s.io: v1
        policy: v1
        rbac.authorization.k8s.io: v1
        storage.k8s.io: v1
        admissionregistration.k8s.io: v1
        apiextensions.k8s.io: v1
        scheduling.k8s.io: v1
        coordination.k8s.io: v1
        node.k8s.io: v1
        discovery.k8s.io: v1
        flowcontrol.apiserver.k8s.io: v1
        resource.k8s.io: v1
        storagemigration.k8s.io: v1
        console.mizzen.io: v1alpha1
        metrics.k8s.io: v1beta1
        ");
    }

    #[test]
    fn names_resolve_as_people_type_them() {
        for (name, expect) in [
            ("po", "v1 pods"),
            ("Pod", "v1 pods"),
            ("deploy", "apps/v1 deployments"),
            ("deployments.apps", "apps/v1 deployments"),
            ("deployments.v1.apps", "apps/v1 deployments"),
            ("events", "v1 events"),
            ("ev", "v1 events"),
            ("events.events.k8s.io", "events.k8s.io/v1 events"),
            ("events.v1", "v1 events"),
            ("hpa", "autoscaling/v2 horizontalpodautoscalers"),
            ("hpa.v1.autoscaling", "autoscaling/v1 horizontalpodautoscalers"),
            ("deployments.batch", ""),
            ("frobs", ""),
        ] {
            let found = builtin().resolve(name);
            let found = found.map(|r| format!("{} {}", r.api_version(), r.plural));
            assert_eq!(found.unwrap_or_default(), expect, "{name}");
        }
    }

    #[test]
    fn no_two_rows_share_a_path_or_a_kind() {
        let mut paths = std::collections::BTreeSet::new();
        let mut kinds = std::collections::BTreeSet::new();
        for r in builtin().iter() {
            assert!(paths.insert((&r.group, &r.version, &r.plural)), "{r:?}");
            assert!(kinds.insert((&r.group, &r.version, &r.kind)), "{r:?}");
        }
    }
}
