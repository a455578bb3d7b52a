//! Nobody grants what they do not hold: the escalation check of roles and bindings.
//!
//! Whoever may `escalate` a role, or `bind` it, is exempt, as upstream.

use std::sync::Arc;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::status::{ApiError, ApiResult};
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::rbac::{GROUP, Rbac, RoleRef};
use crate::apiserver::authorization::rules::{Rule, compact, quoted, uncovered};
use crate::apiserver::authorization::{Attributes, Chain};

/// The plugin.
pub struct RbacEscalation {
    rbac: Arc<Rbac>,
    authorization: Arc<Chain>,
}

impl RbacEscalation {
    /// A plugin that compares with these rules, and asks here for exemptions.
    pub fn new(rbac: Arc<Rbac>, authorization: Arc<Chain>) -> Self {
        Self { rbac, authorization }
    }

    async fn may(&self, request: &AdmissionRequest<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            verb: verb.into(),
            group: GROUP.into(),
            version: "v1".into(),
            resource: resource.into(),
            namespace: request.namespace.into(),
            name: name.into(),
            ..Attributes::default()
        };
        self.authorization.allows(request.user, &attributes).await
    }

    async fn check_role(&self, request: &AdmissionRequest<'_>, new: &Object) -> ApiResult<()> {
        let part =
            |object: Option<&Object>, field: &str| object.and_then(|o| o.get(field)).cloned().unwrap_or_default();
        let unchanged = |field| part(request.old, field) == part(Some(new), field);
        if request.operation == Operation::Update && unchanged("rules") && unchanged("aggregationRule") {
            return Ok(());
        }
        if self
            .may(request, "escalate", &request.resource.plural, request.object_name())
            .await
        {
            return Ok(());
        }
        // Whoever chooses what is aggregated grants whatever may come.
        if !part(Some(new), "aggregationRule").is_null() {
            let everything = [Rule::everything(), Rule::every_path()];
            if self.missing(request, &everything).is_some() {
                return Err(refuse(
                    request,
                    "must have cluster-admin privileges to use an aggregationRule",
                ));
            }
        }
        self.check(request, &rules(part(Some(new), "rules"))?)
    }

    async fn check_binding(&self, request: &AdmissionRequest<'_>, new: &Object) -> ApiResult<()> {
        let part =
            |object: Option<&Object>, field: &str| object.and_then(|o| o.get(field)).cloned().unwrap_or_default();
        let unchanged = |field| part(request.old, field) == part(Some(new), field);
        if request.operation == Operation::Update && unchanged("roleRef") && unchanged("subjects") {
            return Ok(());
        }
        let reference: RoleRef = serde_json::from_value(part(Some(new), "roleRef")).unwrap_or_default();
        let resource = match &*reference.kind {
            "ClusterRole" => "clusterroles",
            _ => "roles",
        };
        if self.may(request, "bind", resource, &reference.name).await {
            return Ok(());
        }
        let Some(rules) = self.rbac.role_rules(&reference, request.namespace) else {
            let row = super::super::authorization::builtin_row(GROUP, resource);
            return Err(ApiError::not_found(&row, &reference.name));
        };
        self.check(request, &rules)
    }

    fn check(&self, request: &AdmissionRequest<'_>, wanted: &[Rule]) -> ApiResult<()> {
        match self.missing(request, wanted) {
            None => Ok(()),
            Some(why) => Err(refuse(request, why)),
        }
    }

    /// What the user lacks of these rules, as upstream says it; `None` when nothing.
    fn missing(&self, request: &AdmissionRequest<'_>, wanted: &[Rule]) -> Option<String> {
        let held = self.rbac.rules_for(request.user, request.namespace);
        let missing = uncovered(&held.rules, wanted);
        if missing.is_empty() {
            return None;
        }
        let mut missing: Vec<_> = compact(missing).iter().map(ToString::to_string).collect();
        missing.sort();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            request.user.name,
            quoted(&request.user.groups),
            missing.join("\n"),
        );
        if !held.errors.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", held.errors.join(", ")));
        }
        Some(message)
    }
}

/// A rule that we cannot read would be one that we cannot compare.
fn rules(value: Value) -> ApiResult<Vec<Rule>> {
    match value {
        Value::Null => Ok(Vec::new()),
        value => serde_json::from_value(value).map_err(|error| ApiError::bad_request(format!("rules: {error}"))),
    }
}

#[async_trait]
impl Admission for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(new) = request
            .object
            .as_deref()
            .filter(|_| writes && request.resource.group == GROUP)
        else {
            return Ok(());
        };
        match &*request.resource.plural {
            "roles" | "clusterroles" => self.check_role(request, new).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(request, new).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::authorization::Authorizer;
    use crate::apiserver::fake::Fake;
    use crate::identity::{MASTERS, User};
    use serde_json::json;

    fn plugin() -> RbacEscalation {
        let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        let bind = |user: &str, role: &str, namespace: &str| {
            let kind = if namespace.is_empty() {
                "ClusterRoleBinding"
            } else {
                "RoleBinding"
            };
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": user, "namespace": namespace},
                "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": user}]})
        };
        let rule = |verbs: &[&str], group: &str, resources: &[&str]| json!([{"verbs": verbs, "apiGroups": [group], "resources": resources}]);
        let rbac = Arc::new(Rbac::new(Fake::new([
            role("reader", rule(&["get"], "", &["pods"])),
            role(
                "root",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            ),
            role(
                "all",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]),
            ),
            role(
                "escalator",
                rule(&["escalate", "bind"], GROUP, &["roles", "clusterroles"]),
            ),
            bind("ann", "reader", ""),
            bind("bea", "root", "a"),
            bind("cho", "all", ""),
            bind("dan", "escalator", "a"),
        ])));
        let authorizer: Arc<dyn Authorizer> = rbac.clone();
        RbacEscalation::new(rbac, Arc::new(Chain::new([authorizer])))
    }

    async fn check(user: &str, case: Case) -> String {
        let user = if user == "root" {
            User::new(user, [MASTERS])
        } else {
            User::new(user, [])
        };
        match admit(&plugin(), case.by(user)).await {
            Ok(_) => "ok".into(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    fn role(namespace: &str, verb: &str, resource: &str) -> Case {
        let plural = if namespace.is_empty() { "clusterroles" } else { "roles" };
        let rules = json!([{"verbs": [verb], "apiGroups": [""], "resources": [resource]}]);
        Case::create(plural)
            .with(json!({ "rules": rules }))
            .in_namespace(namespace)
            .named("r")
    }

    fn binding(namespace: &str, kind: &str, role: &str) -> Case {
        let plural = if namespace.is_empty() {
            "clusterrolebindings"
        } else {
            "rolebindings"
        };
        let object = json!({"roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": "eve"}]});
        Case::create(plural).with(object).in_namespace(namespace).named("b")
    }

    #[tokio::test]
    async fn a_role_says_only_what_its_author_holds() {
        assert_eq!(check("ann", role("", "get", "pods")).await, "ok");
        assert_eq!(check("ann", role("x", "get", "pods")).await, "ok");
        insta::assert_snapshot!(check("ann", role("x", "get", "secrets")).await, @r#"403 roles.rbac.authorization.k8s.io "r" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#);
        insta::assert_snapshot!(check("ann", role("", "*", "pods")).await, @r#"403 clusterroles.rbac.authorization.k8s.io "r" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#);
        assert_eq!(
            check("bea", role("a", "get", "secrets")).await,
            "ok",
            "holds it in this namespace"
        );
        insta::assert_snapshot!(check("bea", role("", "get", "secrets")).await, @r#"403 clusterroles.rbac.authorization.k8s.io "r" is forbidden: user "bea" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#);
        assert_eq!(
            check("dan", role("a", "get", "secrets")).await,
            "ok",
            "may escalate here"
        );
        insta::assert_snapshot!(check("dan", role("b", "get", "secrets")).await, @r#"403 roles.rbac.authorization.k8s.io "r" is forbidden: user "dan" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#);
        assert_eq!(check("root", role("", "*", "*")).await, "ok");
        let kept = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]});
        let relabel = role("", "get", "secrets").operation(Operation::Update).old(kept);
        assert_eq!(check("ann", relabel).await, "ok", "the rules were there before");
    }

    #[tokio::test]
    async fn a_binding_gives_only_what_its_author_holds() {
        assert_eq!(check("ann", binding("x", "ClusterRole", "reader")).await, "ok");
        insta::assert_snapshot!(check("ann", binding("", "ClusterRole", "root")).await, @r#"403 clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#);
        insta::assert_snapshot!(check("ann", binding("x", "Role", "gone")).await, @r#"404 roles.rbac.authorization.k8s.io "gone" not found"#);
        assert_eq!(check("bea", binding("a", "ClusterRole", "root")).await, "ok");
        assert_eq!(
            check("dan", binding("a", "ClusterRole", "root")).await,
            "ok",
            "may bind here"
        );
        assert!(
            check("dan", binding("", "ClusterRole", "root"))
                .await
                .starts_with("403 ")
        );
        assert_eq!(check("root", binding("", "ClusterRole", "all")).await, "ok");
        let old = json!({"roleRef": {"kind": "ClusterRole", "name": "root"}, "subjects": []});
        let widen = binding("", "ClusterRole", "root").operation(Operation::Update).old(old);
        assert!(
            check("ann", widen).await.starts_with("403 "),
            "another subject is another grant"
        );
    }

    #[tokio::test]
    async fn aggregation_takes_everything() {
        let aggregate = || {
            let rule = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
            Case::create("clusterroles")
                .with(json!({ "aggregationRule": rule }))
                .named("r")
        };
        insta::assert_snapshot!(check("ann", aggregate()).await, @r#"403 clusterroles.rbac.authorization.k8s.io "r" is forbidden: must have cluster-admin privileges to use an aggregationRule"#);
        assert_eq!(check("cho", aggregate()).await, "ok");
    }
}
