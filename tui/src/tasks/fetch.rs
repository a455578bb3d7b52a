//! Reading one object, with those around it that its description draws on.

use futures::future::BoxFuture;
use jiff::Zoned;
use kube::core::params::ListParams;
use mizzen_api::client::rest::{self, Gvr, List};
use mizzen_api::describe::{self, Related};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;
use std::sync::Arc;

use super::{Job, Link};
use crate::event::Reply;

/// An object to read.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether to describe it instead of giving it as it is.
    pub describe: bool,
}

impl Job for Fetch {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let reply = match self.read(&link).await {
                Ok(reply) => reply,
                Err(error) => Reply::Failed(rest::message(&error)),
            };
            link.reply(reply).await;
        })
    }
}

/// Where a resource is served.
pub fn gvr(resource: &Resource) -> Gvr<'_> {
    Gvr::new(&resource.group, &resource.version, &resource.plural)
}

impl Fetch {
    async fn read(&self, link: &Link) -> rest::Result<Reply> {
        let at = gvr(&self.resource);
        let namespace = if self.resource.namespaced() {
            &*self.namespace
        } else {
            ""
        };
        let found: Option<Value> = link.rest.get(&at, namespace, &self.name).await?;
        let Some(object) = found else {
            let what = format!("{} {:?} does not exist any more", self.resource.kind, self.name);
            return Ok(Reply::Failed(what));
        };
        if !self.describe {
            return Ok(Reply::Object(object));
        }
        let mut related = Related::new();
        let needs = describe::needs(&self.resource, &object);
        let answers = needs.iter().map(|need| async move {
            let resource = link.registry.resolve(need.resource)?;
            let set = |text: &str| !text.is_empty() && text != view::NONE;
            let mut params = ListParams::default();
            if set(&need.labels) {
                params = params.labels(&need.labels);
            }
            if set(&need.fields) {
                params = params.fields(&need.fields);
            }
            // What may not be read is left out of the description.
            let list: List<Value> = link.rest.list(&gvr(resource), &need.namespace, &params).await.ok()?;
            Some((need.resource, list.items))
        });
        related.extend(futures::future::join_all(answers).await.into_iter().flatten());
        let text = describe::describe(&self.resource, &object, &related, &Zoned::now());
        Ok(Reply::Text(text))
    }
}
