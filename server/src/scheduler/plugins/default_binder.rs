//! DefaultBinder: binds through the Pod's `binding` subresource.

use async_trait::async_trait;
use mizzen_api::client::rest::{Gvr, Rest};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::scheduler::framework::Plugin;
use crate::scheduler::pod::Pod;

pub(super) struct DefaultBinder;

#[async_trait]
impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    async fn bind(&self, rest: &Rest, pod: &Pod, node: &str) -> Option<Result<(), kube::Error>> {
        let meta = &pod.metadata;
        // The uid keeps a Pod made anew under the same name from being bound by mistake.
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"kind": "Node", "name": node},
        });
        let at = Gvr::new("", "v1", "pods");
        let bound = rest.create_sub::<IgnoredAny>(&at, (&meta.namespace, &meta.name), "binding", &binding);
        Some(bound.await.map(drop))
    }
}
