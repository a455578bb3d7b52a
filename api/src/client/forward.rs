//! Local ports that lead into Pods.
//!
//! A [`Forward`] listens and carries each connection over a WebSocket of its own (`v4.channel.k8s.io`) to the Pod that
//! serves its target at that moment: when one goes, the next connection goes to its successor. One task watches the
//! target's Pods, one accepts per listening socket, one carries each connection; all end when it is dropped.
//!
//! The protocol cannot say that one direction has ended. A local side that has sent everything is therefore given
//! [`LINGER`] of silence to receive the rest before the connection is closed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kube::Api;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pods::{self, Error, Pod, Port, Selection, Watched};
use super::rest::{self, Rest};

/// How long a connection waits for a Pod that serves.
const POD_WAIT: Duration = Duration::from_secs(10);
/// How long the rest may take to come after the local side has sent everything.
pub const LINGER: Duration = Duration::from_secs(2);
const BUFFER_BYTES: usize = 32 << 10;
const EVENTS: usize = 64;

/// One port that is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Port to listen on; 0 takes any that is free.
    pub local: u16,
    /// Port of the Pod or Service.
    pub remote: Port,
}

impl std::str::FromStr for Mapping {
    type Err = String;

    /// `REMOTE`, `LOCAL:REMOTE` or `:REMOTE`. A remote name alone takes any local port.
    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(':') {
            Some((local, remote)) => (Some(local), remote),
            None => (None, text),
        };
        let remote: Port = remote.parse()?;
        let local = match (local, &remote) {
            (Some(""), _) | (None, Port::Name(_)) => 0,
            (Some(local), _) => local.parse().map_err(|_| format!("{local:?} is not a port number"))?,
            (None, Port::Number(number)) => *number,
        };
        Ok(Self { local, remote })
    }
}

/// What happens to a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody connected to the local port.
    Connection(u16),
    /// Another Pod serves from now on.
    Moved(String),
    /// No Pod serves for now.
    Alone,
    /// A connection could not be carried.
    Failed(String),
}

/// What passed through.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// Connections so far.
    pub connections: u64,
    /// Connections now.
    pub open: u64,
    /// Bytes to Pods.
    pub sent: u64,
    /// Bytes from Pods.
    pub received: u64,
}

/// Ports that are forwarded, until this is dropped.
#[derive(Debug)]
pub struct Forward {
    /// Where it listens, and which port of the Pod that leads to.
    pub listening: Vec<(SocketAddr, u16)>,
    events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Forward {
    /// Starts listening on the addresses and forwarding to the selection's Pods. Of the addresses of `localhost` one
    /// may fail.
    pub async fn open(
        rest: &Rest,
        selection: Selection,
        addresses: &[IpAddr],
        mappings: &[Mapping],
    ) -> Result<Self, Error> {
        let first = choose(None, selection.preferred.as_deref(), &selection.first);
        let Some(first) = first else {
            return Err(Error::Unfit("no pod serves it now: none is running".to_owned()));
        };
        let mut sockets = Vec::new();
        for mapping in mappings {
            let remote = selection.port_in(&first, &mapping.remote)?;
            for (listener, address) in listen(addresses, mapping.local).await? {
                sockets.push((listener, address, mapping.remote.clone(), remote));
            }
        }
        let (events_sender, events) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            rest: rest.clone(),
            selection,
            pod: watch::Sender::new(Some(first)),
            counts: Counts::default(),
            events: events_sender,
            stop: stop.clone(),
        });
        let listening = sockets
            .iter()
            .map(|(_, address, _, remote)| (*address, *remote))
            .collect();
        for (listener, address, remote, _) in sockets {
            shared.spawn(shared.clone().accept(listener, address.port(), remote));
        }
        shared.spawn(shared.clone().follow());
        Ok(Self {
            listening,
            events,
            shared,
            _stop: stop.drop_guard(),
        })
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The Pod that serves now.
    pub fn pod(&self) -> Option<String> {
        self.shared
            .pod
            .borrow()
            .as_ref()
            .map(|pod| pod.metadata.name.to_string())
    }

    /// What passed through so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.counts.read()
    }
}

impl Counts {
    fn read(&self) -> Traffic {
        Traffic {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
        }
    }
}

/// The addresses of `localhost`.
pub const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

async fn listen(addresses: &[IpAddr], port: u16) -> Result<Vec<(TcpListener, SocketAddr)>, Error> {
    let mut sockets: Vec<(TcpListener, SocketAddr)> = Vec::new();
    let mut failure = None;
    for address in addresses {
        // A free port that was found on one address is taken on the others too.
        let port = sockets.first().map_or(port, |(_, address)| address.port());
        let bound = async {
            let listener = TcpListener::bind((*address, port)).await?;
            let local = listener.local_addr()?;
            io::Result::Ok((listener, local))
        };
        match bound.await {
            Ok(socket) => sockets.push(socket),
            Err(error) if LOCALHOST.contains(address) => failure = Some((*address, error)),
            Err(error) => return Err(unable((*address, port), &error)),
        }
    }
    match failure {
        Some((address, error)) if sockets.is_empty() => Err(unable((address, port), &error)),
        _ => Ok(sockets),
    }
}

fn unable(address: (IpAddr, u16), error: &io::Error) -> Error {
    Error::Unfit(format!("unable to listen on {}: {error}", SocketAddr::from(address)))
}

/// The Pod to forward to: the one so far, while it serves; else the one that was asked for, else a ready one, else the
/// youngest that runs.
fn choose(current: Option<&Pod>, preferred: Option<&str>, pods: &[Arc<Pod>]) -> Option<Arc<Pod>> {
    let is_current = |pod: &Pod| current.is_some_and(|c| c.metadata.uid == pod.metadata.uid);
    let rank = |pod: &&Arc<Pod>| {
        let is_preferred = preferred == Some(&*pod.metadata.name);
        (
            is_current(pod),
            is_preferred,
            pod.ready(),
            pod.metadata.creation_timestamp.clone(),
        )
    };
    pods.iter().filter(|pod| pod.serves()).max_by_key(rank).cloned()
}

#[derive(Debug)]
struct Shared {
    rest: Rest,
    selection: Selection,
    /// The Pod that serves.
    pod: watch::Sender<Option<Arc<Pod>>>,
    counts: Counts,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

impl Shared {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Whoever shows events may be slow; a missed one shows in the counts and the Pod's name all the same.
    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Keeps the Pod that serves up to date.
    async fn follow(self: Arc<Self>) {
        let watched = Watched::start(&self.rest, &self.selection);
        watched.synced().await;
        loop {
            self.move_to(&watched.pods());
            watched.changed().await;
        }
    }

    fn move_to(&self, pods: &[Arc<Pod>]) {
        let before = self.pod.borrow().clone();
        let after = choose(before.as_deref(), self.selection.preferred.as_deref(), pods);
        let uid = |pod: &Option<Arc<Pod>>| pod.as_ref().map(|pod| pod.metadata.uid.clone());
        if uid(&before) == uid(&after) {
            return;
        }
        self.tell(match &after {
            Some(pod) => Event::Moved(pod.metadata.name.to_string()),
            None => Event::Alone,
        });
        self.pod.send_replace(after);
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, local: u16, remote: Port) {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    self.tell(Event::Connection(local));
                    self.spawn(self.clone().serve(connection, remote.clone()));
                }
                Err(error) => {
                    self.tell(Event::Failed(format!(
                        "cannot accept connections on port {local}: {error}"
                    )));
                    // Out of file descriptors, most likely: give others time to close theirs.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, connection: TcpStream, remote: Port) {
        self.counts.connections.fetch_add(1, Relaxed);
        self.counts.open.fetch_add(1, Relaxed);
        if let Err(error) = self.carry(connection, &remote).await {
            self.tell(Event::Failed(error));
        }
        self.counts.open.fetch_sub(1, Relaxed);
    }

    async fn carry(&self, connection: TcpStream, remote: &Port) -> Result<(), String> {
        let mut pod = self.serving_pod(None).await?;
        let namespace = &self.selection.namespace;
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.rest.client().clone(), namespace);
        let (mut forwarder, port) = loop {
            let port = self
                .selection
                .port_in(&pod, remote)
                .map_err(|error| error.to_string())?;
            match api.portforward(&pod.metadata.name, &[port]).await {
                Ok(forwarder) => break (forwarder, port),
                // The watch will tell of it soon.
                Err(error) if rest::is_not_found(&error) => pod = self.serving_pod(Some(&pod)).await?,
                Err(error) => {
                    let message = rest::message(&error);
                    return Err(format!("cannot forward to pod {}: {message}", pod.metadata.name));
                }
            }
        };
        let (stream, error) = (forwarder.take_stream(port), forwarder.take_error(port));
        if let Some(stream) = stream {
            // A side that breaks off is an ordinary end here.
            let _ = self.copy(connection, stream).await;
        }
        forwarder.abort();
        match error {
            // It was sent before the connection ended, or it was not.
            Some(error) => match timeout(Duration::from_millis(100), error).await {
                Ok(Some(message)) => Err(message.trim().to_owned()),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Waits for a Pod that serves, other than one that does no longer.
    async fn serving_pod(&self, not: Option<&Pod>) -> Result<Arc<Pod>, String> {
        let mut pods = self.pod.subscribe();
        let fits = |pod: &Option<Arc<Pod>>| {
            pod.as_ref()
                .is_some_and(|pod| not.is_none_or(|not| not.metadata.uid != pod.metadata.uid))
        };
        match timeout(POD_WAIT, pods.wait_for(fits)).await {
            Ok(Ok(pod)) => Ok(pod.clone().expect("one that fits")),
            _ => Err("no pod serves it now".to_owned()),
        }
    }

    async fn copy(&self, local: TcpStream, pod: impl AsyncRead + AsyncWrite) -> io::Result<()> {
        let (mut local_read, mut local_write) = local.into_split();
        let (mut pod_read, mut pod_write) = tokio::io::split(pod);
        let outgoing = pass(&mut local_read, &mut pod_write, &self.counts.sent);
        let mut incoming = std::pin::pin!(pass(&mut pod_read, &mut local_write, &self.counts.received));
        tokio::select! {
            result = &mut incoming => return result,
            result = outgoing => result?,
        }
        let mut received = self.counts.received.load(Relaxed);
        while timeout(LINGER, &mut incoming).await.is_err() {
            let now = self.counts.received.load(Relaxed);
            if now == std::mem::replace(&mut received, now) {
                break;
            }
        }
        Ok(())
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        count.fetch_add(length as u64, Relaxed);
    }
}

/// Resolves a target for forwarding: its Pods and their successors.
pub async fn resolve(rest: &Rest, target: &pods::Target) -> Result<Selection, Error> {
    pods::resolve(rest, target, pods::Succession::Workload).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, ready: bool, going: bool) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": format!("2026-01-01T00:00:0{}Z", name.len())},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        if going {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn the_pod_stays_the_same_while_it_serves() {
        let name = |pod: Option<Arc<Pod>>| pod.map_or("none".to_owned(), |pod| pod.metadata.name.to_string());
        let (a, bb) = (pod("a", true, false), pod("bb", true, false));
        let both = [a.clone(), bb.clone()];
        assert_eq!(name(choose(None, Some("a"), &both)), "a");
        assert_eq!(name(choose(None, None, &both)), "bb");
        assert_eq!(name(choose(Some(&a), None, &both)), "a");
        let going = [pod("a", true, true), bb];
        assert_eq!(name(choose(Some(&a), Some("a"), &going)), "bb");
        let unready = [pod("bb", false, false), a];
        assert_eq!(name(choose(None, None, &unready)), "a");
        assert_eq!(name(choose(None, None, &[pod("a", true, true)])), "none");
    }

    #[test]
    fn mappings_are_read_as_kubectl_reads_them() {
        let check = |text: &str| match text.parse::<Mapping>() {
            Ok(mapping) => format!("{} -> {}", mapping.local, mapping.remote),
            Err(error) => error,
        };
        insta::assert_snapshot!(check("80"), @"80 -> 80");
        insta::assert_snapshot!(check("8080:80"), @"8080 -> 80");
        insta::assert_snapshot!(check(":80"), @"0 -> 80");
        insta::assert_snapshot!(check("8080:http"), @"8080 -> http");
        insta::assert_snapshot!(check("http"), @"0 -> http");
        insta::assert_snapshot!(check("x:80"), @r#""x" is not a port number"#);
        insta::assert_snapshot!(check("80:0"), @r#""0" is neither a port number nor a port's name"#);
    }
}
