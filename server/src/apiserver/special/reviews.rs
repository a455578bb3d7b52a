//! Reviews: questions about identities and permissions, answered and not stored.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::selector::{FieldRequirement, FieldSelector};
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::apiserver::authorization::node::node_name;
use crate::apiserver::authorization::{Attributes, Decision};
use crate::apiserver::call::{Call, read_body};
use crate::apiserver::write::WriteOptions;
use crate::apiserver::{decode, meta, response};
use crate::identity::User;

/// Answers a review of any kind.
pub(super) async fn answer(call: Arc<Call>, body: Body) -> ApiResult<Response<Body>> {
    let options = WriteOptions::read(&call, "CreateOptions")?;
    let bytes = read_body(body).await?;
    let mut object = decode::body(&call, &options, &bytes)?;
    let status = match &*call.resource.kind {
        "TokenReview" => token(&call, &object)?,
        "SelfSubjectReview" => {
            object
                .metadata_mut()
                .insert("creationTimestamp".into(), meta::now().into());
            json!({ "userInfo": user_info(&call.user) })
        }
        "SelfSubjectRulesReview" => rules(&call, &object)?,
        "SelfSubjectAccessReview" => access(&call, &object, call.user.clone()).await?,
        _ => {
            let subject = subject(&call, &object)?;
            access(&call, &object, subject).await?
        }
    };
    object.insert("status".into(), status);
    // The token in question goes back to nobody's log.
    response::document(
        call.accept,
        StatusCode::CREATED,
        Value::Object(object).to_string().into(),
    )
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn token(call: &Call, object: &Object) -> ApiResult<Value> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        token: String,
        audiences: Option<Vec<String>>,
    }
    let spec: Spec = spec(object)?;
    if spec.token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = spec.audiences.unwrap_or_default();
    let found = call
        .server
        .gates
        .tokens
        .identify(&spec.token, &audiences, Timestamp::now());
    Ok(match found {
        Ok(found) => json!({"authenticated": true, "user": user_info(&found.user), "audiences": found.audiences}),
        Err(refusal) => json!({"user": {}, "error": format!("[invalid bearer token, {refusal}]")}),
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccessSpec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<PathAttributes>,
    user: String,
    groups: Option<Vec<String>>,
    uid: String,
    extra: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
    field_selector: Option<SelectorAttributes>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SelectorAttributes {
    raw_selector: String,
    requirements: Option<Vec<SelectorRequirement>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SelectorRequirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl SelectorAttributes {
    /// The conditions that can be told for sure; leaving others out only makes the question wider.
    fn selector(self) -> FieldSelector {
        if !self.raw_selector.is_empty() {
            return FieldSelector::parse(&self.raw_selector).unwrap_or_default();
        }
        let requirements = self.requirements.unwrap_or_default().into_iter();
        let requirements =
            requirements.filter_map(|r| match (&*r.operator, &r.values.as_deref().unwrap_or_default()) {
                ("In", [value]) => Some(FieldRequirement {
                    field: r.key.as_str().into(),
                    equal: true,
                    value: value.as_str().into(),
                }),
                _ => None,
            });
        FieldSelector {
            requirements: requirements.collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathAttributes {
    path: String,
    verb: String,
}

fn spec<T: Default + for<'de> Deserialize<'de>>(object: &Object) -> ApiResult<T> {
    match object.get("spec") {
        None | Some(Value::Null) => Ok(T::default()),
        Some(spec) => T::deserialize(spec).map_err(|error| ApiError::bad_request(error.to_string())),
    }
}

/// Whom a SubjectAccessReview asks about.
fn subject(call: &Call, object: &Object) -> ApiResult<User> {
    let spec: AccessSpec = spec(object)?;
    let groups = spec.groups.unwrap_or_default();
    if spec.user.is_empty() && groups.is_empty() {
        let error = FieldError::invalid("spec.user", "", "at least one of user or group must be specified");
        return Err(ApiError::invalid(&call.resource, "", &[error]));
    }
    Ok(User {
        name: spec.user,
        uid: spec.uid,
        groups,
        extra: spec.extra.unwrap_or_default(),
    })
}

async fn access(call: &Call, object: &Object, user: User) -> ApiResult<Value> {
    let spec: AccessSpec = spec(object)?;
    let local = call.resource.namespaced();
    let wrong = |field: &str, detail: &str| {
        let error = FieldError::invalid(field, Value::Null, detail);
        Err(ApiError::invalid(&call.resource, "", &[error]))
    };
    let attributes = match (spec.resource_attributes, spec.non_resource_attributes) {
        (Some(_), Some(_)) => {
            return wrong(
                "spec.nonResourceAttributes",
                "cannot be specified in combination with resourceAttributes",
            );
        }
        (None, None) => {
            return wrong(
                "spec.resourceAttributes",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            );
        }
        (None, Some(_)) if local => {
            return wrong("spec.nonResourceAttributes", "disallowed on this kind of request");
        }
        (Some(wanted), None) if local && wanted.namespace != call.namespace() => {
            return Err(ApiError::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {}",
                call.namespace()
            )));
        }
        (Some(wanted), None) => Attributes {
            verb: wanted.verb,
            group: wanted.group,
            version: wanted.version,
            // Without a resource it would pass for a path, which other rules speak of.
            resource: if wanted.resource.is_empty() {
                return Ok(json!({"allowed": false}));
            } else {
                wanted.resource
            },
            subresource: wanted.subresource,
            namespace: wanted.namespace,
            name: wanted.name,
            fields: wanted
                .field_selector
                .map(SelectorAttributes::selector)
                .unwrap_or_default(),
            ..Attributes::default()
        },
        (None, Some(wanted)) => Attributes {
            verb: wanted.verb,
            path: wanted.path,
            ..Attributes::default()
        },
    };
    let decision = call.server.authorize(&user, &attributes).await;
    let mut status = json!({"allowed": matches!(decision, Decision::Allow(_))});
    let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = &decision;
    if !reason.is_empty() {
        status["reason"] = reason.as_str().into();
    }
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    Ok(status)
}

/// Everything that RBAC lets the user do in a namespace (`kubectl auth can-i --list`).
fn rules(call: &Call, object: &Object) -> ApiResult<Value> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        namespace: String,
    }
    let spec: Spec = spec(object)?;
    if spec.namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let resolved = call.server.gates.rbac.rules_for(&call.user, &spec.namespace);
    let encode = |rule| serde_json::to_value(rule).map_err(ApiError::internal);
    let (paths, resources): (Vec<_>, Vec<_>) = resolved
        .rules
        .iter()
        .partition(|rule| !rule.non_resource_urls.is_empty());
    let mut errors = resolved.errors;
    if node_name(&call.user).is_some() {
        errors.push("node authorizer does not support user rule resolution".into());
    }
    let mut status = json!({
        "resourceRules": resources.into_iter().map(encode).collect::<ApiResult<Vec<_>>>()?,
        "nonResourceRules": paths.into_iter().map(encode).collect::<ApiResult<Vec<_>>>()?,
        "incomplete": !errors.is_empty(),
    });
    if !errors.is_empty() {
        status["evaluationError"] = errors.join(", ").into();
    }
    Ok(status)
}
