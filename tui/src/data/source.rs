//! The name of a watch.

use mizzen_api::client::rest::Gvr;
use mizzen_api::resource::Resource;
use serde::{Deserialize, Serialize};

/// One kind in one scope: what a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Path segment.
    pub plural: String,
    /// Namespace; empty for all, and for kinds of the cluster.
    pub namespace: String,
    /// Label selector.
    pub labels: String,
    /// Field selector.
    pub fields: String,
}

impl Source {
    /// All objects of a resource in a namespace.
    pub fn of(resource: &Resource, namespace: &str) -> Self {
        Self {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            plural: resource.plural.to_string(),
            namespace: if resource.namespaced() { namespace } else { "" }.to_owned(),
            ..Self::default()
        }
    }

    /// Only those with these labels.
    #[must_use]
    pub fn labelled(self, labels: &str) -> Self {
        Self {
            labels: labels.to_owned(),
            ..self
        }
    }

    /// Only those with these fields.
    #[must_use]
    pub fn with_fields(self, fields: &str) -> Self {
        Self {
            fields: fields.to_owned(),
            ..self
        }
    }

    /// Where the server serves it.
    pub fn gvr(&self) -> Gvr<'_> {
        Gvr::new(&self.group, &self.version, &self.plural)
    }

    /// Whether this is about objects of a resource.
    pub fn is_of(&self, resource: &Resource) -> bool {
        self.group == resource.group && self.version == resource.version && self.plural == resource.plural
    }
}
