//! ServiceAccount tokens: issued by the `token` subresource, checked against the live objects that they
//! are bound to.
//!
//! A token is good while its signature, times and audience are, and while the ServiceAccount and the
//! Pod, Secret or Node that it names still are the objects (by uid) for which it was issued. Legacy
//! tokens, which a Secret holds, have no end but the Secret's.

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Authenticator, bearer_token};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;
use crate::identity::{self, User};
use crate::pki::Keys;

pub mod request;

const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Clocks of servers that issue and check may differ by this much; also for how long objects that are
/// being deleted still count.
const LEEWAY_SECONDS: i64 = 60;

/// Checks and issues tokens.
pub struct Tokens {
    keys: Arc<Keys>,
    reader: Arc<dyn Reader>,
    issuer: String,
    rows: Rows,
}

/// Rows of what tokens may be bound to.
struct Rows {
    accounts: Arc<Resource>,
    pods: Arc<Resource>,
    secrets: Arc<Resource>,
    nodes: Arc<Resource>,
}

/// Whom a good token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The ServiceAccount as a user.
    pub user: User,
    /// The audiences for which the token is good, of those asked for.
    pub audiences: Vec<String>,
}

/// Claims of a token.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    bound: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    sub: String,
}

/// What a token is bound to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Bound {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

/// Claims of a token that a Secret holds.
#[derive(Debug, Deserialize)]
struct LegacyClaims {
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
}

/// Of a live object, what binding to it needs.
#[derive(Debug, Default, Deserialize)]
struct Live {
    metadata: LiveMetadata,
    #[serde(default)]
    spec: LiveSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LiveMetadata {
    uid: String,
    deletion_timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LiveSpec {
    node_name: Option<String>,
    service_account_name: Option<String>,
}

/// What is wrong with a token, for logs and TokenReviews.
type Refusal = String;

impl Tokens {
    /// Tokens of this issuer, signed with these keys.
    pub fn new(keys: Arc<Keys>, reader: Arc<dyn Reader>, issuer: impl Into<String>) -> Self {
        Self {
            keys,
            reader,
            issuer: issuer.into(),
            rows: Rows {
                accounts: builtin_row("", "serviceaccounts"),
                pods: builtin_row("", "pods"),
                secrets: builtin_row("", "secrets"),
                nodes: builtin_row("", "nodes"),
            },
        }
    }

    /// Whom a token stands for at `now`. With no `audiences` it must be meant for the API server.
    pub fn identify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Identified, Refusal> {
        let claims: Value = self.keys.verify(token).map_err(|error| error.to_string())?;
        if claims["iss"] == LEGACY_ISSUER {
            return self.identify_legacy(token, claims, audiences, now);
        }
        let claims: Claims = serde_json::from_value(claims).map_err(|_| "the claims are malformed")?;
        if claims.iss != self.issuer {
            return Err("the issuer is not ours".into());
        }
        check_times(&claims, now)?;
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let audiences: Vec<_> = wanted.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!(
                "the token is for the audiences {:?}, not for {wanted:?}",
                claims.aud
            ));
        }
        let bound = claims.bound.ok_or("the token names no ServiceAccount")?;
        let user = self.check_bound(&claims.sub, &bound, claims.jti, now)?;
        Ok(Identified { user, audiences })
    }

    fn check_bound(&self, subject: &str, bound: &Bound, id: Option<String>, now: Timestamp) -> Result<User, Refusal> {
        let namespace = &bound.namespace;
        let account = &bound.serviceaccount;
        if subject != identity::service_account(namespace, &account.name) {
            return Err("the subject is not the ServiceAccount that the token names".into());
        }
        self.check_live(&self.rows.accounts, namespace, account, now)?;
        let mut user = account_user(namespace, account);
        let mut extra = |key: &str, value: &str| {
            user.extra
                .insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if let Some(secret) = &bound.secret {
            self.check_live(&self.rows.secrets, namespace, secret, now)?;
        }
        if let Some(pod) = &bound.pod {
            self.check_live(&self.rows.pods, namespace, pod, now)?;
            extra("pod-name", &pod.name);
            extra("pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            // With a Pod, the node is only told: the Pod is what the token lives and dies with.
            if bound.pod.is_none() {
                self.check_live(&self.rows.nodes, "", node, now)?;
            }
            extra("node-name", &node.name);
            if !node.uid.is_empty() {
                extra("node-uid", &node.uid);
            }
        }
        if let Some(id) = id {
            extra("credential-id", &format!("JTI={id}"));
        }
        Ok(user)
    }

    fn identify_legacy(
        &self,
        token: &str,
        claims: Value,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Identified, Refusal> {
        let claims: LegacyClaims = serde_json::from_value(claims).map_err(|_| "the claims are malformed")?;
        let namespace = &claims.namespace;
        let account = Reference {
            name: claims.account,
            uid: claims.uid,
        };
        if claims.sub != identity::service_account(namespace, &account.name) {
            return Err("the subject is not the ServiceAccount that the token names".into());
        }
        self.check_live(&self.rows.accounts, namespace, &account, now)?;
        let secret = self.reader.get(&self.rows.secrets, namespace, &claims.secret);
        let secret: Value = secret
            .and_then(|entry| serde_json::from_slice(&entry.json).ok())
            .ok_or("the Secret that held the token is gone")?;
        let live: Live = serde_json::from_value(secret.clone()).map_err(|_| "the Secret is malformed")?;
        check_not_deleted("Secret", &live, now)?;
        if !holds(&secret["data"]["token"], token) {
            return Err("the Secret holds another token".into());
        }
        // Such a token names no audience; it is for the API server alone.
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        if !wanted.contains(&self.issuer) {
            return Err(format!("the token is for the API server, not for {wanted:?}"));
        }
        Ok(Identified {
            user: account_user(namespace, &account),
            audiences: own.into(),
        })
    }

    /// The uid of a ServiceAccount, if there is one of that name.
    pub fn account_uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.live(&self.rows.accounts, namespace, name)
            .map(|live| live.metadata.uid)
    }

    /// A token for a Secret to hold, which lives as long as the Secret does.
    pub fn issue_legacy(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> anyhow::Result<String> {
        self.keys.sign(&json!({
            "iss": LEGACY_ISSUER,
            "sub": identity::service_account(namespace, account),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account,
            "kubernetes.io/serviceaccount/service-account.uid": uid,
        }))
    }

    fn check_live(&self, row: &Resource, namespace: &str, wanted: &Reference, now: Timestamp) -> Result<(), Refusal> {
        let kind = &row.kind;
        let live = self
            .live(row, namespace, &wanted.name)
            .ok_or_else(|| format!("the {kind} is gone"))?;
        if live.metadata.uid != wanted.uid || wanted.uid.is_empty() {
            return Err(format!("the {kind} was created again"));
        }
        check_not_deleted(kind, &live, now)
    }

    fn live(&self, row: &Resource, namespace: &str, name: &str) -> Option<Live> {
        let entry = self.reader.get(row, namespace, name)?;
        serde_json::from_slice(&entry.json).ok()
    }

    /// The OpenID Connect discovery document; `base` is the URL of the server.
    pub fn discovery(&self, base: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{base}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The keys by which others can check our tokens.
    pub fn key_set(&self) -> Value {
        self.keys.key_set()
    }
}

fn account_user(namespace: &str, account: &Reference) -> User {
    let mut user = User::new(identity::service_account(namespace, &account.name), []);
    user.uid = account.uid.clone();
    user.groups.splice(0..0, identity::service_account_groups(namespace));
    user
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    let end = claims.exp.ok_or("the token has no end")?;
    if now >= end {
        return Err("the token has expired".into());
    }
    if claims.nbf.is_some_and(|start| now + LEEWAY_SECONDS < start) {
        return Err("the token is not valid yet".into());
    }
    Ok(())
}

fn check_not_deleted(kind: &str, live: &Live, now: Timestamp) -> Result<(), Refusal> {
    match live.metadata.deletion_timestamp {
        Some(deleted) if deleted.as_second() + LEEWAY_SECONDS < now.as_second() => {
            Err(format!("the {kind} is being deleted"))
        }
        _ => Ok(()),
    }
}

/// Whether a Secret's value is this token, in time that does not depend on where they differ.
fn holds(value: &Value, token: &str) -> bool {
    use base64::Engine;
    let stored = value
        .as_str()
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let hash = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    stored.is_some_and(|stored| hash(&stored).as_ref() == hash(token.as_bytes()).as_ref())
}

/// Bearer tokens of ServiceAccounts.
#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
        let Some(token) = bearer_token(parts) else {
            return Ok(None);
        };
        match self.identify(&token, &[], Timestamp::now()) {
            Ok(identified) => Ok(Some(identified.user)),
            Err(refusal) => {
                tracing::debug!("a bearer token is refused: {refusal}");
                Err(ApiError::unauthorized())
            }
        }
    }
}

#[cfg(test)]
mod tests;
