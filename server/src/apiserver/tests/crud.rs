//! Objects come, change and go.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::World;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}}))
        .expect("one")
}

fn message(error: kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        panic!("not an answer: {error}")
    };
    format!("{} {}: {}", status.code, status.reason, status.message)
}

#[tokio::test]
async fn a_typed_client_works() {
    let world = World::new().await;
    let api: Api<ConfigMap> = Api::namespaced(world.client(), "default");
    let created = api
        .create(&PostParams::default(), &config_map("one"))
        .await
        .expect("created");
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    let version = created.metadata.resource_version.clone().expect("a version");

    let mut watch = api
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a watch")
        .boxed();
    api.create(&PostParams::default(), &config_map("two"))
        .await
        .expect("created");
    let patch = json!({"data": {"b": "2"}});
    let patched = api
        .patch("two", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("patched");
    assert_eq!(patched.data.as_ref().map(|data| data.len()), Some(2));
    let list = api
        .list(&ListParams::default().labels("app in (two)"))
        .await
        .expect("a list");
    assert_eq!(list.items.len(), 1);
    api.delete("two", &DeleteParams::default()).await.expect("deleted");

    let mut seen = Vec::new();
    while seen.len() < 3 {
        match watch.try_next().await.expect("no error") {
            Some(WatchEvent::Added(object)) => seen.push(("added", object)),
            Some(WatchEvent::Modified(object)) => seen.push(("modified", object)),
            Some(WatchEvent::Deleted(object)) => seen.push(("deleted", object)),
            _ => panic!("unexpected end"),
        }
    }
    let kinds: Vec<_> = seen
        .iter()
        .map(|(kind, object)| (*kind, object.metadata.name.as_deref()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("added", Some("two")),
            ("modified", Some("two")),
            ("deleted", Some("two"))
        ]
    );

    let mut changed = created.clone();
    changed.metadata.resource_version = Some("1".into());
    changed.data = None;
    let error = api
        .replace("one", &PostParams::default(), &changed)
        .await
        .expect_err("stale");
    insta::assert_snapshot!(message(error), @r#"409 Conflict: Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the latest version and try again"#);
    let namespaces: Api<Namespace> = Api::all(world.client());
    let missing = namespaces.get("nope").await.expect_err("missing");
    insta::assert_snapshot!(message(missing), @r#"404 NotFound: namespaces "nope" not found"#);
}

#[tokio::test]
async fn every_stored_row_lists() {
    let world = World::new().await;
    for row in mizzen_api::resource::builtin()
        .iter()
        .filter(|row| row.storage.is_some())
    {
        let root = if row.group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{}", row.api_version())
        };
        let (code, list) = world.send("GET", &format!("{root}/{}", row.plural), Value::Null).await;
        assert_eq!(
            (code, list["kind"].as_str()),
            (200, Some(&*format!("{}List", row.kind))),
            "{list}"
        );
    }
}
