//! What a list or watch selects.

use mizzen_api::selector::{FieldSelector, LabelSelector};

use super::Entry;

/// Field by which kubelets select their Pods.
pub(super) const NODE_NAME: &str = "spec.nodeName";

/// Which objects of a resource a reader wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this namespace.
    pub namespace: Option<Box<str>>,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these fields.
    pub fields: FieldSelector,
}

/// Where a watcher stands in the index: the narrowest place that sees all it wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    All,
    Name(Box<str>),
    Namespace(Box<str>),
    Object(Box<str>, Box<str>),
    Node(Box<str>),
}

impl Filter {
    /// Whether the filter selects this object.
    pub fn matches(&self, entry: &Entry) -> bool {
        if self
            .namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != entry.namespace)
        {
            return false;
        }
        self.fields.matches(|path| entry.field(path)) && self.labels.matches(&*entry.labels)
    }

    /// Whether labels and fields play no part.
    pub fn selects_all(&self) -> bool {
        self.fields.is_everything() && self.labels.is_everything()
    }

    /// The name that the filter asks for, if it asks for one.
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value("metadata.name")
    }

    /// The namespace that the filter is limited to, by path or by field.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace
            .as_deref()
            .or_else(|| self.fields.required_value("metadata.namespace"))
    }

    pub(super) fn bucket(&self) -> Bucket {
        match (self.namespace(), self.name(), self.fields.required_value(NODE_NAME)) {
            (Some(namespace), Some(name), _) => Bucket::Object(namespace.into(), name.into()),
            (None, Some(name), _) => Bucket::Name(name.into()),
            (_, None, Some(node)) if !node.is_empty() => Bucket::Node(node.into()),
            (Some(namespace), None, _) => Bucket::Namespace(namespace.into()),
            (None, None, _) => Bucket::All,
        }
    }
}
