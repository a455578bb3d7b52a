//! Following one object until something is true of it.

use std::time::Duration;

use futures::StreamExt as _;
use http::Method;
use mizzen_api::client::rest::is_gone;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use super::session::{Call, Session};

/// Shows `decide` the object (`None` when it does not exist), now and after every change, until it gives
/// an answer. `None` means that the time was up.
pub(crate) async fn until<T>(
    session: &Session,
    resource: &Resource,
    (namespace, name): (&str, &str),
    timeout: Option<Duration>,
    decide: impl FnMut(Option<&Value>) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let following = follow(session, resource, (namespace, name), decide);
    match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, following).await {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        },
        None => following.await.map(Some),
    }
}

async fn follow<T>(
    session: &Session,
    resource: &Resource,
    (namespace, name): (&str, &str),
    mut decide: impl FnMut(Option<&Value>) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let call =
        || Call::to(Method::GET, resource, namespace, "").query("fieldSelector", format!("metadata.name={name}"));
    loop {
        let list = session.call(call()).await?;
        if let Some(answer) = decide(view::list(&list, "/items").first())? {
            return Ok(answer);
        }
        let revision = view::text(&list, "/metadata/resourceVersion");
        let mut events = session.watch(call().query("resourceVersion", revision)).await?;
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                // Too far behind: start over from the present.
                Err(error) if error.downcast_ref().is_some_and(is_gone) => break,
                Err(error) => return Err(error),
            };
            let object = (event["type"] != "DELETED").then_some(&event["object"]);
            if let Some(answer) = decide(object)? {
                return Ok(answer);
            }
        }
    }
}
