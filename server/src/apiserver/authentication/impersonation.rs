//! Impersonation: whoever may, acts as somebody else for one request (`kubectl --as`).

use std::collections::BTreeMap;

use http::HeaderMap;
use mizzen_api::status::{ApiError, ApiResult};

use crate::apiserver::authorization::{Attributes, Chain};
use crate::identity::{self, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const API_GROUP: &str = "authentication.k8s.io";

/// Whom the request acts as: `requester`, unless headers ask for somebody else, which takes the right
/// to `impersonate` every part of that identity.
pub async fn impersonate(requester: User, headers: &HeaderMap, authorization: &Chain) -> ApiResult<User> {
    let Some(wanted) = requested(headers)? else {
        return Ok(requester);
    };
    for attributes in permissions(&wanted) {
        authorization.require(&requester, &attributes).await?;
    }
    tracing::debug!(requester = requester.name, user = wanted.name, "impersonation");
    Ok(complete(wanted))
}

/// Takes the headers off, so that what we forward the request to does not act on them again.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the headers ask for; groups are only those that were named.
fn requested(headers: &HeaderMap) -> ApiResult<Option<User>> {
    let one = |name| values(headers, name).map(|values| values.into_iter().next().unwrap_or_default());
    let mut wanted = User {
        name: one(USER)?,
        uid: one(UID)?,
        groups: values(headers, GROUP)?,
        extra: BTreeMap::new(),
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted.extra.insert(unescape(key)?, values(headers, name.as_str())?);
        }
    }
    if wanted.name.is_empty() {
        let nothing = wanted == User::default();
        return if nothing {
            Ok(None)
        } else {
            Err(ApiError::bad_request(format!(
                "requested {} without impersonating a user",
                identity_parts(&wanted)
            )))
        };
    }
    Ok(Some(wanted))
}

fn values(headers: &HeaderMap, name: &str) -> ApiResult<Vec<String>> {
    headers
        .get_all(name)
        .iter()
        .map(|value| {
            let text = std::str::from_utf8(value.as_bytes());
            text.map(str::to_owned)
                .map_err(|_| ApiError::bad_request(format!("the value of header {name} is not UTF-8")))
        })
        .collect()
}

/// Keys are percent-encoded, because header names cannot hold a slash.
fn unescape(key: &str) -> ApiResult<String> {
    let wrong = || ApiError::bad_request(format!("the name of header {EXTRA}{key} is not percent-encoded"));
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

fn identity_parts(wanted: &User) -> String {
    let parts = [
        ("uid", !wanted.uid.is_empty()),
        ("groups", !wanted.groups.is_empty()),
        ("extra", !wanted.extra.is_empty()),
    ];
    let named: Vec<_> = parts
        .iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| *name)
        .collect();
    named.join(" and ")
}

/// What the requester must be allowed.
fn permissions(wanted: &User) -> Vec<Attributes> {
    let mut out = Vec::new();
    let mut add = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        out.push(Attributes {
            verb: "impersonate".into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        });
    };
    match identity::split_service_account(&wanted.name) {
        Some((namespace, name)) => add("", "serviceaccounts", "", namespace, name),
        None => add("", "users", "", "", &wanted.name),
    }
    for group in &wanted.groups {
        add("", "groups", "", "", group);
    }
    if !wanted.uid.is_empty() {
        add(API_GROUP, "uids", "", "", &wanted.uid);
    }
    for (key, values) in &wanted.extra {
        for value in values {
            add(API_GROUP, "userextras", key, "", value);
        }
    }
    out
}

/// Adds the groups that follow from the identity.
fn complete(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = identity::split_service_account(&user.name)
    {
        user.groups = identity::service_account_groups(namespace).into();
    }
    let implied = if user.name == identity::ANONYMOUS {
        identity::UNAUTHENTICATED
    } else {
        identity::AUTHENTICATED
    };
    let told = [identity::AUTHENTICATED, identity::UNAUTHENTICATED]
        .iter()
        .any(|group| user.in_group(group));
    if !told {
        user.groups.push(implied.into());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::authorization::rbac::Rbac;
    use crate::apiserver::fake::Fake;
    use serde_json::json;
    use std::sync::Arc;

    /// Somebody who may impersonate the user `bob`, the group `devs` and ServiceAccounts of namespace `a`.
    fn chain() -> Chain {
        let group = "rbac.authorization.k8s.io";
        let meta = |namespace: &str| json!({"name": "x", "namespace": namespace});
        let role = |kind: &str, namespace: &str, rules| json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": meta(namespace), "rules": rules});
        let bind = |kind: &str, to: &str, namespace: &str| {
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": meta(namespace),
            "roleRef": {"kind": to, "name": "x"}, "subjects": [{"kind": "User", "name": "ann"}]})
        };
        let objects = Fake::new([
            role(
                "ClusterRole",
                "",
                json!([
                    {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
                    {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["devs"]},
                    {"verbs": ["impersonate"], "apiGroups": [API_GROUP], "resources": ["userextras/example.com/scope"], "resourceNames": ["low"]},
                ]),
            ),
            bind("ClusterRoleBinding", "ClusterRole", ""),
            role(
                "Role",
                "a",
                json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}]),
            ),
            bind("RoleBinding", "Role", "a"),
        ]);
        let rbac: Arc<dyn crate::apiserver::authorization::Authorizer> = Arc::new(Rbac::new(objects));
        Chain::new([rbac])
    }

    async fn check(requester: &User, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        match impersonate(requester.clone(), &map, &chain()).await {
            Ok(user) => format!("{} {:?} {:?}", user.name, user.groups, user.extra),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[tokio::test]
    async fn one_may_act_as_those_one_may_impersonate() {
        let ann = User::new("ann", []);
        let admin = User::new("admin", [identity::MASTERS]);
        insta::assert_snapshot!(check(&ann, &[]).await, @r#"ann ["system:authenticated"] {}"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob")]).await, @r#"bob ["system:authenticated"] {}"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Group", "devs")]).await, @r#"bob ["devs", "system:authenticated"] {}"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "system:serviceaccount:a:bot")]).await, @r#"system:serviceaccount:a:bot ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"] {}"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Extra-example.com%2Fscope", "low")]).await, @r#"bob ["system:authenticated"] {"example.com/scope": ["low"]}"#);
        insta::assert_snapshot!(check(&admin, &[("Impersonate-User", "system:anonymous")]).await, @r#"system:anonymous ["system:unauthenticated"] {}"#);
        insta::assert_snapshot!(check(&admin, &[("Impersonate-User", "x"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"), ("Impersonate-Uid", "1")]).await, @r#"x ["a", "b", "system:authenticated"] {}"#);
    }

    #[tokio::test]
    async fn every_other_identity_is_refused() {
        let ann = User::new("ann", []);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "eve")]).await, @r#"403 users "eve" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Group", "devs"), ("Impersonate-Group", "system:masters")]).await, @r#"403 groups "system:masters" is forbidden: User "ann" cannot impersonate resource "groups" in API group "" at the cluster scope"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "system:serviceaccount:b:bot")]).await, @r#"403 serviceaccounts "bot" is forbidden: User "ann" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "b""#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Uid", "1")]).await, @r#"403 uids.authentication.k8s.io "1" is forbidden: User "ann" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Extra-example.com%2Fscope", "high")]).await, @r#"403 userextras.authentication.k8s.io "high" is forbidden: User "ann" cannot impersonate resource "userextras/example.com/scope" in API group "authentication.k8s.io" at the cluster scope"#);
        insta::assert_snapshot!(check(&ann, &[("Impersonate-Group", "devs")]).await, @"400 requested groups without impersonating a user");
        insta::assert_snapshot!(check(&ann, &[("Impersonate-User", "bob"), ("Impersonate-Extra-a%2", "x")]).await, @"400 the name of header impersonate-extra-a%2 is not percent-encoded");
        insta::assert_snapshot!(check(&User::anonymous(), &[("Impersonate-User", "bob")]).await, @r#"403 users "bob" is forbidden: User "system:anonymous" cannot impersonate resource "users" in API group "" at the cluster scope"#);
    }
}
