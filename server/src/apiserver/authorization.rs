//! May this user do that? Authorizers are asked in turn; the first that allows or denies decides.
//!
//! [`Chain`] is the order in which they are asked: who may do everything, then nodes, then RBAC.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::selector::FieldSelector;
use mizzen_api::status::ApiError;
use serde_json::json;

use crate::identity::{self, User};

pub mod node;
pub mod rbac;
pub mod rules;

/// What a request wants, in the terms of RBAC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `create`, …; for paths outside the API the lower-case HTTP method.
    pub verb: String,
    /// API group; empty for the core group and for paths outside the API.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Plural of the resource; empty for paths outside the API.
    pub resource: String,
    /// Subresource; may be empty.
    pub subresource: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Object name; empty for collections.
    pub name: String,
    /// Path, for requests outside the API.
    pub path: String,
    /// What a list, watch or deletecollection is narrowed to.
    pub fields: FieldSelector,
}

impl Attributes {
    /// Whether this is about a resource, not a path outside the API.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// An authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed; with the reason for a SubjectAccessReview.
    Allow(String),
    /// Denied whatever others say.
    Deny(String),
    /// Nothing known in favour; the reason may be empty.
    NoOpinion(String),
}

/// A source of decisions.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides on one request.
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
}

/// Authorizers in the order in which they are asked.
pub struct Chain(Vec<Arc<dyn Authorizer>>);

impl Chain {
    /// [`Privileged`] first, then these.
    pub fn new(authorizers: impl IntoIterator<Item = Arc<dyn Authorizer>>) -> Self {
        let first: Arc<dyn Authorizer> = Arc::new(Privileged);
        Self(std::iter::once(first).chain(authorizers).collect())
    }

    /// `Ok` when allowed, otherwise upstream's 403.
    pub async fn require(&self, user: &User, attributes: &Attributes) -> Result<(), ApiError> {
        match self.authorize(user, attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(user, attributes, &reason)),
        }
    }

    /// Whether something is allowed.
    pub async fn allows(&self, user: &User, attributes: &Attributes) -> bool {
        matches!(self.authorize(user, attributes).await, Decision::Allow(_))
    }
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in &self.0 {
            match authorizer.authorize(user, attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }
}

/// Allows everything to `system:masters`, whatever happened to roles and bindings.
pub struct Privileged;

#[async_trait]
impl Authorizer for Privileged {
    async fn authorize(&self, user: &User, _attributes: &Attributes) -> Decision {
        if user.in_group(identity::MASTERS) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }
}

/// 403 in upstream's words.
pub fn forbidden(user: &User, attributes: &Attributes, reason: &str) -> ApiError {
    let mut why = denial(user, attributes);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if !attributes.is_resource() {
        let mut error = ApiError::forbidden(format!("forbidden: {why}"));
        error.details = Some(Box::new(json!({})));
        return error;
    }
    let resource = match &*attributes.group {
        "" => attributes.resource.clone(),
        group => format!("{}.{group}", attributes.resource),
    };
    let mut details = json!({"kind": attributes.resource});
    if !attributes.group.is_empty() {
        details["group"] = attributes.group.as_str().into();
    }
    let about = if attributes.name.is_empty() {
        resource
    } else {
        details["name"] = attributes.name.as_str().into();
        format!("{resource} {:?}", attributes.name)
    };
    let mut error = ApiError::forbidden(format!("{about} is forbidden: {why}"));
    error.details = Some(Box::new(details));
    error
}

fn denial(user: &User, attributes: &Attributes) -> String {
    let Attributes {
        verb,
        group,
        resource,
        subresource,
        namespace,
        path,
        ..
    } = attributes;
    let user = &user.name;
    if !attributes.is_resource() {
        return format!("User {user:?} cannot {verb} path {path:?}");
    }
    let resource = match &**subresource {
        "" => resource.clone(),
        subresource => format!("{resource}/{subresource}"),
    };
    let place = match &**namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
}

/// Several errors in one sentence, as upstream joins them.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// The row of a built-in resource, for code that reads it from the cache.
///
/// # Panics
/// When there is no such row: the caller names built-in resources, as the tests of this crate check.
pub(crate) fn builtin_row(group: &str, plural: &str) -> Arc<Resource> {
    builtin()
        .iter()
        .find(|row| row.group == group && row.plural == plural)
        .unwrap_or_else(|| panic!("no built-in resource {plural:?} in group {group:?}"))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attributes: Attributes, reason: &str, message: &str, details: serde_json::Value) {
        let user = User::new("system:serviceaccount:a:b", []);
        let error = forbidden(&user, &attributes, reason);
        assert_eq!((error.message.as_str(), error.code), (message, 403));
        assert_eq!(error.to_status()["details"], details);
    }

    #[tokio::test]
    async fn refusals_have_upstreams_words() {
        let pods = Attributes {
            verb: "list".into(),
            resource: "pods".into(),
            namespace: "x".into(),
            ..Attributes::default()
        };
        check(
            pods.clone(),
            "",
            r#"pods is forbidden: User "system:serviceaccount:a:b" cannot list resource "pods" in API group "" in the namespace "x""#,
            json!({"kind": "pods"}),
        );
        let scale = Attributes {
            verb: "get".into(),
            group: "apps".into(),
            resource: "deployments".into(),
            subresource: "scale".into(),
            name: "web".into(),
            namespace: String::new(),
            ..pods
        };
        check(
            scale,
            "RBAC: x",
            r#"deployments.apps "web" is forbidden: User "system:serviceaccount:a:b" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: RBAC: x"#,
            json!({"kind": "deployments", "group": "apps", "name": "web"}),
        );
        let path = Attributes {
            verb: "get".into(),
            path: "/x".into(),
            ..Attributes::default()
        };
        check(
            path,
            "",
            r#"forbidden: User "system:serviceaccount:a:b" cannot get path "/x""#,
            json!({}),
        );
    }
}
