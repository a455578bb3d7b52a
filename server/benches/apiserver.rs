//! What the API server promises about bytes and watchers: `cargo bench -p mizzen-server --bench apiserver`.
//!
//! - List of 10,000 Pods over TLS on one connection: at least 200 MB/s of JSON.
//! - 1,000 watchers on 1,000 namespaces cost at most twice the processor time of 10 watchers that
//!   receive as many events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use mizzen_server::apiserver::gates::{Gates, Options};
use mizzen_server::apiserver::listener::Listener;
use mizzen_server::control_plane::{Config, ControlPlane};
use mizzen_server::identity::{MASTERS, User};
use mizzen_server::pki::{self, Pki};
use mizzen_server::store::sqlite::{SqliteOptions, SqliteStore};
use mizzen_server::store::{Durability, Expect, Put, Store};
use nix::sys::resource::{UsageWho, getrusage};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PODS: usize = 10_000;
const EVENTS: usize = 10_000;

struct World {
    plane: ControlPlane,
    store: Arc<SqliteStore>,
    pki: Pki,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let pki = Pki::open(&pki::Options {
            data_dir: directory.path().into(),
            names: Vec::new(),
            addresses: vec!["127.0.0.1".parse()?],
            service_address: "10.43.0.1".parse()?,
            cluster_domain: "cluster.local".into(),
            server_url: "https://127.0.0.1".into(),
        })?;
        let store = Arc::new(SqliteStore::open(
            &directory.path().join("state.db"),
            SqliteOptions::default(),
        )?);
        let options = Options {
            token_keys: pki.token_keys(),
            issuer: "https://kubernetes.default.svc".into(),
            server_url: "https://127.0.0.1".into(),
            root_ca_pem: pki.server_ca().pem().to_owned(),
            join_tokens: Arc::new(mizzen_server::join::Tokens::random()),
            service_network: "10.43.0.0/16".parse()?,
            node_ports: 30000..=32767,
            reservations: None,
        };
        let config = Config {
            store: store.clone(),
            gates: Box::new(move |cache| Gates::new(cache.clone(), options)),
            kubelet_tls: None,
        };
        let stop = CancellationToken::new();
        let plane = ControlPlane::start(config, stop.clone()).await?;
        Ok(Self {
            plane,
            store,
            pki,
            stop,
            _directory: directory,
        })
    }

    async fn put(&self, namespace: &str, name: &str, revision: usize) -> anyhow::Result<()> {
        let put = Put {
            key: format!("/registry/pods/{namespace}/{name}").into(),
            value: pod(namespace, name, revision),
            expect: Expect::Any,
            ttl: None,
            durability: Durability::Relaxed,
        };
        self.store.put(put).await?;
        Ok(())
    }

    fn request(&self, path: &str) -> Request<Body> {
        let mut request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        request.extensions_mut().insert(User::new("admin", [MASTERS]));
        request
    }
}

/// About what a small Pod weighs with its status and managed fields: 2.3 KB.
fn pod(namespace: &str, name: &str, revision: usize) -> Bytes {
    let filler = "x".repeat(1_700);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": "0a3d8f7e-0000-4000-8000-000000000000",
            "labels": {"app": "web", "pod-template-hash": "5d59d67564"}, "annotations": {"filler": filler}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "mizzen.local/hello:v1"}]},
        "status": {"phase": "Running", "podIP": "10.42.0.7", "observedGeneration": revision},
    });
    let pod = pod.as_object().expect("an object");
    mizzen_api::object::encode(pod)
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("our own usage");
    let time = |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1_000);
    time(usage.user_time()) + time(usage.system_time())
}

async fn list(world: &World) -> anyhow::Result<()> {
    let writes =
        futures::stream::iter(0..PODS).map(|at| async move { world.put("default", &format!("web-{at:05}"), 1).await });
    writes.buffer_unordered(256).collect::<Vec<_>>().await;

    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let listener = Listener {
        socket,
        tls: world.pki.server_config()?,
        trust: world.pki.client_trust()?,
    };
    tokio::spawn(listener.serve(world.plane.router(), world.stop.clone()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(world.pki.server_ca().chain().iter().cloned());
    let issued = world.pki.admin().current();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            issued.certified.cert.clone(),
            PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?,
        )?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1")?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);

    let mut best = 0.0_f64;
    for _ in 0..10 {
        let request = Request::builder()
            .uri("/api/v1/pods")
            .header("host", "127.0.0.1")
            .body(Empty::<Bytes>::new())?;
        let began = Instant::now();
        sender.ready().await?;
        let mut body = sender.send_request(request).await?.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        let speed = length as f64 / 1e6 / began.elapsed().as_secs_f64();
        anyhow::ensure!(length > PODS * 2_000, "only {length} bytes came");
        best = best.max(speed);
        println!(
            "list of {PODS} Pods over TLS: {:.1} MB, {speed:.0} MB/s",
            length as f64 / 1e6
        );
    }
    println!("best: {best:.0} MB/s (promised: 200)");
    Ok(())
}

/// Processor time of `EVENTS` events that `watchers` watchers in a namespace each receive.
async fn fan_out(world: &World, watchers: usize) -> anyhow::Result<Duration> {
    let mut streams = Vec::new();
    for at in 0..watchers {
        let path = format!("/api/v1/namespaces/ns-{watchers}-{at}/pods?watch=1");
        let response = world.plane.server().clone().handle(world.request(&path)).await;
        streams.push(response.into_body().into_data_stream());
    }
    let each = EVENTS / watchers;
    let began = processor_time();
    let readers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                for _ in 0..each {
                    stream.next().await.expect("an event").expect("bytes");
                }
            })
        })
        .collect();
    let writes = futures::stream::iter(0..EVENTS).map(|at| async move {
        let namespace = format!("ns-{watchers}-{}", at % watchers);
        world.put(&namespace, "web", at).await
    });
    writes.buffer_unordered(64).collect::<Vec<_>>().await;
    for reader in readers {
        reader.await?;
    }
    Ok(processor_time() - began)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let world = World::new().await?;
    list(&world).await?;
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let few = fan_out(&world, 10).await?;
        let many = fan_out(&world, 1_000).await?;
        ratios.push(many.as_secs_f64() / few.as_secs_f64());
        println!("{EVENTS} events: 10 watchers {few:?}, 1,000 watchers {many:?} of processor time");
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio: {:.2} (promised: at most 2)", ratios[1]);
    world.stop.cancel();
    Ok(())
}
