//! Gives every Pod a ServiceAccount, its token as a volume, and its image pull secrets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mizzen_api::object::Object;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use rand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation, array_mut, refuse};
use crate::apiserver::authentication::service_account::request::POD_TOKEN_SECONDS;
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::authorization::node::{MIRROR, Reference, references};
use crate::cache::Reader;
use crate::kinds::check::{each, text};

const DEFAULT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a Pod waits for the `default` ServiceAccount of a namespace that was just created, and how
/// often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
/// Letters of generated names: no vowels, so that no words come out.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The plugin.
pub struct ServiceAccount {
    reader: Arc<dyn Reader>,
    accounts: Arc<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Account {
    automount_service_account_token: Option<bool>,
    image_pull_secrets: Option<Vec<Value>>,
}

impl ServiceAccount {
    /// A plugin that looks accounts up here.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self {
            reader,
            accounts: builtin_row("", "serviceaccounts"),
        }
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Account> {
        let entry = self.reader.get(&self.accounts, namespace, name)?;
        Some(serde_json::from_slice(&entry.json).unwrap_or_default())
    }

    async fn account(&self, namespace: &str, name: &str) -> Option<Account> {
        if let Some(account) = self.find(namespace, name) {
            return Some(account);
        }
        self.reader.fresh().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.find(namespace, name);
            if found.is_some() || name != DEFAULT || tokio::time::Instant::now() >= deadline {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if !creates || !request.is("", "pods") || is_mirror(request) {
            return Ok(());
        }
        let namespace = request.namespace.to_owned();
        let Some(spec) = request.object_mut("spec") else {
            return Ok(());
        };
        if text(spec, "serviceAccountName").is_empty() {
            let old = text(spec, "serviceAccount");
            let name = if old.is_empty() { DEFAULT } else { old }.to_owned();
            spec.insert("serviceAccountName".into(), name.into());
        }
        let name = text(spec, "serviceAccountName").to_owned();
        // The name of before 1.0, which clients still read.
        spec.insert("serviceAccount".into(), name.as_str().into());
        let Some(account) = self.account(&namespace, &name).await else {
            return Err(refuse(
                request,
                format_args!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"),
            ));
        };
        let Some(spec) = request.object_mut("spec") else {
            return Ok(());
        };
        let own = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
        if own.or(account.automount_service_account_token).unwrap_or(true) {
            mount_token(spec);
        }
        let secrets = account.image_pull_secrets.unwrap_or_default();
        if !secrets.is_empty() && array_mut(spec, "imagePullSecrets").is_empty() {
            spec.insert("imagePullSecrets".into(), secrets.into());
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if creates && request.is("", "pods") && is_mirror(request) {
            return check_mirror(request);
        }
        Ok(())
    }
}

fn is_mirror(request: &AdmissionRequest<'_>) -> bool {
    let metadata = request.object.as_deref().and_then(|object| object.get("metadata"));
    metadata.is_some_and(|metadata| !metadata["annotations"][MIRROR].is_null())
}

/// A node shows by mirror Pods what runs there; it must not gain anything by them.
fn check_mirror(request: &AdmissionRequest<'_>) -> ApiResult<()> {
    let object = request.object.as_deref().cloned().unwrap_or_default();
    let pod = Value::Object(object);
    let wrong = if pod["spec"]["serviceAccountName"]
        .as_str()
        .is_some_and(|name| !name.is_empty())
    {
        Some("a mirror pod may not reference service accounts")
    } else if references(&pod).iter().any(|(kind, _)| *kind == Reference::Secret) {
        Some("a mirror pod may not reference secrets")
    } else if projects_token(&pod) {
        Some("a mirror pod may not use ServiceAccountToken volume projections")
    } else {
        None
    };
    wrong.map_or(Ok(()), |why| Err::<(), ApiError>(refuse(request, why)))
}

fn projects_token(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    sources.any(|source| !source["serviceAccountToken"].is_null())
}

/// Mounts the token into every container that does not mount something else in its place.
fn mount_token(spec: &mut Object) {
    let existing = each(spec, "volumes").find_map(|volume| {
        let name = text(volume, "name");
        name.starts_with(VOLUME_PREFIX).then(|| name.to_owned())
    });
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix()));
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        for container in each(spec, field) {
            if each(container, "volumeMounts").all(|mount| text(mount, "mountPath") != MOUNT_PATH) {
                let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
                array_mut(container, "volumeMounts").push(mount);
                needed = true;
            }
        }
    }
    if needed && existing.is_none() {
        array_mut(spec, "volumes").push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": POD_TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

fn suffix() -> String {
    let mut random = rand::rng();
    let letter = |_| char::from(LETTERS[random.random_range(0..LETTERS.len())]);
    (0..5).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::admission::testing::{Case, admit};
    use crate::apiserver::fake::Fake;

    fn account(name: &str, more: Value) -> Value {
        let mut account = more;
        account["apiVersion"] = "v1".into();
        account["kind"] = "ServiceAccount".into();
        account["metadata"] = json!({"namespace": "a", "name": name});
        account
    }

    fn plugin() -> ServiceAccount {
        ServiceAccount::new(Fake::new([
            account("default", json!({})),
            account(
                "puller",
                json!({"imagePullSecrets": [{"name": "pull"}], "automountServiceAccountToken": false}),
            ),
        ]))
    }

    fn pod(spec: Value) -> Case {
        Case::create("pods")
            .named("p")
            .in_namespace("a")
            .with(json!({ "spec": spec }))
    }

    async fn check(case: Case) -> Value {
        let mut pod = admit(&plugin(), case).await.unwrap();
        pod["spec"].take()
    }

    #[tokio::test]
    async fn a_pod_gets_the_default_account_and_its_token() {
        let spec = check(pod(
            json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}),
        ))
        .await;
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(
            name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5,
            "{name}"
        );
        let mount =
            json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
        assert_eq!(
            spec,
            json!({
                "serviceAccountName": "default", "serviceAccount": "default",
                "containers": [{"name": "c", "volumeMounts": mount}],
                "initContainers": [{"name": "i", "volumeMounts": mount}],
                "volumes": [{"name": name, "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
                ]}}],
            })
        );
    }

    #[tokio::test]
    async fn pods_and_accounts_can_decline_the_token() {
        let container = json!([{"name": "c"}]);
        let declined = check(pod(
            json!({"containers": container, "automountServiceAccountToken": false}),
        ))
        .await;
        assert_eq!(declined["volumes"], Value::Null);
        let puller = check(pod(json!({"containers": container, "serviceAccountName": "puller"}))).await;
        assert_eq!(
            (&puller["volumes"], &puller["imagePullSecrets"]),
            (&Value::Null, &json!([{"name": "pull"}]))
        );
        let insists = json!({"containers": container, "serviceAccountName": "puller", "automountServiceAccountToken": true,
            "imagePullSecrets": [{"name": "own"}]});
        let insists = check(pod(insists)).await;
        assert_eq!(insists["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(insists["imagePullSecrets"], json!([{"name": "own"}]));
        let own_mount = json!([{"name": "c", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]);
        let own = check(pod(json!({ "containers": own_mount }))).await;
        assert_eq!((&own["volumes"], &own["containers"]), (&Value::Null, &own_mount));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_account_is_refused() {
        let error = async |case| admit(&plugin(), case).await.unwrap_err().message;
        insta::assert_snapshot!(error(pod(json!({"serviceAccountName": "x"}))).await, @r#"pods "p" is forbidden: error looking up service account a/x: serviceaccount "x" not found"#);
        let elsewhere = Case::create("pods").named("p").in_namespace("b");
        insta::assert_snapshot!(error(elsewhere).await, @r#"pods "p" is forbidden: error looking up service account b/default: serviceaccount "default" not found"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_for_the_default_account_of_a_new_namespace() {
        let objects = Fake::new([]);
        let plugin = ServiceAccount::new(objects.clone());
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            objects.put(account("default", json!({})));
        };
        let (admitted, ()) = tokio::join!(admit(&plugin, pod(json!({}))), later);
        assert_eq!(admitted.unwrap()["spec"]["serviceAccountName"], "default");
    }

    #[tokio::test]
    async fn a_mirror_pod_gains_nothing() {
        let mirror = |spec| {
            let metadata = json!({"annotations": {MIRROR: "x"}});
            Case::create("pods")
                .in_namespace("a")
                .with(json!({"metadata": metadata, "spec": spec}))
                .named("p")
        };
        assert_eq!(
            check(mirror(json!({"containers": []}))).await,
            json!({"containers": []})
        );
        let error = async |spec| admit(&plugin(), mirror(spec)).await.unwrap_err().message;
        insta::assert_snapshot!(error(json!({"serviceAccountName": "default"})).await, @r#"pods "p" is forbidden: a mirror pod may not reference service accounts"#);
        insta::assert_snapshot!(error(json!({"volumes": [{"secret": {"secretName": "s"}}]})).await, @r#"pods "p" is forbidden: a mirror pod may not reference secrets"#);
        insta::assert_snapshot!(error(json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]})).await, @r#"pods "p" is forbidden: a mirror pod may not use ServiceAccountToken volume projections"#);
    }
}
