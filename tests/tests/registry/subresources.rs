//! Subresources: a row for each, by what it does. One that is in no row fails.

use anyhow::{bail, ensure};
use http::Method;
use serde_json::{Value, json};

use super::Kind;
use super::client::Api;

/// Tries the verbs of a subresource on the first object.
pub(super) async fn tried(api: &Api, kind: &Kind, name: &str, verbs: &[String]) -> anyhow::Result<()> {
    let path = format!("{}/{name}", kind.path(&kind.name(1)));
    match name {
        "status" => changed(api, kind, &path, verbs, &json!({"status": kind.sample.status})).await,
        "scale" => scaled(api, kind, &path).await,
        "approval" => {
            let approved = &kind.sample.status["conditions"][0];
            let status = json!({"status": {"conditions": [approved]}});
            changed(api, kind, &path, verbs, &status).await
        }
        "ephemeralcontainers" => {
            let container = json!({"name": "look", "image": "example.com/image"});
            changed(
                api,
                kind,
                &path,
                verbs,
                &json!({"spec": {"ephemeralContainers": [container]}}),
            )
            .await
        }
        "resize" => {
            api.get(&path).expect(200).await?;
            let container = json!({"name": "main", "resources": {"requests": {"cpu": "1m"}}});
            let patch = json!({"spec": {"containers": [container]}});
            let strategic = "application/strategic-merge-patch+json";
            // A Pod's QoS class stays what it is, and this Pod asked for nothing.
            let refuse = async |patch: &Value| {
                let request = api.request(Method::PATCH, &path).body(strategic, patch);
                request.refused(422, "Invalid").await
            };
            refuse(&patch).await?;
            let image = json!({"spec": {"containers": [{"name": "main", "image": "example.com/other"}]}});
            let message = refuse(&image).await?;
            ensure!(
                message.contains("only cpu and memory resources are mutable"),
                "{message}"
            );
            Ok(())
        }
        "token" => {
            let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
            let token = api.request(Method::POST, &path).json(&request).expect(201).await?.body;
            ensure!(token["status"]["token"].is_string(), "no token");
            Ok(())
        }
        // Deleting a namespace ends with it.
        "finalize" => Ok(()),
        "eviction" => {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": kind.name(1)}});
            let dry = format!("{path}?dryRun=All");
            api.request(Method::POST, &dry).json(&eviction).expect(201).await?;
            Ok(())
        }
        "binding" => {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": kind.name(1)}, "target": {"kind": "Node", "name": "nobody"}});
            let dry = format!("{path}?dryRun=All");
            api.request(Method::POST, &dry).json(&binding).expect(201).await?;
            Ok(())
        }
        "log" => {
            let log = api.get(&path).expect(200).await?.bytes;
            ensure!(log.is_empty(), "a log of a Pod without a node");
            Ok(())
        }
        "attach" | "exec" | "portforward" | "proxy" => reached(api, &path, verbs).await,
        _ => bail!("nobody knows how to try it"),
    }
}

/// Read, patched and put; what was written stays.
async fn changed(api: &Api, kind: &Kind, path: &str, verbs: &[String], change: &Value) -> anyhow::Result<()> {
    ensure!(verbs == ["get", "patch", "update"], "verbs are {verbs:?}");
    ensure!(
        !change["status"].is_null() || change["spec"].is_object(),
        "no status to write in objects.yaml"
    );
    let before = api.get(path).expect(200).await?.body;
    ensure!(before["kind"] == *kind.kind, "it is a {}", before["kind"]);
    let patch = api
        .request(Method::PATCH, path)
        .body("application/merge-patch+json", change);
    let after = patch.expect(200).await?.body;
    holds(&after, change)?;
    let put = api.request(Method::PUT, path).json(&after).expect(200).await?.body;
    holds(&put, change)?;
    api.request(Method::PUT, path)
        .json(&before)
        .refused(409, "Conflict")
        .await?;
    let object = api.get(&kind.path(&kind.name(1))).expect(200).await?.body;
    holds(&object, change)
}

/// Whether all that was written can be read.
fn holds(object: &Value, written: &Value) -> anyhow::Result<()> {
    match (object, written) {
        (Value::Object(object), Value::Object(written)) => written
            .iter()
            .try_for_each(|(key, value)| holds(object.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(object), Value::Array(written)) if written.len() == object.len() => object
            .iter()
            .zip(written)
            .try_for_each(|(object, written)| holds(object, written)),
        // An empty list is as good as none.
        (Value::Null, Value::Array(written)) if written.is_empty() => Ok(()),
        _ => {
            ensure!(object == written, "{written} was written, and {object} is there");
            Ok(())
        }
    }
}

/// As autoscalers see a workload: it has as many replicas as it was told.
async fn scaled(api: &Api, kind: &Kind, path: &str) -> anyhow::Result<()> {
    let mut scale = api.get(path).expect(200).await?.body;
    ensure!(
        scale["kind"] == "Scale" && scale["apiVersion"] == "autoscaling/v1",
        "it is {scale}"
    );
    ensure!(
        scale["status"]["selector"] == "a=b",
        "it selects {}",
        scale["status"]["selector"]
    );
    scale["spec"]["replicas"] = json!(3);
    let put = api.request(Method::PUT, path).json(&scale).expect(200).await?.body;
    ensure!(put["spec"]["replicas"] == 3, "put {put}");
    api.request(Method::PUT, path)
        .json(&scale)
        .refused(409, "Conflict")
        .await?;
    let patch = json!({"spec": {"replicas": 2}});
    api.request(Method::PATCH, path)
        .body("application/merge-patch+json", &patch)
        .expect(200)
        .await?;
    let object = api.get(&kind.path(&kind.name(1))).expect(200).await?.body;
    ensure!(
        object["spec"]["replicas"] == 2,
        "scaled to {}",
        object["spec"]["replicas"]
    );
    Ok(())
}

/// What a node would answer: there is none, and that is said.
async fn reached(api: &Api, path: &str, verbs: &[String]) -> anyhow::Result<()> {
    for verb in verbs {
        let method = match &**verb {
            "create" => Method::POST,
            "get" => Method::GET,
            "update" => Method::PUT,
            "patch" => Method::PATCH,
            "delete" => Method::DELETE,
            _ => bail!("a verb {verb}"),
        };
        let answer = api.request(method, path).send().await?;
        ensure!(
            [400, 500, 502, 503].contains(&answer.code),
            "{verb} answers {}: {}",
            answer.code,
            answer.body
        );
        ensure!(answer.body["kind"] == "Status", "{verb} answers {}", answer.body);
    }
    Ok(())
}
