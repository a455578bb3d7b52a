//! TokenRequest: what `kubectl create token` and the kubelet get tokens with.

use jiff::{SignedDuration, Timestamp};
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde::Deserialize;
use serde_json::Value;

use super::{Bound, Claims, Live, Reference, Tokens};
use crate::identity;

const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;
/// What the kubelet asks for on behalf of Pods. Their token lives longer than they are told, for the sake
/// of programs that read it once; it dies with the Pod all the same.
pub const POD_TOKEN_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<BoundObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BoundObject {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

impl Tokens {
    /// Answers a TokenRequest for a ServiceAccount: the request with defaults and status filled in.
    pub fn issue(&self, namespace: &str, name: &str, mut request: Object, now: Timestamp) -> ApiResult<Object> {
        let spec = request.remove("spec").unwrap_or_default();
        let mut spec: Spec = match spec {
            Value::Null => Spec::default(),
            spec => serde_json::from_value(spec).map_err(|error| ApiError::bad_request(error.to_string()))?,
        };
        let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        check_duration(&self.rows.accounts, seconds)?;
        let account = self
            .live(&self.rows.accounts, namespace, name)
            .ok_or_else(|| ApiError::not_found(&self.rows.accounts, name))?;
        let audiences = spec
            .audiences
            .take()
            .filter(|a| !a.is_empty())
            .unwrap_or_else(|| vec![self.issuer.clone()]);
        let mut bound = Bound {
            namespace: namespace.to_owned(),
            serviceaccount: Reference {
                name: name.to_owned(),
                uid: account.metadata.uid,
            },
            ..Bound::default()
        };
        if let Some(object) = &mut spec.bound_object_ref {
            self.bind(object, namespace, name, &mut bound)?;
        }
        let start = now.as_second();
        let mut end = start + seconds;
        if seconds == POD_TOKEN_SECONDS && bound.pod.is_some() && audiences == [self.issuer.clone()] {
            bound.warnafter = Some(end);
            end = start + EXTENDED_SECONDS;
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: Some(end),
            iat: Some(start),
            iss: self.issuer.clone(),
            jti: Some(uuid::Uuid::new_v4().to_string()),
            bound: Some(bound),
            nbf: Some(start),
            sub: identity::service_account(namespace, name),
        };
        let claims = serde_json::to_value(claims).map_err(ApiError::internal)?;
        let token = self.keys.sign(&claims).map_err(ApiError::internal)?;
        let expiration = now + SignedDuration::from_secs(seconds);
        let mut object = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": text(now)},
            "spec": {"audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": text(expiration)},
        });
        if let Some(BoundObject {
            kind,
            api_version,
            name,
            uid,
        }) = spec.bound_object_ref
        {
            object["spec"]["boundObjectRef"] =
                serde_json::json!({"kind": kind, "apiVersion": api_version, "name": name, "uid": uid});
        }
        match object {
            Value::Object(object) => Ok(object),
            _ => unreachable!("an object was written above"),
        }
    }

    /// Finds the object to bind to; fills in the uid that the request left out.
    fn bind(&self, wanted: &mut BoundObject, namespace: &str, account: &str, bound: &mut Bound) -> ApiResult<()> {
        let (row, in_namespace) = match (&*wanted.api_version, &*wanted.kind) {
            ("v1", "Pod") => (&self.rows.pods, namespace),
            ("v1", "Secret") => (&self.rows.secrets, namespace),
            ("v1", "Node") => (&self.rows.nodes, ""),
            (version, kind) => {
                let kind = match version.rsplit_once('/') {
                    Some((group, version)) => format!("{group}/{version}, Kind={kind}"),
                    None => format!("{version}, Kind={kind}"),
                };
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {kind}"
                )));
            }
        };
        let live = self
            .live(row, in_namespace, &wanted.name)
            .ok_or_else(|| ApiError::not_found(row, &wanted.name))?;
        check_uid(row, wanted, &live)?;
        wanted.uid = live.metadata.uid.clone();
        let reference = Reference {
            name: wanted.name.clone(),
            uid: live.metadata.uid,
        };
        match &*wanted.kind {
            "Pod" if live.spec.service_account_name.as_deref() != Some(account) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            "Pod" => {
                bound.node = live.spec.node_name.filter(|node| !node.is_empty()).map(|name| {
                    let node = self.live(&self.rows.nodes, "", &name).unwrap_or_default();
                    Reference {
                        name,
                        uid: node.metadata.uid,
                    }
                });
                bound.pod = Some(reference);
            }
            "Secret" => bound.secret = Some(reference),
            _ => bound.node = Some(reference),
        }
        Ok(())
    }
}

fn check_uid(row: &Resource, wanted: &BoundObject, live: &Live) -> ApiResult<()> {
    if wanted.uid.is_empty() || wanted.uid == live.metadata.uid {
        return Ok(());
    }
    Err(ApiError::conflict(
        row,
        &wanted.name,
        format_args!(
            "the UID in the bound object reference ({}) does not match the UID in record. \
             The object might have been deleted and then recreated",
            wanted.uid
        ),
    ))
}

fn check_duration(accounts: &Resource, seconds: i64) -> ApiResult<()> {
    let wrong = match seconds {
        ..SHORTEST_SECONDS => "may not specify a duration less than 10 minutes",
        SHORTEST_SECONDS..=LONGEST_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, wrong);
    // The kind of a subresource has no row of its own.
    let row = Resource {
        group: "authentication.k8s.io".into(),
        kind: "TokenRequest".into(),
        ..accounts.clone()
    };
    Err(ApiError::invalid(&row, "", &[error]))
}

fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
