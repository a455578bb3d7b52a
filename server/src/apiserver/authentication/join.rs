//! Machines that join: the cluster's own tokens as user and password, bootstrap tokens as bearers.
//!
//! Either makes a user who may ask for a node's certificate and little else. What a machine says of its
//! node's password goes along as a hash, for the controller that approves.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::Timestamp;
use mizzen_api::join_token::split_bootstrap;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use serde::Deserialize;

use super::{Authenticator, bearer_token};
use crate::apiserver::authorization::builtin_row;
use crate::cache::Reader;
use crate::identity::User;
use crate::join::{
    self, BOOTSTRAPPERS, NAMESPACE, NODE_BOOTSTRAPPERS, NODE_PASSWORD_EXTRA, NODE_PASSWORD_HEADER, SERVER,
    SERVER_BOOTSTRAPPERS, Tokens,
};

/// Type of the Secrets that hold bootstrap tokens; upstream's.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What their names begin with.
pub const SECRET_PREFIX: &str = "bootstrap-token-";

/// Knows who joins.
pub struct Join {
    tokens: Arc<Tokens>,
    reader: Arc<dyn Reader>,
    secrets: Arc<Resource>,
}

/// What is read of a Secret.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Secret {
    #[serde(rename = "type")]
    kind: String,
    metadata: Metadata,
    data: Data,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<Timestamp>,
}

/// All in base64.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Data {
    token_id: String,
    token_secret: String,
    expiration: Option<String>,
    usage_bootstrap_authentication: String,
    auth_extra_groups: Option<String>,
}

impl Join {
    /// Knows those who have one of these tokens, or a bootstrap token that is found here.
    pub fn new(tokens: Arc<Tokens>, reader: Arc<dyn Reader>) -> Self {
        Self {
            tokens,
            reader,
            secrets: builtin_row("", "secrets"),
        }
    }

    fn password(&self, encoded: &str) -> Option<User> {
        let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        self.tokens.accepts(name, password).then(|| {
            let mut user = User::new(format!("system:bootstrap:{name}"), [BOOTSTRAPPERS, NODE_BOOTSTRAPPERS]);
            if name == SERVER {
                user.groups.insert(0, SERVER_BOOTSTRAPPERS.into());
            }
            user
        })
    }

    fn bootstrap(&self, id: &str, secret: &str, now: Timestamp) -> Option<User> {
        let name = format!("{SECRET_PREFIX}{id}");
        let entry = self.reader.get(&self.secrets, NAMESPACE, &name)?;
        user(&serde_json::from_slice(&entry.json).ok()?, id, secret, now)
    }
}

/// Who has the token that the Secret holds, if the Secret is in order.
fn user(found: &Secret, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let text = |encoded: &str| String::from_utf8(STANDARD.decode(encoded).ok()?).ok();
    let data = &found.data;
    let fits = found.kind == SECRET_TYPE
        && found.metadata.deletion_timestamp.is_none()
        && text(&data.token_id)? == id
        && join::same(&text(&data.token_secret)?, secret)
        && text(&data.usage_bootstrap_authentication)? == "true";
    let ended = match &data.expiration {
        Some(expiration) => text(expiration)?.parse::<Timestamp>().ok()? <= now,
        None => false,
    };
    if !fits || ended {
        return None;
    }
    let mut user = User::new(format!("system:bootstrap:{id}"), [BOOTSTRAPPERS]);
    let extra = text(data.auth_extra_groups.as_deref().unwrap_or_default())?;
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        // A token must not make anybody more than somebody who joins.
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        user.groups.insert(0, group.to_owned());
    }
    Some(user)
}

#[async_trait]
impl Authenticator for Join {
    async fn authenticate(&self, parts: &Parts) -> ApiResult<Option<User>> {
        let basic = parts.headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("basic").then(|| rest.trim().to_owned())
        });
        let found = match (basic, bearer_token(parts)) {
            (Some(encoded), _) => self.password(&encoded),
            (None, Some(token)) => match split_bootstrap(&token) {
                Some((id, secret)) => self.bootstrap(id, secret, Timestamp::now()),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let mut user = found.ok_or_else(ApiError::unauthorized)?;
        if let Some(password) = parts.headers.get(NODE_PASSWORD_HEADER) {
            let password = password.to_str().map_err(|_| ApiError::unauthorized())?;
            user.extra
                .insert(NODE_PASSWORD_EXTRA.into(), vec![join::hash(password)]);
        }
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(change: impl FnOnce(&mut Value), expect: Option<&[&str]>) {
        let data = |text: &str| STANDARD.encode(text);
        let mut secret = json!({"type": SECRET_TYPE, "data": {
            "token-id": data("abcdef"), "token-secret": data("0123456789abcdef"),
            "expiration": data("2030-01-01T00:00:00Z"), "usage-bootstrap-authentication": data("true"),
            "auth-extra-groups": data("system:bootstrappers:a, system:bootstrappers:b")}});
        change(&mut secret);
        let secret = serde_json::from_value(secret).unwrap();
        let now = "2029-12-31T23:59:59Z".parse().unwrap();
        let groups = user(&secret, "abcdef", "0123456789abcdef", now).map(|user| user.groups);
        let expect = expect.map(|all| all.iter().map(ToString::to_string).collect());
        assert_eq!(groups, expect, "{:?}", secret.data.token_id);
    }

    #[test]
    fn a_bootstrap_token_counts_while_it_is_in_order() {
        let data = |text: &str| json!(STANDARD.encode(text));
        let all = [
            "system:bootstrappers:b",
            "system:bootstrappers:a",
            BOOTSTRAPPERS,
            "system:authenticated",
        ];
        check(|_| {}, Some(&all));
        check(|s| s["data"]["expiration"] = Value::Null, Some(&all));
        check(
            |s| s["data"]["auth-extra-groups"] = Value::Null,
            Some(&[BOOTSTRAPPERS, "system:authenticated"]),
        );
        check(|s| s["type"] = json!("Opaque"), None);
        check(|s| s["data"]["token-id"] = data("abcdeg"), None);
        check(|s| s["data"]["token-secret"] = data("0123456789abcdeg"), None);
        check(|s| s["data"]["expiration"] = data("2029-12-31T23:59:59Z"), None);
        check(|s| s["data"]["expiration"] = data("soon"), None);
        check(|s| s["data"]["usage-bootstrap-authentication"] = data("false"), None);
        check(|s| s["data"]["auth-extra-groups"] = data("system:masters"), None);
        check(
            |s| s["metadata"] = json!({"deletionTimestamp": "2029-12-31T00:00:00Z"}),
            None,
        );
    }
}
