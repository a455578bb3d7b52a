//! The admission chain: plugins that may change an object before it is validated, or refuse it after.
//!
//! A plugin is one file in `admission/` and one entry in the chain.

pub mod certificates;
pub mod default_storage_class;
pub mod default_toleration_seconds;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod persistent_volume_claim_resize;
pub mod priority;
pub mod rbac_escalation;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod service_addresses;
pub mod storage_object_in_use_protection;
pub mod taint_nodes;
#[cfg(test)]
pub(crate) mod testing;
pub mod token_secret;

use async_trait::async_trait;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use crate::identity::User;
use crate::kinds::check::section;

/// What is about to happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are upstream's and say it all")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A write on its way to the store.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    /// Who asks.
    pub user: &'a User,
    /// What for.
    pub operation: Operation,
    /// Row of the kind.
    pub resource: &'a Resource,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty when it is to be generated.
    pub name: &'a str,
    /// The new object; `None` for a deletion.
    pub object: Option<&'a mut Object>,
    /// The object as it is; `None` for a creation.
    pub old: Option<&'a Object>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// A plugin of the chain.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Upstream's name, such as `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Changes the object, or refuses it.
    async fn admit(&self, _request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        Ok(())
    }

    /// Refuses the object as it will be stored.
    async fn validate(&self, _request: &AdmissionRequest<'_>) -> ApiResult<()> {
        Ok(())
    }
}

impl AdmissionRequest<'_> {
    /// Whether this is about objects of a built-in resource.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    /// The object's name, as far as it is known: the prefix of one that is to be generated otherwise.
    pub fn object_name(&self) -> &str {
        let object = self.object.as_deref();
        let known = [
            self.name,
            object.map_or("", |object| object.name()),
            object.map_or("", |object| object.meta_str("generateName")),
        ];
        known.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// A field of the new object, made an object if it was none; `None` for deletions.
    pub fn object_mut(&mut self, field: &str) -> Option<&mut Object> {
        self.object.as_deref_mut().map(|object| section(object, field))
    }
}

/// 403 about the object of a request.
pub fn refuse(request: &AdmissionRequest<'_>, why: impl std::fmt::Display) -> ApiError {
    ApiError::forbidden_object(request.resource, request.object_name(), why)
}

/// A list in an object, made one if it was none.
pub fn array_mut<'a>(object: &'a mut Object, field: &str) -> &'a mut Vec<Value> {
    let value = object.entry(field).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("just made a list")
}
