//! The admission chain: plugins that may change an object before it is validated, or refuse it after.
//!
//! A plugin is one file in `admission/` and one entry in the chain.

pub mod service_addresses;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::ApiResult;

use crate::identity::User;

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
