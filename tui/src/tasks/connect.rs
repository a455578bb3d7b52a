//! Connecting: the kubeconfig, its exec credentials, then what the server serves, now and whenever a
//! CustomResourceDefinition or APIService comes or goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{ObjectList, PartialObjectMeta, Request, WatchEvent};
use mizzen_api::client::rest::Rest;
use mizzen_api::client::{connection, discovery, kubeconfig};
use mizzen_api::resource;
use tokio::sync::{mpsc, watch};

use super::Session;
use crate::event::{Cluster, ContextInfo, Event, Notice, Tone};

/// Name under which the console writes.
const AGENT: &str = concat!("mizzen-tui/", env!("CARGO_PKG_VERSION"));
/// Longest that one attempt to connect may take: the next one may be lucky.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// After a change of definitions: they come in groups.
const SETTLE: Duration = Duration::from_millis(200);
/// Before discovery is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Between looks at what is served, where definitions may not be watched.
const LEISURE: Duration = Duration::from_secs(60);

/// What the command line said of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// File with the cluster's address and credentials.
    pub kubeconfig: Option<PathBuf>,
    /// Name of a ready-made client's cluster, for tests and for the server's own process.
    pub client: Option<(String, ClientHandle)>,
}

/// A client, which does not print itself.
#[derive(Clone)]
pub struct ClientHandle(pub Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Connects, then keeps what is known of the server's kinds up to date.
pub async fn run(
    options: Options,
    context: Option<String>,
    session: watch::Sender<Option<Session>>,
    events: mpsc::Sender<Event>,
) {
    let (client, cluster) = match open(options, context).await {
        Ok(opened) => opened,
        Err(error) => {
            let _ = events.send(Event::Connected(Err(format!("{error:#}")))).await;
            return;
        }
    };
    let rest = Rest::new(client, AGENT);
    let registry = Arc::new(resource::builtin().clone());
    session.send_replace(Some(Session {
        rest: rest.clone(),
        registry,
    }));
    let _ = events.send(Event::Connected(Ok(cluster))).await;
    if let Ok(version) = rest.client().apiserver_version().await {
        let _ = events.send(Event::Version(version.git_version)).await;
    }
    let mut told = false;
    loop {
        // The credentials may have been read again.
        let rest = session
            .borrow()
            .as_ref()
            .map_or_else(|| rest.clone(), |s| s.rest.clone());
        match discovery::discover(rest.client()).await {
            Ok(registry) => {
                told = false;
                let rows = registry.iter().map(|row| (**row).clone()).collect();
                session.send_replace(Some(Session {
                    rest: rest.clone(),
                    registry: Arc::new(registry),
                }));
                let _ = events.send(Event::Discovered(rows)).await;
                definitions_change(&rest).await;
                tokio::time::sleep(SETTLE).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    let text = format!("cannot read what the server serves: {error}");
                    let _ = events.send(Event::Notice(Notice::new(Tone::Bad, text))).await;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Reads kubeconfig and credentials again; running work goes on with what it has, watches change over.
pub async fn renew(options: Options, context: Option<String>, session: watch::Sender<Option<Session>>) {
    match open(options, context).await {
        Ok((client, _)) => session.send_modify(|session| {
            if let Some(session) = session {
                session.rest = Rest::new(client, AGENT);
            }
        }),
        // The refusal that led here is on the screen, and is tried again.
        Err(error) => tracing::debug!(%error, "cannot read the credentials again"),
    }
}

async fn open(options: Options, context: Option<String>) -> anyhow::Result<(Client, Cluster)> {
    if let Some((name, client)) = options.client {
        let cluster = Cluster {
            context: name.clone(),
            cluster: name,
            namespace: "default".to_owned(),
            ..Cluster::default()
        };
        return Ok((client.0, cluster));
    }
    let file = kubeconfig::read(options.kubeconfig.as_deref())?;
    let mut cluster = Cluster::default();
    if let Some(file) = &file {
        for named in &file.contexts {
            let inside = named.context.clone().unwrap_or_default();
            cluster.contexts.push(ContextInfo {
                name: named.name.clone(),
                cluster: inside.cluster,
                user: inside.user.unwrap_or_default(),
                namespace: inside.namespace.unwrap_or_default(),
            });
        }
        cluster.context = context
            .clone()
            .or_else(|| file.current_context.clone())
            .unwrap_or_default();
        if let Some(info) = cluster.contexts.iter().find(|c| c.name == cluster.context) {
            cluster.cluster.clone_from(&info.cluster);
            cluster.user.clone_from(&info.user);
        }
    } else {
        cluster.context = "in-cluster".to_owned();
    }
    let mut config = kubeconfig::config(file, context).await?;
    config.connect_timeout = Some(ATTEMPT);
    cluster.server = config.cluster_url.to_string();
    cluster.namespace.clone_from(&config.default_namespace);
    Ok((connection::client(config)?, cluster))
}

/// Returns when a definition has come, changed or gone, or when that cannot be known for a while.
async fn definitions_change(rest: &Rest) {
    if let Err(error) = wait_for_definitions(rest).await {
        let refused = matches!(&error, kube::Error::Api(status) if matches!(status.code, 403 | 404));
        tokio::time::sleep(if refused { LEISURE } else { RETRY }).await;
    }
}

async fn wait_for_definitions(rest: &Rest) -> Result<(), kube::Error> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let list = Request::new(path).list_metadata(&ListParams::default().limit(1));
    let list: ObjectList<PartialObjectMeta> = rest.client().request(list.map_err(kube::Error::BuildRequest)?).await?;
    let revision = list.metadata.resource_version.unwrap_or_default();
    let watch = Request::new(path).watch_metadata(&WatchParams::default(), &revision);
    let watch = watch.map_err(kube::Error::BuildRequest)?;
    let stream = rest.client().request_events::<PartialObjectMeta>(watch).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.try_next().await? {
        if !matches!(event, WatchEvent::Bookmark(_)) {
            break;
        }
    }
    Ok(())
}
