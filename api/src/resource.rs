//! The table of resources: one row per kind, from which everything that enumerates kinds derives.
//!
//! Built-in rows are static; a CustomResourceDefinition adds rows at run time, so every field owns or
//! borrows alike ([`Text`]). A registry is an immutable value: whoever changes it publishes a new one.

use std::borrow::Cow;
use std::sync::Arc;

/// A string that is static for built-in rows and owned for rows added at run time.
pub type Text = Cow<'static, str>;

/// Whether objects of a resource live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Objects live in the cluster, outside any namespace.
    Cluster,
    /// Objects live in a namespace.
    Namespaced,
}

/// A part of a resource with a path and verbs of its own, such as `pods/log`.
#[derive(Clone, Debug)]
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

/// One resource: a row of the table.
#[derive(Clone, Debug)]
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

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
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

    /// The row of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.rows
            .iter()
            .find(|r| r.kind == kind && r.group == group && r.version == version)
    }
}
