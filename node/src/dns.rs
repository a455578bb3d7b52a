//! Cluster DNS: every node answers its own Pods on the cluster's DNS address.
//!
//! Entry point: [`Dns::run`]. The address is on the node's bridge ([`crate::network`]), so that Pods and the node reach
//! it without translation. Two tasks listen, on UDP and on TCP; names of the cluster are answered at once from the
//! copies that the proxy uses too ([`answer`] and [`names`], pure); other names go to the host's name servers
//! ([`forward`]), each in a task of its own, of which there are at most a fixed number.

mod answer;
mod forward;
mod names;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::services::{EndpointSlice, Service, Services};
use answer::{Decision, Zone};
use forward::{Forwarder, Transport};
use names::Directory;

/// Queries that wait for other name servers, and TCP connections, at the same time.
const WAITING_MAX: usize = 256;
/// Pause before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);
const TCP_IDLE: Duration = Duration::from_secs(10);
const REQUEST_MAX_BYTES: usize = 4_096;
/// The smallest size of a UDP answer that every client takes.
const UDP_MIN_BYTES: u16 = 512;
/// The largest that passes without fragments.
const UDP_MAX_BYTES: u16 = 1_232;

/// Where DNS listens and what it is called.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address and port to answer on.
    pub listen: SocketAddr,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// The file that names the host's name servers.
    pub resolv_conf: PathBuf,
}

/// The name server.
pub struct Dns {
    settings: Settings,
    services: Services,
}

struct Server {
    zone: Zone,
    services: Services,
    forwarder: Forwarder,
    waiting: Arc<Semaphore>,
}

impl Dns {
    /// A name server over the shared copies.
    pub fn new(settings: Settings, services: Services) -> Self {
        Self { settings, services }
    }

    /// Answers until `stop`, from the moment that the copies are complete.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let keep_serving = async {
            loop {
                // Somebody else may have the port for now; the rest of the node goes on.
                if let Err(error) = self.serve().await {
                    tracing::error!(retry = ?RETRY, "{error:#}");
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        stop.run_until_cancelled(keep_serving).await;
        Ok(())
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let listen = self.settings.listen;
        let address = match listen {
            SocketAddr::V4(v4) => *v4.ip(),
            SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let udp = UdpSocket::bind(listen)
            .await
            .with_context(|| format!("cluster DNS on {listen}, UDP"))?;
        let tcp = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cluster DNS on {listen}, TCP"))?;
        self.services.synced().await;
        let server = Arc::new(Server {
            zone: Zone::new(&self.settings.domain, address).context("cluster domain")?,
            forwarder: Forwarder::new(self.settings.resolv_conf.clone(), listen),
            services: self.services.clone(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        });
        tokio::try_join!(server.clone().serve_udp(Arc::new(udp)), server.serve_tcp(tcp))?;
        Ok(())
    }
}

impl Server {
    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) -> anyhow::Result<()> {
        let mut buffer = vec![0; REQUEST_MAX_BYTES];
        loop {
            // An error here is an earlier answer's, which could not be delivered.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            let bytes = &buffer[..length];
            match self.decide(bytes, Transport::Udp) {
                Reply::Now(answer) => _ = socket.send_to(&answer, client).await,
                // A client whose query is dropped asks again.
                Reply::Never => {}
                Reply::Later(elsewhere) => {
                    let Ok(permit) = self.waiting.clone().try_acquire_owned() else {
                        continue;
                    };
                    let (server, socket) = (self.clone(), socket.clone());
                    tokio::spawn(async move {
                        if let Some(answer) = server.elsewhere(elsewhere, Transport::Udp, permit).await {
                            let _ = socket.send_to(&answer, client).await;
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let permit = self.waiting.clone().acquire_owned().await?;
            match listener.accept().await {
                Ok((stream, _)) => _ = tokio::spawn(self.clone().connection(stream, permit)),
                // Out of file descriptors, most likely: some are free again soon.
                Err(error) => {
                    tracing::warn!("cluster DNS cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
        while let Ok(Ok(request)) = tokio::time::timeout(TCP_IDLE, forward::read_framed(&mut stream)).await {
            let answer = match self.decide(&request, Transport::Tcp) {
                Reply::Now(answer) => Some(answer),
                Reply::Never => None,
                Reply::Later(elsewhere) => match self.waiting.clone().try_acquire_owned() {
                    Ok(permit) => self.elsewhere(elsewhere, Transport::Tcp, permit).await,
                    Err(_) => None,
                },
            };
            let Some(answer) = answer else { return };
            if forward::write_framed(&mut stream, &answer).await.is_err() {
                return;
            }
        }
    }

    fn decide(&self, bytes: &[u8], transport: Transport) -> Reply {
        let now = |answer: Option<Vec<u8>>| answer.map_or(Reply::Never, Reply::Now);
        let Ok(request) = Message::from_vec(bytes) else {
            let id = bytes.first_chunk().copied().map(u16::from_be_bytes);
            let refusal = id.map(|id| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec());
            return now(refusal.and_then(Result::ok));
        };
        match self.zone.decide(&request, &self.services) {
            Decision::Answer(answer) => now(encode(&answer, size_limit(&request, transport))),
            Decision::Forward => Reply::Later(Box::new(Elsewhere {
                query: bytes.to_vec(),
                request,
                aliased: None,
            })),
            Decision::Chase(answer, query) => {
                let mut chase = Message::query();
                chase.metadata.recursion_desired = true;
                chase.add_query(query);
                match chase.to_vec() {
                    Ok(query) => Reply::Later(Box::new(Elsewhere {
                        query,
                        request,
                        aliased: Some(answer),
                    })),
                    Err(_) => now(encode(&answer, size_limit(&request, transport))),
                }
            }
        }
    }

    async fn elsewhere(
        &self,
        elsewhere: Box<Elsewhere>,
        transport: Transport,
        _permit: OwnedSemaphorePermit,
    ) -> Option<Vec<u8>> {
        let Elsewhere {
            query,
            request,
            aliased,
        } = *elsewhere;
        let size = size_limit(&request, transport);
        // An alias may lead back into the cluster.
        let inside =
            aliased.as_ref().and_then(
                |_| match self.zone.decide(&Message::from_vec(&query).ok()?, &self.services) {
                    Decision::Answer(answer) => Some(answer),
                    Decision::Forward | Decision::Chase(..) => None,
                },
            );
        let outside = match inside {
            Some(_) => None,
            None => self.forwarder.ask(&query, transport).await,
        };
        match (aliased, inside, outside) {
            (None, _, Some(answer)) => Some(answer),
            (None, _, None) => encode(&answer::error(&request, ResponseCode::ServFail), size),
            (Some(mut alias), inside, outside) => {
                // The alias alone is an answer too: the client may know the rest.
                let rest = inside.or_else(|| Message::from_vec(&outside?).ok());
                alias.answers.extend(rest.into_iter().flat_map(|rest| rest.answers));
                encode(&alias, size)
            }
        }
    }
}

/// What becomes of a query.
enum Reply {
    Now(Vec<u8>),
    Later(Box<Elsewhere>),
    Never,
}

/// How large an answer the client takes.
fn size_limit(request: &Message, transport: Transport) -> u16 {
    match transport {
        Transport::Udp => request.max_payload().clamp(UDP_MIN_BYTES, UDP_MAX_BYTES),
        Transport::Tcp => u16::MAX,
    }
}

/// A query that the cluster cannot answer by itself.
struct Elsewhere {
    query: Vec<u8>,
    request: Message,
    aliased: Option<Message>,
}

/// The bytes of an answer, cut to what the client takes.
fn encode(answer: &Message, size: u16) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= usize::from(size) {
        return Some(bytes);
    }
    answer.truncate().to_vec().ok()
}

impl Directory for Services {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices_of(namespace, service)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        !self.services.in_namespace(namespace).is_empty()
    }

    fn service_at(&self, address: Ipv4Addr) -> Option<Arc<Service>> {
        self.services
            .all()
            .into_iter()
            .find(|service| service.cluster_ip == Some(address))
    }

    fn slice_at(&self, address: Ipv4Addr) -> Option<Arc<EndpointSlice>> {
        let headless = |slice: &Arc<EndpointSlice>| {
            slice.endpoints.iter().any(|endpoint| endpoint.address == address)
                && self
                    .services
                    .get(&slice.namespace, &slice.service)
                    .is_some_and(|service| service.headless)
        };
        self.slices.all().into_iter().find(headless)
    }
}
