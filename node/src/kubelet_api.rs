//! The kubelet's API: logs, exec, attach, port-forward and what is used, for the API server.
//!
//! Entry point: [`KubeletApi::run`]. One task accepts connections, one serves each. Only TLS, and only callers whose
//! client certificate puts them into `system:masters` (the API server's does), since everything here is as good as
//! being root on the node. Pods and containers are found through the runtime by the labels that every kubelet sets;
//! nothing is shared with the rest of the kubelet.

mod attach;
mod exec;
mod logs;
mod lookup;
mod port_forward;
mod remote;
mod spdy;
mod stats;
mod upgrade;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts as _, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get};
use containerd_client::services::v1::WaitRequest;
use containerd_client::services::v1::tasks_client::TasksClient;
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use k8s_cri::v1::ContainerState;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::images::store::namespaced;
use crate::kubelet::volumes::{blocking, claims};
use lookup::Lookup;
use remote::Wanted;

const ALLOWED_GROUP: &str = "system:masters";
const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Chunks of a log that wait for the client.
const LOG_QUEUE: usize = 8;

/// The groups of the client that showed this chain of certificates; `None` when it cannot be trusted.
pub type Identify = Arc<dyn Fn(&[CertificateDer<'_>]) -> Option<Vec<String>> + Send + Sync>;

/// With what the node proves itself, and how it judges its callers.
#[derive(Clone)]
pub struct Trust {
    /// TLS with the kubelet's serving certificate, which asks for a client certificate.
    pub tls: Arc<rustls::ServerConfig>,
    /// Judges client certificates.
    pub identify: Identify,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// Where and for whom the API is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address and port, usually `0.0.0.0:10250`.
    pub listen: SocketAddr,
    /// Certificates, ours and the callers'.
    pub trust: Trust,
    /// The runtime's socket.
    pub runtime: PathBuf,
    /// A folder for FIFOs, gone after a boot.
    pub state_dir: PathBuf,
    /// The folder of local volumes.
    pub storage: PathBuf,
    /// Name of the node.
    pub node_name: String,
}

/// The server.
pub struct KubeletApi {
    settings: Settings,
}

/// What the handlers need.
#[derive(Clone)]
struct Context {
    lookup: Lookup,
    containerd: Channel,
    state_dir: PathBuf,
    storage: PathBuf,
    node_name: Arc<str>,
}

/// An answer that tells what went wrong, in plain text as the kubelet's are.
#[derive(Debug)]
struct Failure {
    code: StatusCode,
    message: String,
}

impl Failure {
    fn bad_request(message: String) -> Self {
        Self {
            code: StatusCode::BAD_REQUEST,
            message,
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: StatusCode::INTERNAL_SERVER_ERROR,
            message: format!("container runtime: {}", status.message()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.code, self.message).into_response()
    }
}

impl KubeletApi {
    /// A server that does not listen yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let listen = self.settings.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("kubelet API on {listen}"))?;
        self.serve(listener, stop).await
    }

    /// Serves on a listener until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tls = (*self.settings.trust.tls).clone();
        // Upgrades need HTTP/1.1.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let containerd = crate::containerd::channel(&self.settings.runtime);
        let context = Context {
            lookup: Lookup {
                containerd: containerd.clone(),
            },
            containerd,
            state_dir: self.settings.state_dir.clone(),
            storage: self.settings.storage.clone(),
            node_name: self.settings.node_name.as_str().into(),
        };
        let router = router(context);
        loop {
            let accepted = stop.run_until_cancelled(listener.accept()).await;
            match accepted {
                None => return Ok(()),
                Some(Ok((stream, _))) => {
                    let serving = connection(
                        stream,
                        acceptor.clone(),
                        self.settings.trust.identify.clone(),
                        router.clone(),
                    );
                    tokio::spawn(serving);
                }
                // Out of file descriptors, most likely: some are free again soon.
                Some(Err(error)) => {
                    tracing::warn!("the kubelet API cannot accept a connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, identify: Identify, router: Router) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else {
        return;
    };
    let chain = stream.get_ref().1.peer_certificates();
    let groups = chain.and_then(|chain| identify(chain));
    let refusal = match groups {
        None => Some((StatusCode::UNAUTHORIZED, "Unauthorized")),
        Some(groups) if !groups.iter().any(|group| group == ALLOWED_GROUP) => {
            Some((StatusCode::FORBIDDEN, "Forbidden"))
        }
        Some(_) => None,
    };
    let router = match refusal {
        Some(refusal) => Router::new().fallback(move || std::future::ready(refusal)),
        None => router,
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!("a connection to the kubelet API ended: {error}");
    }
}

/// Paths with and without the Pod's uid: either comes, and the names suffice.
fn router(context: Context) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/metrics", get(metrics))
        .route("/metrics/resource", get(resource_metrics))
        .route("/stats/summary", get(summary))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/localVolumes/{name}", delete(remove_local_volume))
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec_by_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach_by_uid))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward_by_uid))
        .with_state(context)
}

type Names = Path<(String, String, String)>;
type NamesAndUid = Path<(String, String, String, String)>;

async fn container_logs(
    State(context): State<Context>,
    Path((namespace, pod, container)): Names,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let options = logs::Options::parse(upgrade::query(&request), jiff::Timestamp::now())?;
    let lives = context.lookup.lives(&namespace, &pod, &container).await?;
    let life = lives.into_iter().nth(usize::from(options.previous)).ok_or_else(|| {
        Failure::bad_request(match options.previous {
            true => format!("previous terminated container \"{container}\" in pod \"{pod}\" not found"),
            false => format!("container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating"),
        })
    })?;
    let path = context.lookup.log_path(&life.id).await?;
    let ended = ended(
        context.containerd.clone(),
        life.id,
        life.state == ContainerState::ContainerRunning as i32,
    );
    let (sink, source) = tokio::sync::mpsc::channel(LOG_QUEUE);
    tokio::spawn(async move {
        let told = sink.clone();
        if let Err(error) = logs::send(path.clone(), options, ended, sink).await {
            tracing::warn!(log = %path.display(), "log not sent: {error}");
            let _ = told.send(Err(error)).await;
        }
    });
    let (mut parts, _) = request.into_parts();
    Ok(match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(websocket) => {
            let websocket = websocket.protocols(["binary.k8s.io"]);
            websocket
                .on_upgrade(|socket| upgrade::pour(source, socket))
                .into_response()
        }
        Err(_) => Body::from_stream(ReceiverStream::new(source)).into_response(),
    })
}

/// Waits for the end of a container; one that does not run has ended.
async fn ended(containerd: Channel, container_id: String, running: bool) {
    if running {
        let request = WaitRequest {
            container_id,
            exec_id: String::new(),
        };
        let _ = TasksClient::new(containerd).wait(namespaced(request)).await;
    }
}

async fn exec(
    State(context): State<Context>,
    Path((namespace, pod, container)): Names,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let wanted = Wanted::parse(upgrade::query(&request));
    if wanted.command.is_empty() {
        return Err(Failure::bad_request(
            "you must specify a command for the container".into(),
        ));
    }
    let container = context.lookup.running(&namespace, &pod, &container).await?;
    let options = wanted.clone();
    remote::serve(request, options, move |streams| {
        exec::run(context.containerd, context.state_dir, container.id, wanted, streams)
    })
    .await
}

async fn exec_by_uid(
    state: State<Context>,
    Path((namespace, pod, _, container)): NamesAndUid,
    request: Request<Body>,
) -> Result<Response, Failure> {
    exec(state, Path((namespace, pod, container)), request).await
}

async fn attach(
    State(context): State<Context>,
    Path((namespace, pod, container)): Names,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let wanted = Wanted::parse(upgrade::query(&request));
    let container = context.lookup.running(&namespace, &pod, &container).await?;
    let options = wanted.clone();
    remote::serve(request, options, move |streams| {
        attach::run(context.lookup, container.id, wanted, streams)
    })
    .await
}

async fn attach_by_uid(
    state: State<Context>,
    Path((namespace, pod, _, container)): NamesAndUid,
    request: Request<Body>,
) -> Result<Response, Failure> {
    attach(state, Path((namespace, pod, container)), request).await
}

async fn port_forward(
    State(context): State<Context>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let network_namespace = context.lookup.network_namespace(&namespace, &pod).await?;
    let target = port_forward::Target {
        pod: format!("{namespace}/{pod}"),
        network_namespace,
    };
    port_forward::serve(request, target).await
}

async fn port_forward_by_uid(
    state: State<Context>,
    Path((namespace, pod, _)): Names,
    request: Request<Body>,
) -> Result<Response, Failure> {
    port_forward(state, Path((namespace, pod)), request).await
}

/// Removes the data of a volume that was released; answers as the API does when something is gone.
async fn remove_local_volume(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<axum::Json<serde_json::Value>, Failure> {
    tracing::info!(volume = name, "removing the data of a released volume");
    let removed = blocking(move || claims::remove(&context.storage, &name)).await;
    removed.map_err(|message| Failure {
        code: StatusCode::INTERNAL_SERVER_ERROR,
        message,
    })?;
    Ok(axum::Json(
        serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
    ))
}

async fn summary(State(context): State<Context>) -> Result<axum::Json<serde_json::Value>, Failure> {
    let readings = stats::read(&context.lookup, &context.node_name).await?;
    Ok(axum::Json(readings.summary()))
}

async fn resource_metrics(State(context): State<Context>) -> Result<String, Failure> {
    let readings = stats::read(&context.lookup, &context.node_name).await?;
    Ok(readings.prometheus())
}

/// This process, in Prometheus' format.
async fn metrics() -> Result<String, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .unwrap_or(4_096);
    let bytes = pages * page.unsigned_abs();
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    Ok(format!(
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {bytes}\n\
         # TYPE process_threads gauge\nprocess_threads {threads}\n"
    ))
}
