//! The built-in rows: every resource of the stable API groups, a file per family of groups.
//!
//! Rows are written as differences from the ordinary resource: one that has all verbs, no short name
//! and no subresource, and is stored in its own version under its plural.

mod apps;
mod core;
mod machinery;
mod network;
mod node;
mod security;
mod workloads;

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Registry, Resource, Scope, SelectableField, Storage, Subresource, Text};

/// All built-in resources.
pub fn builtin() -> &'static Registry {
    static BUILTIN: LazyLock<Registry> = LazyLock::new(|| {
        let mut rows = Rows::default();
        core::rows(&mut rows);
        apps::rows(&mut rows);
        workloads::rows(&mut rows);
        network::rows(&mut rows);
        security::rows(&mut rows);
        node::rows(&mut rows);
        machinery::rows(&mut rows);
        Registry::new(rows.rows.into_iter().map(|row| row.0))
    });
    &BUILTIN
}

/// Verbs of the ordinary resource.
const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// Verbs of a subresource that is read and written with its parent.
const CHANGE: &[&str] = &["get", "patch", "update"];

/// Collects rows; remembers the group version that the next ones belong to.
#[derive(Default)]
struct Rows {
    group: &'static str,
    version: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    fn group(&mut self, group: &'static str, version: &'static str) {
        self.group = group;
        self.version = version;
    }

    fn cluster(&mut self, kind: &'static str, plural: &'static str) -> &mut Row {
        self.push(kind, plural, Scope::Cluster)
    }

    fn namespaced(&mut self, kind: &'static str, plural: &'static str) -> &mut Row {
        self.push(kind, plural, Scope::Namespaced)
    }

    fn push(&mut self, kind: &'static str, plural: &'static str, scope: Scope) -> &mut Row {
        let row = Row(Resource {
            group: self.group.into(),
            version: self.version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase().into(),
            short_names: Cow::Borrowed(&[]),
            categories: Cow::Borrowed(&[]),
            scope,
            verbs: texts(ALL),
            subresources: Cow::Borrowed(&[]),
            storage: Some(Storage {
                prefix: plural.into(),
                group: self.group.into(),
                version: self.version.into(),
            }),
            selectable_fields: Cow::Borrowed(&[]),
        });
        self.rows.push(row);
        self.rows.last_mut().expect("just pushed")
    }
}

/// A row under construction: each method states one difference.
struct Row(Resource);

impl Row {
    fn short(&mut self, names: &[&'static str]) -> &mut Self {
        self.0.short_names = texts(names);
        self
    }

    /// Shown by `get all`.
    fn all(&mut self) -> &mut Self {
        self.0.categories = texts(&["all"]);
        self
    }

    /// Shown by `get api-extensions`.
    fn extends_api(&mut self) -> &mut Self {
        self.0.categories = texts(&["api-extensions"]);
        self
    }

    fn without_delete_collection(&mut self) -> &mut Self {
        self.0.verbs.to_mut().retain(|v| v != "deletecollection");
        self
    }

    /// Can only be created, and what is created is an answer: nothing is stored.
    fn review(&mut self) -> &mut Self {
        self.0.verbs = texts(&["create"]);
        self.0.storage = None;
        self
    }

    /// Can only be read, and is computed when read.
    fn computed(&mut self) -> &mut Self {
        self.0.verbs = texts(&["get", "list"]);
        self.0.storage = None;
        self
    }

    /// Upstream keeps it under another name than its plural.
    fn stored_at(&mut self, prefix: &'static str) -> &mut Self {
        self.storage().prefix = prefix.into();
        self
    }

    /// Kept in the form of another group version.
    fn stored_as(&mut self, group: &'static str, version: &'static str) -> &mut Self {
        let storage = self.storage();
        storage.group = group.into();
        storage.version = version.into();
        self
    }

    fn storage(&mut self) -> &mut Storage {
        self.0.storage.as_mut().expect("a stored resource")
    }

    fn selectable(&mut self, fields: &[(&'static str, &'static str, &'static str)]) -> &mut Self {
        let field = |&(label, path, zero): &(&'static str, &'static str, &'static str)| SelectableField {
            label: label.into(),
            path: path.into(),
            zero: zero.into(),
        };
        self.0.selectable_fields = fields.iter().map(field).collect();
        self
    }

    /// The ordinary `status`.
    fn status(&mut self) -> &mut Self {
        let kind = self.0.kind.clone();
        self.subresource("status", None, kind, CHANGE)
    }

    fn scale(&mut self) -> &mut Self {
        self.sub_of("autoscaling", "v1", "scale", "Scale", CHANGE)
    }

    fn sub(&mut self, name: &'static str, kind: &'static str, verbs: &[&'static str]) -> &mut Self {
        self.subresource(name, None, kind.into(), verbs)
    }

    /// A subresource that speaks a kind of another group version.
    fn sub_of(
        &mut self,
        group: &'static str,
        version: &'static str,
        name: &'static str,
        kind: &'static str,
        verbs: &[&'static str],
    ) -> &mut Self {
        self.subresource(name, Some((group, version)), kind.into(), verbs)
    }

    fn subresource(
        &mut self,
        name: &'static str,
        of: Option<(&'static str, &'static str)>,
        kind: Text,
        verbs: &[&'static str],
    ) -> &mut Self {
        self.0.subresources.to_mut().push(Subresource {
            name: name.into(),
            group: of.map(|(group, _)| group.into()),
            version: of.map(|(_, version)| version.into()),
            kind,
            verbs: texts(verbs),
        });
        self
    }
}

fn texts(list: &[&'static str]) -> Cow<'static, [Text]> {
    list.iter().map(|&text| Text::from(text)).collect()
}
