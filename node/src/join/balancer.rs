//! Which server to talk to: any that takes a connection, the one that did last time first.
//!
//! The addresses come from the `kubernetes` Endpoints while a server answers, and are kept in a file, so that the
//! machine finds the others after a start while the one it was told of is down. That one stays as the last resort: it
//! may be the name of a load balancer.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mizzen_api::client::feed::{self, Selector};
use mizzen_api::client::files;
use mizzen_api::client::rest::{Gvr, Rest};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

const DEFAULT_PORT: u16 = 6443;
/// A server that is there takes a connection sooner.
const CONNECT: Duration = Duration::from_secs(5);

/// Chooses servers.
#[derive(Debug)]
pub struct Balancer {
    file: PathBuf,
    state: Mutex<State>,
}

/// What is known of servers; also what the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    /// `HOST:PORT` that we were told.
    server: String,
    /// `ADDRESS:PORT` of servers that the cluster told.
    addresses: Vec<String>,
    /// The one that answered last.
    #[serde(skip)]
    last: Option<String>,
}

impl State {
    /// Where to try, in order.
    fn candidates(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let known = self
            .addresses
            .iter()
            .filter(|address| Some(*address) != self.last.as_ref());
        // What we were told comes first until the cluster told more.
        let (first, later) = match self.addresses.is_empty() {
            true => (Some(&self.server), None),
            false => (None, Some(&self.server)),
        };
        for address in self.last.iter().chain(first).chain(known).chain(later) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }
}

/// `HOST:PORT` of `https://HOST[:PORT]`.
fn host_and_port(url: &str) -> anyhow::Result<String> {
    let parse = || {
        let uri: http::Uri = url.trim_end_matches('/').parse().ok()?;
        let plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
        let host = uri.host().filter(|_| plain)?;
        Some(format!("{host}:{}", uri.port_u16().unwrap_or(DEFAULT_PORT)))
    };
    parse().with_context(|| format!("{url:?} is not a server: expected https://HOST:{DEFAULT_PORT}"))
}

impl Balancer {
    /// Knows the server of this URL, and those that the file names.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str, file: PathBuf) -> anyhow::Result<Self> {
        let server = host_and_port(url)?;
        let kept: State = files::read(&file)?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        // Somebody who names another server may mean another cluster.
        let addresses = if kept.server == server {
            kept.addresses
        } else {
            Vec::new()
        };
        let state = State {
            server,
            addresses,
            last: None,
        };
        Ok(Self {
            file,
            state: Mutex::new(state),
        })
    }

    /// A connection to the first server that takes one.
    ///
    /// # Errors
    /// When none does.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let candidates = self.state.lock().candidates();
        let mut failures = Vec::new();
        for address in candidates {
            let connected = match tokio::time::timeout(CONNECT, TcpStream::connect(&address)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let last = self.state.lock().last.replace(address.clone());
                    if last.is_some_and(|last| last != address) {
                        tracing::info!(server = address, "talking to another server");
                    }
                    return Ok(stream);
                }
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        self.state.lock().last = None;
        Err(io::Error::other(format!(
            "no server takes a connection: {}",
            failures.join("; ")
        )))
    }

    /// Follows where servers are.
    pub(super) async fn follow(self: Arc<Self>, client: kube::Client) {
        let selector = Selector {
            namespace: "default".to_owned(),
            labels: "kubernetes.io/service-name=kubernetes".to_owned(),
            ..Selector::default()
        };
        let at = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
        let learn = |slice| -> Option<Infallible> {
            self.learn(addresses(&slice));
            None
        };
        match feed::until(at, selector, Rest::new(client, "kubelet"), learn).await {}
    }

    fn learn(&self, addresses: Vec<String>) {
        // Nothing is better than nobody.
        if addresses.is_empty() || self.state.lock().addresses == addresses {
            return;
        }
        tracing::info!(servers = addresses.join(", "), "servers of the cluster");
        let text = {
            let mut state = self.state.lock();
            state.addresses = addresses;
            serde_json::to_string(&*state).unwrap_or_default()
        };
        let folder = self.file.parent().map_or(Ok(()), files::private_directory);
        if let Err(error) = folder.and_then(|()| files::write(&self.file, text.as_bytes(), files::PRIVATE)) {
            tracing::warn!("servers are not kept: {error}");
        }
    }
}

fn addresses(slice: &EndpointSlice) -> Vec<String> {
    let port = slice
        .ports
        .iter()
        .flatten()
        .find_map(|port| port.port)
        .unwrap_or_default();
    let endpoints = slice.endpoints.iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|c| c.ready != Some(false)));
    let mut all: Vec<String> = ready
        .flat_map(|endpoint| &endpoint.addresses)
        .map(|address| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn urls_are_checked() {
        for (url, expect) in [
            ("https://192.0.2.1:6443", Some("192.0.2.1:6443")),
            ("https://server", Some("server:6443")),
            ("https://[2001:db8::1]:7000/", Some("[2001:db8::1]:7000")),
            ("http://server:6443", None),
            ("server:6443", None),
            ("https://server/path", None),
            ("", None),
        ] {
            assert_eq!(host_and_port(url).ok().as_deref(), expect, "{url}");
        }
    }

    #[test]
    fn servers_are_tried_in_order() {
        let check = |addresses: &[&str], last: Option<&str>, expect: &[&str]| {
            let state = State {
                server: "s".into(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
                last: last.map(str::to_owned),
            };
            assert_eq!(state.candidates(), expect);
        };
        check(&[], None, &["s"]);
        check(&["a", "b"], None, &["a", "b", "s"]);
        check(&["a", "b"], Some("b"), &["b", "a", "s"]);
        check(&["a", "s"], Some("gone"), &["gone", "a", "s"]);
    }

    #[tokio::test]
    async fn another_server_is_taken_when_one_is_down_and_known_after_a_start() {
        let directory = tempfile::tempdir().expect("a folder");
        let file = directory.path().join("etc/servers.json");
        let (one, two) = (
            TcpListener::bind("127.0.0.1:0").await.expect("a listener"),
            TcpListener::bind("127.0.0.1:0").await.expect("a listener"),
        );
        let address = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
        let (first, second) = (address(&one), address(&two));
        let url = format!("https://{first}");
        let balancer = Balancer::open(&url, file.clone()).expect("a balancer");
        balancer.learn(vec![first.clone(), second.clone()]);
        let peer = |stream: TcpStream| stream.peer_addr().expect("an address").to_string();
        assert_eq!(peer(balancer.connect().await.expect("connected")), first);
        drop(one);
        assert_eq!(peer(balancer.connect().await.expect("connected")), second);

        let balancer = Balancer::open(&url, file.clone()).expect("a balancer");
        assert_eq!(peer(balancer.connect().await.expect("connected")), second);
        drop(two);
        let error = balancer.connect().await.expect_err("nobody is there");
        assert!(
            error.to_string().starts_with("no server takes a connection: "),
            "{error}"
        );
        let other = Balancer::open("https://other", file).expect("a balancer");
        assert_eq!(other.state.lock().candidates(), ["other:6443"]);
    }
}
