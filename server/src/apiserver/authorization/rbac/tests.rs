//! Bindings and roles as users write them, and what they amount to.

use super::*;
use crate::apiserver::fake::Fake;
use serde_json::{Value, json};

fn role(kind: &str, namespace: &str, name: &str, verb: &str, resource: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "rules": [{"verbs": [verb], "apiGroups": [""], "resources": [resource]}]})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    let kind = if namespace.is_empty() {
        "ClusterRoleBinding"
    } else {
        "RoleBinding"
    };
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}, "subjects": subjects})
}

fn user(name: &str) -> Value {
    json!([{"kind": "User", "name": name, "apiGroup": GROUP}])
}

async fn ask(rbac: &Rbac, user: &User, verb: &str, resource: &str, namespace: &str) -> Decision {
    let attributes = Attributes {
        verb: verb.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        ..Attributes::default()
    };
    rbac.authorize(user, &attributes).await
}

fn nothing() -> Decision {
    Decision::NoOpinion(String::new())
}

#[tokio::test]
async fn bindings_reach_as_far_as_they_say() {
    let objects = Fake::new([
        role("ClusterRole", "", "reader", "get", "pods"),
        role("Role", "a", "reader", "get", "secrets"),
        binding("", "all", ("ClusterRole", "reader"), user("ann")),
        binding(
            "a",
            "here",
            ("ClusterRole", "reader"),
            json!([{"kind": "Group", "name": "devs"}]),
        ),
        binding(
            "a",
            "own",
            ("Role", "reader"),
            json!([{"kind": "ServiceAccount", "name": "bot"}]),
        ),
        binding(
            "b",
            "foreign",
            ("ClusterRole", "reader"),
            json!([{"kind": "ServiceAccount", "name": "bot", "namespace": "a"}]),
        ),
        // A cluster role binding cannot refer to a namespace's role.
        binding("", "wrong", ("Role", "reader"), user("eve")),
        binding("a", "dangling", ("Role", "gone"), user("dan")),
        binding("a", "nobody", ("Role", "reader"), Value::Null),
    ]);
    let rbac = Rbac::new(objects);
    let ann = User::new("ann", []);
    let dev = User::new("dee", ["devs"]);
    let bot = User::new("system:serviceaccount:a:bot", []);
    // A user who is only called like a group, and one of another namespace's ServiceAccount.
    let devs = User::new("devs", []);
    let other_bot = User::new("system:serviceaccount:b:bot", []);
    let allow = |reason: &str| Decision::Allow(format!("RBAC: allowed by {reason}"));
    for (who, resource, namespace, expect) in [
        (
            &ann,
            "pods",
            "x",
            allow(r#"ClusterRoleBinding "all" of ClusterRole "reader" to User "ann""#),
        ),
        (
            &ann,
            "pods",
            "",
            allow(r#"ClusterRoleBinding "all" of ClusterRole "reader" to User "ann""#),
        ),
        (&ann, "secrets", "a", nothing()),
        (
            &dev,
            "pods",
            "a",
            allow(r#"RoleBinding "here/a" of ClusterRole "reader" to Group "devs""#),
        ),
        (&dev, "pods", "b", nothing()),
        (&dev, "pods", "", nothing()),
        (&devs, "pods", "a", nothing()),
        (
            &bot,
            "secrets",
            "a",
            allow(r#"RoleBinding "own/a" of Role "reader" to ServiceAccount "bot/""#),
        ),
        (&bot, "secrets", "b", nothing()),
        (
            &bot,
            "pods",
            "b",
            allow(r#"RoleBinding "foreign/b" of ClusterRole "reader" to ServiceAccount "bot/a""#),
        ),
        (&other_bot, "secrets", "a", nothing()),
        (&other_bot, "pods", "b", nothing()),
        (&User::anonymous(), "pods", "a", nothing()),
    ] {
        assert_eq!(
            ask(&rbac, who, "get", resource, namespace).await,
            expect,
            "{} {resource} {namespace:?}",
            who.name
        );
        assert_ne!(
            ask(&rbac, who, "list", resource, namespace).await,
            expect.clone().into_allow(),
            "verb"
        );
    }
    let missing = |kind: &str, name: &str| {
        Decision::NoOpinion(format!("RBAC: {kind}.rbac.authorization.k8s.io {name:?} not found"))
    };
    assert_eq!(
        ask(&rbac, &User::new("eve", []), "get", "secrets", "a").await,
        missing("role", "reader")
    );
    assert_eq!(
        ask(&rbac, &User::new("dan", []), "get", "secrets", "a").await,
        missing("role", "gone")
    );
}

impl Decision {
    /// An allowing decision that equals no real one, so that refusals compare unequal to it.
    fn into_allow(self) -> Decision {
        match self {
            Decision::Allow(reason) => Decision::Allow(reason),
            _ => Decision::Allow("never".into()),
        }
    }
}

#[tokio::test]
async fn a_change_holds_for_the_next_request() {
    let reader = role("ClusterRole", "", "reader", "get", "pods");
    let all = binding("", "all", ("ClusterRole", "reader"), user("ann"));
    let objects = Fake::new([reader.clone()]);
    let rbac = Rbac::new(objects.clone());
    let ann = User::new("ann", []);
    let allowed = async || matches!(ask(&rbac, &ann, "get", "pods", "a").await, Decision::Allow(_));
    assert!(!allowed().await);
    objects.put(all.clone());
    assert!(allowed().await);
    objects.put(role("ClusterRole", "", "reader", "get", "nodes"));
    assert!(!allowed().await, "the role lost the rule");
    objects.put(reader);
    assert!(allowed().await);
    objects.delete(&all);
    assert!(!allowed().await, "the binding is gone");
}

#[tokio::test]
async fn an_unreadable_role_grants_nothing_and_breaks_nothing() {
    let mut broken = role("ClusterRole", "", "broken", "get", "pods");
    broken["rules"] = json!("everything");
    let objects = Fake::new([
        broken,
        role("ClusterRole", "", "reader", "get", "pods"),
        binding("", "a", ("ClusterRole", "broken"), user("ann")),
        binding("", "b", ("ClusterRole", "reader"), user("bea")),
    ]);
    let rbac = Rbac::new(objects);
    assert!(matches!(
        ask(&rbac, &User::new("ann", []), "get", "pods", "").await,
        Decision::NoOpinion(_)
    ));
    assert!(matches!(
        ask(&rbac, &User::new("bea", []), "get", "pods", "").await,
        Decision::Allow(_)
    ));
}
