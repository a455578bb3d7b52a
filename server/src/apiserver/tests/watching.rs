//! Watches: what they begin with, what they bring, how they end.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Request;
use serde_json::{Value, json};

use super::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

struct Events(BodyDataStream, Vec<u8>);

impl Events {
    async fn open(world: &World, path: &str) -> Self {
        let mut request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        request.extensions_mut().insert(world.admin.clone());
        let response = world.plane.server().clone().handle(request).await;
        assert_eq!(response.status(), 200);
        Self(response.into_body().into_data_stream(), Vec::new())
    }

    /// The next event as `TYPE name`, or `TYPE message` of an error; `END` at the end.
    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.1.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("an event");
                let object = &event["object"];
                let what = match object["metadata"]["annotations"]["k8s.io/initial-events-end"].as_str() {
                    Some(_) => "initial-events-end",
                    None => object["metadata"]["name"]
                        .as_str()
                        .or(object["reason"].as_str())
                        .unwrap_or_default(),
                };
                return format!("{} {what}", event["type"].as_str().unwrap_or_default())
                    .trim_end()
                    .to_owned();
            }
            match self.0.next().await {
                Some(chunk) => self.1.extend_from_slice(&chunk.expect("bytes")),
                None => return "END".into(),
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(self.next().await);
        }
        seen
    }
}

#[tokio::test]
async fn watches_begin_where_they_are_told() {
    let world = World::new().await;
    let (_, first) = world.send("POST", MAPS, map("a", "x")).await;
    let version = first["metadata"]["resourceVersion"].as_str().expect("one").to_owned();
    world.send("POST", MAPS, map("b", "x")).await;

    let watch = |query: String| {
        let world = &world;
        async move { Events::open(world, &format!("{MAPS}?watch=1&timeoutSeconds=1{query}")).await }
    };
    assert_eq!(watch(String::new()).await.take(3).await, ["ADDED a", "ADDED b", "END"]);
    assert_eq!(
        watch("&resourceVersion=0".into()).await.take(3).await,
        ["ADDED a", "ADDED b", "END"]
    );
    assert_eq!(
        watch(format!("&resourceVersion={version}")).await.take(2).await,
        ["ADDED b", "END"]
    );
    let initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    assert_eq!(
        watch(initial.into()).await.take(4).await,
        ["ADDED a", "ADDED b", "BOOKMARK initial-events-end", "END"]
    );
    let none = "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    assert_eq!(watch(none.into()).await.take(1).await, ["END"]);
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let world = World::new().await;
    let mut x = Events::open(&world, &format!("{MAPS}?watch=1&labelSelector=l%3Dx")).await;
    let mut b = Events::open(&world, &format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db")).await;
    let mut everywhere = Events::open(&world, "/api/v1/configmaps?watch=1").await;
    let mut elsewhere = Events::open(&world, "/api/v1/namespaces/other/configmaps?watch=1&timeoutSeconds=2").await;
    world.send("POST", MAPS, map("a", "x")).await;
    world.send("POST", MAPS, map("b", "y")).await;
    world
        .send(
            "PATCH",
            &format!("{MAPS}/b"),
            json!({"metadata": {"labels": {"l": "x"}}}),
        )
        .await;
    world
        .send(
            "PATCH",
            &format!("{MAPS}/a"),
            json!({"metadata": {"labels": {"l": "y"}}}),
        )
        .await;
    world.send("DELETE", &format!("{MAPS}/a"), Value::Null).await;
    world.send("DELETE", &format!("{MAPS}/b"), Value::Null).await;
    assert_eq!(x.take(4).await, ["ADDED a", "ADDED b", "DELETED a", "DELETED b"]);
    assert_eq!(b.take(3).await, ["ADDED b", "MODIFIED b", "DELETED b"]);
    assert_eq!(
        everywhere.take(6).await,
        [
            "ADDED a",
            "ADDED b",
            "MODIFIED b",
            "MODIFIED a",
            "DELETED a",
            "DELETED b"
        ]
    );
    assert_eq!(elsewhere.next().await, "END");
}

#[tokio::test]
async fn history_that_is_gone_is_an_error_in_the_stream() {
    let world = World::new().await;
    world.send("POST", MAPS, map("a", "0")).await;
    for at in 1..120 {
        let large = json!({"data": {"blob": "x".repeat(100_000)}, "metadata": {"labels": {"l": at.to_string()}}});
        world.send("PATCH", &format!("{MAPS}/a"), large).await;
    }
    let mut watch = Events::open(&world, &format!("{MAPS}?watch=1&resourceVersion=2")).await;
    assert_eq!(watch.take(2).await, ["ERROR Expired", "END"]);
}
