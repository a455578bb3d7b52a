//! Tokens from issue to end: what each is good for, and everything that ends it.

use super::*;
use crate::apiserver::fake::Fake;
use base64::Engine;
use jiff::{SignedDuration, ToSpan};
use mizzen_api::object::Object;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn object(kind: &str, namespace: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name, "uid": uid}})
}

fn pod() -> Value {
    let mut pod = object("Pod", "a", "p", "pod-1");
    pod["spec"] = json!({"serviceAccountName": "bot", "nodeName": "n1"});
    pod
}

struct World {
    objects: Arc<Fake>,
    tokens: Tokens,
    now: Timestamp,
}

fn keys() -> Arc<Keys> {
    let directory = tempfile::tempdir().unwrap();
    Arc::new(Keys::open(&directory.path().join("key")).unwrap())
}

fn world() -> World {
    let objects = Fake::new([
        object("ServiceAccount", "a", "bot", "sa-1"),
        object("ServiceAccount", "b", "bot", "sa-2"),
        object("Secret", "a", "s", "secret-1"),
        object("Node", "", "n1", "node-1"),
        pod(),
    ]);
    World {
        tokens: Tokens::new(keys(), objects.clone(), ISSUER),
        objects,
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn bound_to(kind: &str, name: &str, uid: &str) -> Value {
    json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}})
}

impl World {
    fn request(&self, spec: Value) -> ApiResult<Object> {
        let request = json!({ "spec": spec }).as_object().unwrap().clone();
        self.tokens.issue("a", "bot", request, self.now)
    }

    fn token(&self, spec: Value) -> String {
        let answer = self.request(spec).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    fn later(&self, seconds: i64) -> Timestamp {
        self.now + SignedDuration::from_secs(seconds)
    }

    fn identify(&self, token: &str) -> Result<User, String> {
        self.tokens
            .identify(token, &[], self.later(1))
            .map(|identified| identified.user)
    }

    fn refused(&self, token: &str) -> String {
        self.identify(token).expect_err("the token is refused")
    }
}

#[test]
fn a_token_tells_whom_it_stands_for() {
    let world = world();
    let user = world.identify(&world.token(json!({}))).unwrap();
    assert_eq!(
        (user.name.as_str(), user.uid.as_str()),
        ("system:serviceaccount:a:bot", "sa-1")
    );
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated"
        ]
    );
    let extras = |token: &str| {
        let user = world.identify(token).unwrap();
        let known = user
            .extra
            .into_iter()
            .filter(|(key, _)| !key.ends_with("credential-id"));
        known
            .map(|(key, value)| format!("{}={}", key.rsplit('/').next().unwrap(), value[0]))
            .collect::<Vec<_>>()
    };
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
    assert_eq!(
        extras(&world.token(bound_to("Pod", "p", "pod-1"))),
        ["node-name=n1", "node-uid=node-1", "pod-name=p", "pod-uid=pod-1"]
    );
    assert_eq!(
        extras(&world.token(bound_to("Node", "n1", ""))),
        ["node-name=n1", "node-uid=node-1"]
    );
    assert_eq!(extras(&world.token(bound_to("Secret", "s", ""))), [""; 0]);
}

#[test]
fn a_token_ends_with_its_time() {
    let world = world();
    let token = world.token(json!({"expirationSeconds": 600}));
    let at = |seconds| world.tokens.identify(&token, &[], world.later(seconds)).map(|_| ());
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(599), Ok(()));
    assert_eq!(at(600), Err("the token has expired".into()));
    assert_eq!(at(-60), Ok(()));
    assert_eq!(at(-61), Err("the token is not valid yet".into()));
}

#[test]
fn a_token_is_good_for_its_audiences_only() {
    let world = world();
    let ours = world.token(json!({}));
    let vault = world.token(json!({"audiences": ["vault", "x"]}));
    let both = world.token(json!({"audiences": ["vault", ISSUER]}));
    let check = |token: &str, audiences: &[&str]| {
        let audiences: Vec<_> = audiences.iter().map(|a| (*a).to_owned()).collect();
        world
            .tokens
            .identify(token, &audiences, world.now)
            .map(|i| i.audiences.join(" "))
            .unwrap_or_default()
    };
    assert_eq!(check(&ours, &[]), ISSUER);
    assert_eq!(check(&ours, &["vault"]), "");
    assert_eq!(check(&vault, &[]), "", "the API server takes no token meant for others");
    assert_eq!(check(&vault, &["vault", "y"]), "vault");
    assert_eq!(check(&both, &[]), ISSUER);
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let cases = [
        (object("ServiceAccount", "a", "bot", "sa-1"), json!({})),
        (pod(), bound_to("Pod", "p", "")),
        (object("Secret", "a", "s", "secret-1"), bound_to("Secret", "s", "")),
        (object("Node", "", "n1", "node-1"), bound_to("Node", "n1", "")),
    ];
    for (target, spec) in cases {
        let kind = target["kind"].as_str().unwrap().to_owned();
        let world = world();
        let token = world.token(spec);
        world.identify(&token).unwrap();

        let mut deleting = target.clone();
        let deleted = world.now - 59.seconds();
        deleting["metadata"]["deletionTimestamp"] = deleted.to_string().into();
        world.objects.put(deleting.clone());
        world.identify(&token).unwrap();
        let deleted = world.now - 60.seconds();
        deleting["metadata"]["deletionTimestamp"] = deleted.to_string().into();
        world.objects.put(deleting);
        assert_eq!(world.refused(&token), format!("the {kind} is being deleted"));

        world.objects.delete(&target);
        assert_eq!(world.refused(&token), format!("the {kind} is gone"));
        let mut again = target.clone();
        again["metadata"]["uid"] = "another".into();
        world.objects.put(again);
        assert_eq!(world.refused(&token), format!("the {kind} was created again"));
        world.objects.put(target);
        world.identify(&token).unwrap();
    }
}

#[test]
fn a_forged_token_is_refused() {
    let world = world();
    let other = Tokens::new(keys(), world.objects.clone(), ISSUER);
    let foreign = other.issue("a", "bot", Object::new(), world.now).unwrap();
    let foreign = foreign["status"]["token"].as_str().unwrap();
    assert_eq!(world.refused(foreign), "the token's signature is not ours");

    let good = world.token(json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let none = engine.encode(r#"{"alg":"none"}"#);
    assert_eq!(
        world.refused(&format!("{none}.{}.", parts[1])),
        "the token is not signed with ES256"
    );

    // Signed by us, but not as tokens are: each claim is needed.
    let claims = engine.decode(parts[1]).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let check = |change: &dyn Fn(&mut Value), expect: &str| {
        let mut claims = claims.clone();
        change(&mut claims);
        assert_eq!(world.refused(&world.tokens.keys.sign(&claims).unwrap()), expect);
    };
    check(&|c| c["iss"] = "https://elsewhere".into(), "the issuer is not ours");
    check(
        &|c| drop(c.as_object_mut().unwrap().remove("exp")),
        "the token has no end",
    );
    check(
        &|c| drop(c.as_object_mut().unwrap().remove("kubernetes.io")),
        "the token names no ServiceAccount",
    );
    check(
        &|c| c["sub"] = "system:admin".into(),
        "the subject is not the ServiceAccount that the token names",
    );
    check(
        &|c| c["sub"] = "system:serviceaccount:b:bot".into(),
        "the subject is not the ServiceAccount that the token names",
    );
    check(
        &|c| c["aud"] = json!([]),
        "the token is for the audiences [], not for [\"https://kubernetes.default.svc.cluster.local\"]",
    );
    check(
        &|c| c["kubernetes.io"]["serviceaccount"]["uid"] = "".into(),
        "the ServiceAccount was created again",
    );
    check(&|c| c["kubernetes.io"]["pod"] = json!("p"), "the claims are malformed");
}

#[test]
fn legacy_tokens_live_and_die_with_their_secret() {
    let world = world();
    let claims = json!({
        "iss": LEGACY_ISSUER, "sub": "system:serviceaccount:a:bot",
        "kubernetes.io/serviceaccount/namespace": "a",
        "kubernetes.io/serviceaccount/secret.name": "bot-token",
        "kubernetes.io/serviceaccount/service-account.name": "bot",
        "kubernetes.io/serviceaccount/service-account.uid": "sa-1",
    });
    let token = world.tokens.keys.sign(&claims).unwrap();
    assert_eq!(world.refused(&token), "the Secret that held the token is gone");
    let mut secret = object("Secret", "a", "bot-token", "x");
    secret["data"] = json!({"token": base64::engine::general_purpose::STANDARD.encode(&token)});
    world.objects.put(secret.clone());
    assert_eq!(world.identify(&token).unwrap().name, "system:serviceaccount:a:bot");
    let vault = ["vault".to_owned()];
    assert!(world.tokens.identify(&token, &vault, world.now).is_err());
    secret["data"] = json!({"token": "b3RoZXI="});
    world.objects.put(secret);
    assert_eq!(world.refused(&token), "the Secret holds another token");
    world.objects.put(object("ServiceAccount", "a", "bot", "sa-9"));
    assert_eq!(world.refused(&token), "the ServiceAccount was created again");
}

#[test]
fn requests_are_answered_with_defaults_and_refused_in_upstreams_words() {
    let world = world();
    let mut answer = world.request(json!({})).unwrap();
    answer["status"].as_object_mut().unwrap().remove("token");
    assert_eq!(
        Value::from(answer),
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {"name": "bot", "namespace": "a", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"audiences": [ISSUER], "expirationSeconds": 3600},
            "status": {"expirationTimestamp": "2026-01-02T04:04:05Z"},
        })
    );
    let message = |spec| world.request(spec).unwrap_err().message;
    insta::assert_snapshot!(message(json!({"expirationSeconds": 599})), @r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#);
    insta::assert_snapshot!(message(json!({"expirationSeconds": 4294967297_i64})), @r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"#);
    insta::assert_snapshot!(message(bound_to("ConfigMap", "x", "")), @"cannot bind token to object of type v1, Kind=ConfigMap");
    insta::assert_snapshot!(message(bound_to("Pod", "gone", "")), @r#"pods "gone" not found"#);
    insta::assert_snapshot!(message(bound_to("Pod", "p", "old")), @r#"Operation cannot be fulfilled on pods "p": the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated"#);
    let mut pod = pod();
    pod["spec"]["serviceAccountName"] = "other".into();
    world.objects.put(pod);
    insta::assert_snapshot!(message(bound_to("Pod", "p", "")), @r#"cannot bind token for serviceaccount "bot" to pod running with different serviceaccount name."#);
    let unknown = world.tokens.issue("a", "nobody", Object::new(), world.now).unwrap_err();
    insta::assert_snapshot!(unknown.message, @r#"serviceaccounts "nobody" not found"#);
}

#[test]
fn a_pods_token_outlives_what_the_pod_is_told_but_not_the_pod() {
    let world = world();
    let mut spec = bound_to("Pod", "p", "pod-1");
    spec["expirationSeconds"] = request::POD_TOKEN_SECONDS.into();
    let answer = world.request(spec).unwrap();
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-02T04:04:12Z");
    let token = answer["status"]["token"].as_str().unwrap();
    assert!(world.tokens.identify(token, &[], world.later(24 * 3600)).is_ok());
    world.objects.delete(&pod());
    assert_eq!(world.refused(token), "the Pod is gone");
}
