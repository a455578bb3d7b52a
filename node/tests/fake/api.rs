//! The API server that the tests of the network play.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// An API server in memory: lists, and watches that tell what the test says.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<HashMap<String, Resource>>>);

type Stream =
    StreamBody<futures::stream::BoxStream<'static, Result<http_body::Frame<Bytes>, std::convert::Infallible>>>;

#[derive(Default)]
struct Resource {
    objects: HashMap<String, Value>,
    watchers: Vec<mpsc::UnboundedSender<Bytes>>,
    revision: u64,
}

impl Api {
    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let answer = api.answer(request.uri());
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, uri: &http::Uri) -> http::Response<Stream> {
        let plural = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut resources = self.0.lock();
        let resource = resources.entry(plural).or_default();
        let stream = if uri.query().is_some_and(|query| query.contains("watch=")) {
            let (sender, receiver) = mpsc::unbounded_channel();
            resource.watchers.push(sender);
            tokio_stream::wrappers::UnboundedReceiverStream::new(receiver).boxed()
        } else {
            let items: Vec<&Value> = resource.objects.values().collect();
            let list = json!({
                "kind": "List", "apiVersion": "v1",
                "metadata": { "resourceVersion": resource.revision.to_string() }, "items": items,
            });
            futures::stream::iter([Bytes::from(list.to_string())]).boxed()
        };
        http::Response::new(StreamBody::new(
            stream.map(|bytes| Ok(http_body::Frame::data(bytes))).boxed(),
        ))
    }

    pub(crate) fn apply(&self, plural: &str, mut object: Value) {
        let mut resources = self.0.lock();
        let resource = resources.entry(plural.to_owned()).or_default();
        resource.revision += 1;
        object["metadata"]["resourceVersion"] = resource.revision.to_string().into();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let known = resource.objects.insert(name, object.clone()).is_some();
        resource.tell(if known { "MODIFIED" } else { "ADDED" }, &object);
    }

    pub(crate) fn remove(&self, plural: &str, name: &str) {
        let mut resources = self.0.lock();
        let resource = resources.get_mut(plural).expect("a resource");
        let mut object = resource.objects.remove(name).expect("an object");
        resource.revision += 1;
        object["metadata"]["resourceVersion"] = resource.revision.to_string().into();
        resource.tell("DELETED", &object);
    }
}

impl Resource {
    fn tell(&mut self, kind: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({ "type": kind, "object": object })));
        self.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
    }
}
