//! Writing: what [`crate::views::perform`] wants read, tried and sent.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use kube::core::params::ListParams;
use mizzen_api::client::rest::{self, List};
use mizzen_api::console::action::{Plan, Request};
use mizzen_api::console::rollout;
use mizzen_api::resource::Resource;
use serde_json::{Value, json};

use super::fetch::gvr;
use super::{Job, Link};
use crate::event::{Event, Notice, Reply, Tone};

/// How long an eviction waits that a disruption budget forbids, as `kubectl drain` does.
const EVICT_AGAIN: Duration = Duration::from_secs(5);
/// Answer of the server to an eviction that would break a budget.
const TOO_MANY_REQUESTS: u16 = 429;

/// Work on objects.
#[derive(Clone, Debug)]
pub enum Perform {
    /// Objects, each by namespace and name; told as [`Reply::Each`].
    Read(Arc<Resource>, Vec<(String, String)>),
    /// A workload and the objects that keep its revisions; told as [`Reply::Object`].
    Revisions(Arc<Resource>, String, String),
    /// A node and its Pods; told as [`Reply::Object`].
    Node(Arc<Resource>, String),
    /// What requests would do, without doing it; told as [`Reply::Each`].
    Try(Vec<Request>),
    /// Plans are carried out, each told as a notice; then [`Reply::Each`].
    Send(Vec<Plan>),
    /// A node is cordoned and Pods are evicted, each when its budget allows it.
    Evict(Request, Vec<(String, Request)>),
}

impl Job for Perform {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let reply = match *self {
                Self::Read(resource, keys) => {
                    let reads = keys
                        .iter()
                        .map(|(namespace, name)| read(&link, &resource, namespace, name));
                    Reply::Each(futures::future::join_all(reads).await)
                }
                Self::Revisions(resource, namespace, name) => one(revisions(&link, &resource, &namespace, &name).await),
                Self::Node(resource, name) => one(node(&link, &resource, &name).await),
                Self::Try(requests) => {
                    let tries = requests.iter().map(|request| send(&link, request.dry_run()));
                    let answers = futures::future::join_all(tries).await;
                    Reply::Each(answers.into_iter().map(|a| a.map_err(|e| rest::message(&e))).collect())
                }
                Self::Send(plans) => carry_out(&link, &plans).await,
                Self::Evict(cordon, evictions) => match evict_all(&link, cordon, evictions).await {
                    Ok(()) => Reply::Done("all Pods were told to go".to_owned()),
                    Err(error) => Reply::Failed(rest::message(&error)),
                },
            };
            link.reply(reply).await;
        })
    }
}

fn one(result: Result<Value, String>) -> Reply {
    match result {
        Ok(object) => Reply::Object(object),
        Err(why) => Reply::Failed(why),
    }
}

async fn read(link: &Link, resource: &Resource, namespace: &str, name: &str) -> Result<Value, String> {
    let namespace = if resource.namespaced() { namespace } else { "" };
    match link.rest.get(&gvr(resource), namespace, name).await {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(format!("{} {name:?} does not exist any more", resource.kind)),
        Err(error) => Err(rest::message(&error)),
    }
}

async fn list(link: &Link, name: &str, namespace: &str, params: ListParams) -> Result<Vec<Value>, String> {
    let Some(resource) = link.registry.resolve(name) else {
        return Err(format!("the server has no {name}"));
    };
    let answer: rest::Result<List<Value>> = link.rest.list(&gvr(resource), namespace, &params).await;
    answer.map(|list| list.items).map_err(|error| rest::message(&error))
}

async fn revisions(link: &Link, resource: &Resource, namespace: &str, name: &str) -> Result<Value, String> {
    let workload = read(link, resource, namespace, name).await?;
    let kept = list(link, rollout::kept_in(&workload), namespace, ListParams::default()).await?;
    Ok(json!({"workload": workload, "kept": kept}))
}

async fn node(link: &Link, resource: &Resource, name: &str) -> Result<Value, String> {
    let node = read(link, resource, "", name).await?;
    let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
    let pods = list(link, "pods", "", on_node).await?;
    Ok(json!({"node": node, "pods": pods}))
}

pub(super) async fn send(link: &Link, request: Request) -> rest::Result<Value> {
    let body = serde_json::to_vec(&request.body).map_err(kube::Error::SerdeError)?;
    let http = http::Request::builder()
        .method(request.method.as_str())
        .uri(request.uri())
        .header(CONTENT_TYPE, request.content_type)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    link.rest.send(Ok(http)).await
}

async fn carry_out(link: &Link, plans: &[Plan]) -> Reply {
    let mut results = Vec::new();
    for plan in plans {
        let mut result = Ok(Value::Null);
        for request in &plan.requests {
            result = send(link, request.clone()).await.map_err(|error| rest::message(&error));
            if result.is_err() {
                break;
            }
        }
        let (tone, text) = match &result {
            Ok(_) => (Tone::Good, format!("{}: done", plan.question)),
            Err(why) => (Tone::Bad, format!("{}: {why}", plan.question)),
        };
        let command = Some(plan.command.clone());
        link.send(Event::Notice(Notice { tone, text, command })).await;
        results.push(result);
    }
    Reply::Each(results)
}

async fn evict_all(link: &Link, cordon: Request, evictions: Vec<(String, Request)>) -> rest::Result<()> {
    send(link, cordon).await?;
    link.reply(Reply::Text("the node takes no new Pods".to_owned())).await;
    let each = evictions.into_iter().map(|(pod, request)| evict(link, pod, request));
    futures::future::try_join_all(each).await.map(drop)
}

async fn evict(link: &Link, pod: String, request: Request) -> rest::Result<()> {
    loop {
        match send(link, request.clone()).await {
            Ok(_) => {
                link.reply(Reply::Text(format!("{pod} was told to go"))).await;
                return Ok(());
            }
            Err(error) if rest::is_not_found(&error) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == TOO_MANY_REQUESTS => {
                let why = status.message;
                link.reply(Reply::Text(format!("{pod} waits: {why}"))).await;
                tokio::time::sleep(EVICT_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}
