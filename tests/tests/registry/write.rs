//! Writing: create, the four patches, update and its conflicts, delete and deletecollection.

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};

use super::client::Api;
use super::{Kind, list, text};

/// Creates the first object; not for show, not twice, not with nonsense in it.
pub(super) async fn created(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let (path, object) = (kind.collection(), kind.object(1));
    let dry = format!("{path}?dryRun=All");
    let shown = api
        .request(Method::POST, &dry)
        .json(&object)
        .expect(201)
        .await
        .context("for show")?;
    ensure!(shown.body["metadata"]["uid"].is_string(), "for show: {}", shown.body);
    api.get(&kind.path(&kind.name(1)))
        .refused(404, "NotFound")
        .await
        .context("after a show")?;

    let mut nonsense = object.clone();
    nonsense["nonsense"] = json!(1);
    let strict = format!("{path}?fieldValidation=Strict&dryRun=All");
    let message = api
        .request(Method::POST, &strict)
        .json(&nonsense)
        .refused(400, "BadRequest")
        .await?;
    ensure!(
        message.contains("strict decoding error: unknown field \"nonsense\""),
        "{message}"
    );
    let warn = format!("{path}?fieldValidation=Warn&dryRun=All");
    let warned = api.request(Method::POST, &warn).json(&nonsense).expect(201).await?;
    ensure!(warned.headers.contains_key("warning"), "no warning of nonsense");

    let made = api.request(Method::POST, &path).json(&object).expect(201).await?.body;
    let metadata = &made["metadata"];
    ensure!(
        made["kind"] == *kind.kind && made["apiVersion"] == *kind.api_version(),
        "made {made}"
    );
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        ensure!(metadata[field].is_string(), "no {field} in {made}");
    }
    let owner = &metadata["managedFields"][0];
    ensure!(
        owner["operation"] == "Update" && owner["apiVersion"] == *kind.api_version(),
        "owned by {owner}"
    );
    let message = api
        .request(Method::POST, &path)
        .json(&object)
        .refused(409, "AlreadyExists")
        .await?;
    ensure!(
        message == format!("{} \"{}\" already exists", kind.qualified(), kind.name(1)),
        "{message}"
    );
    Ok(())
}

/// Patches in each of the four forms; each leaves a mark.
pub(super) async fn patched(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let path = kind.path(&kind.name(1));
    let annotate = |mark: &str| json!({"metadata": {"annotations": {mark: "yes"}}});
    let mut apply = annotate("apply");
    apply["apiVersion"] = json!(kind.api_version());
    apply["kind"] = json!(kind.kind);
    let add = json!([{"op": "add", "path": "/metadata/annotations/json", "value": "yes"}]);
    for (form, query, body) in [
        ("merge-patch", "", annotate("merge")),
        ("strategic-merge-patch", "", annotate("strategic")),
        ("json-patch", "", add),
        ("apply-patch", "?fieldManager=walker", apply),
    ] {
        let (form, path) = (
            format!(
                "application/{form}+{}",
                if form == "apply-patch" { "yaml" } else { "json" }
            ),
            format!("{path}{query}"),
        );
        let patch = api.request(Method::PATCH, &path).body(&form, &body);
        patch.expect(200).await.with_context(|| form)?;
    }
    let object = api.get(&path).expect(200).await?.body;
    for mark in ["merge", "strategic", "json", "apply"] {
        ensure!(
            object["metadata"]["annotations"][mark] == "yes",
            "{mark} left no mark in {object}"
        );
    }
    let owners = list(&object["metadata"]["managedFields"]);
    let applied = owners
        .iter()
        .any(|owner| owner["manager"] == "walker" && owner["operation"] == "Apply");
    ensure!(applied, "the applier owns nothing: {owners:?}");
    let odd = api
        .request(Method::PATCH, &path)
        .body("application/odd-patch+json", &json!({}));
    odd.refused(415, "UnsupportedMediaType").await?;
    let other = json!({"metadata": {"name": "other"}});
    let renamed = api
        .request(Method::PATCH, &path)
        .body("application/merge-patch+json", &other)
        .send()
        .await?;
    ensure!(
        renamed.code == 400 || renamed.code == 422,
        "a new name is answered with {}",
        renamed.code
    );
    Ok(())
}

/// Replaces the object; not with an old one.
pub(super) async fn updated(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let path = kind.path(&kind.name(1));
    let old = api.get(&path).expect(200).await?.body;
    let mut new = old.clone();
    new["metadata"]["annotations"]["update"] = json!("yes");
    let written = api.request(Method::PUT, &path).json(&new).expect(200).await?.body;
    ensure!(
        written["metadata"]["annotations"]["update"] == "yes",
        "written {written}"
    );
    ensure!(
        written["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"],
        "no new revision"
    );
    let message = api
        .request(Method::PUT, &path)
        .json(&new)
        .refused(409, "Conflict")
        .await?;
    ensure!(message.contains("the object has been modified"), "{message}");
    let again = api.request(Method::PUT, &path).json(&written).expect(200).await?.body;
    ensure!(
        again["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"],
        "nothing new is a new revision"
    );
    if !kind.sample.status.is_null() && kind.subresources.iter().any(|(name, _)| name == "status") {
        let patch = json!({"status": kind.sample.status});
        let patch = api
            .request(Method::PATCH, &path)
            .body("application/merge-patch+json", &patch);
        let kept = patch.expect(200).await.context("a status beside it")?.body;
        ensure!(
            kept["status"] == old["status"],
            "the status was changed beside /status: {}",
            kept["status"]
        );
    }
    Ok(())
}

/// Deletes the first object: not for show, not another one.
pub(super) async fn deleted(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let path = kind.path(&kind.name(1));
    api.request(Method::DELETE, &format!("{path}?dryRun=All"))
        .expect(200)
        .await
        .context("for show")?;
    let object = api.get(&path).expect(200).await?.body;
    ensure!(object["metadata"]["deletionTimestamp"].is_null(), "deleted for show");
    let other = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}});
    api.request(Method::DELETE, &path)
        .json(&other)
        .refused(409, "Conflict")
        .await
        .context("another one")?;
    api.request(Method::DELETE, &path).expect(200).await?;
    gone(api, kind, 1).await
}

/// Deletes by label what is left of a second object.
pub(super) async fn collection_deleted(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let made = api
        .request(Method::POST, &kind.collection())
        .json(&kind.object(2))
        .expect(201)
        .await?
        .body;
    if !kind.serves("deletecollection") {
        api.request(Method::DELETE, &kind.path(&kind.name(2)))
            .expect(200)
            .await?;
        return gone(api, kind, 2).await;
    }
    let others = format!("{}?labelSelector=walk=nothing", kind.collection());
    api.request(Method::DELETE, &others).expect(200).await?;
    let left = api.get(&kind.path(&kind.name(2))).expect(200).await?.body;
    ensure!(
        left["metadata"]["uid"] == made["metadata"]["uid"],
        "others are deleted, too"
    );
    let ours = format!("{}?labelSelector=walk={}", kind.collection(), kind.plural);
    let answer = api.request(Method::DELETE, &ours).expect(200).await?.body;
    ensure!(
        answer["kind"] == format!("{}List", kind.kind),
        "answered with {}",
        answer["kind"]
    );
    gone(api, kind, 2).await
}

/// The object is gone, or goes when its finalizers are done.
async fn gone(api: &Api, kind: &Kind, number: u8) -> anyhow::Result<()> {
    let path = kind.path(&kind.name(number));
    let left = api.get(&path).send().await?;
    if left.code == 404 {
        return Ok(());
    }
    let mut object = left.ok()?;
    ensure!(
        !text(&object["metadata"]["deletionTimestamp"]).is_empty(),
        "left as it was: {object}"
    );
    if kind.subresources.iter().any(|(name, _)| name == "finalize") {
        object["spec"]["finalizers"] = json!([]);
        api.request(Method::PUT, &format!("{path}/finalize"))
            .json(&object)
            .expect(200)
            .await
            .context("finalize")?;
    }
    if object["metadata"]["finalizers"] != Value::Null {
        let patch = json!({"metadata": {"finalizers": null}});
        api.request(Method::PATCH, &path)
            .body("application/merge-patch+json", &patch)
            .expect(200)
            .await?;
    }
    api.get(&path)
        .refused(404, "NotFound")
        .await
        .context("without finalizers")?;
    Ok(())
}
