//! What is passed on: to kubelets over TLS, to Pods and Services over plain HTTP, and upgrades.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use http::StatusCode;
use http::header::{CONNECTION, UPGRADE};
use hyper_util::rt::TokioIo;
use mizzen_api::object::encode;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{World, open};
use crate::apiserver::listener::Listener;
use crate::pki::{self, Pki};
use crate::store::{Durability, Expect, Put};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What a kubelet and a Pod's process answer here: where the request arrived, or what an upgrade sends.
async fn answer(mut request: Request) -> Response {
    if !request.headers().contains_key(UPGRADE) {
        return request.uri().to_string().into_response();
    }
    let path = request.uri().to_string();
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.expect("an upgrade");
        let mut stream = TokioIo::new(upgraded);
        stream.write_all(format!("{path}\n").as_bytes()).await.expect("written");
        let mut line = [0; 4];
        stream.read_exact(&mut line).await.expect("read");
        stream.write_all(&line).await.expect("written");
        stream.shutdown().await.expect("closed");
    });
    let headers = [(CONNECTION, "Upgrade"), (UPGRADE, "test")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn router() -> axum::Router {
    let refuse = get(|| async {
        (
            StatusCode::BAD_REQUEST,
            "container \"c\" in pod \"waits\" is waiting to start",
        )
    });
    axum::Router::new()
        .route("/containerLogs/default/waits/c", refuse)
        .route("/away", get(|| async { Redirect::temporary("/there") }))
        .fallback(any(answer))
}

/// An authority of its own.
fn authority(directory: &Path) -> anyhow::Result<Arc<Pki>> {
    let pki = Pki::open(&pki::Options {
        data_dir: directory.into(),
        names: Vec::new(),
        addresses: vec!["127.0.0.1".parse()?],
        service_address: "10.43.0.1".parse()?,
        cluster_domain: "cluster.local".into(),
        server_url: "https://127.0.0.1".into(),
    });
    Ok(Arc::new(pki?))
}

/// Serves in the name of an authority, and asks its clients to be known to it.
async fn listen(
    pki: &Pki,
    tls: Arc<rustls::ServerConfig>,
    service: axum::Router,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let trust = pki.client_trust()?;
    tokio::spawn(Listener { socket, tls, trust }.serve(service, stop));
    Ok(address)
}

struct Cluster {
    world: World,
    pki: Arc<Pki>,
    api: SocketAddr,
    application: SocketAddr,
}

impl Cluster {
    async fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let pki = authority(directory.path())?;
        let world = World::build(directory, open, Some(pki.kubelet_client_config()?)).await;
        let node = pki.node("n1", &["127.0.0.1".parse()?])?;
        let kubelet = listen(&pki, pki.kubelet_server_config(&node)?, router(), world.stop.clone()).await?;
        let api = listen(&pki, pki.server_config()?, world.plane.router(), world.stop.clone()).await?;
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let application = socket.local_addr()?;
        tokio::spawn(async move { axum::serve(socket, router()).await });

        let cluster = Self {
            world,
            pki,
            api,
            application,
        };
        cluster.add_node("n1", kubelet).await;
        cluster.add_pod("p", &["c"]).await;
        cluster.add_pod("waits", &["c"]).await;
        cluster.add_pod("two", &["a", "b"]).await;
        Ok(cluster)
    }

    async fn add_node(&self, name: &str, kubelet: SocketAddr) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.world.send("POST", "/api/v1/nodes", node).await;
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}}}});
        let path = format!("/api/v1/nodes/{name}/status");
        assert_eq!(self.world.send("PATCH", &path, status).await.0, 200);
    }

    async fn add_pod(&self, name: &str, containers: &[&str]) {
        let port = self.application.port();
        let container = |name: &&str| json!({"name": name, "image": "i", "ports": [{"containerPort": port}]});
        let containers: Vec<_> = containers.iter().map(container).collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": "n1", "containers": containers}});
        assert_eq!(self.world.send("POST", PODS, pod).await.0, 201);
        let status = json!({"status": {"podIP": "127.0.0.1"}});
        assert_eq!(
            self.world
                .send("PATCH", &format!("{PODS}/{name}/status"), status)
                .await
                .0,
            200
        );
    }

    async fn get(&self, path: &str) -> String {
        let (code, answer) = self.world.send("GET", path, Value::Null).await;
        match &answer {
            Value::String(text) => format!("{code} {text}"),
            status => format!("{code} {}", status["message"].as_str().unwrap_or_default()),
        }
    }
}

#[tokio::test]
async fn requests_reach_kubelets_pods_and_services() {
    let cluster = Cluster::new().await.expect("a cluster");
    let port = cluster.application.port();
    for (path, expect) in [
        (
            format!("{PODS}/p/log?follow=true&tailLines=5&other=1"),
            "200 /containerLogs/default/p/c?follow=true&tailLines=5".to_owned(),
        ),
        (
            format!("{PODS}/waits/log"),
            "400 container \"c\" in pod \"waits\" is waiting to start".into(),
        ),
        (
            format!("{PODS}/two/log"),
            "400 a container name must be specified for pod two, choose one of: [a b]".into(),
        ),
        (
            format!("{PODS}/two/log?container=z"),
            "400 container z is not valid for pod two".into(),
        ),
        (format!("{PODS}/none/log"), "404 pods \"none\" not found".into()),
        (format!("{PODS}/p/proxy/a/b?c=d"), "200 /a/b?c=d".into()),
        (format!("{PODS}/http:p:{port}/proxy/"), "200 /".into()),
        ("/api/v1/nodes/n1/proxy/healthz".into(), "200 /healthz".into()),
        (
            "/api/v1/namespaces/default/services/none/proxy/".into(),
            "404 services \"none\" not found".into(),
        ),
    ] {
        assert_eq!(cluster.get(&path).await, expect, "{path}");
    }

    let services = "/api/v1/namespaces/default/services";
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}});
    assert_eq!(cluster.world.send("POST", services, service).await.0, 201);
    let path = format!("{services}/s:http/proxy/x");
    assert_eq!(
        cluster.get(&path).await,
        "503 no endpoints available for service \"s:http\""
    );
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}]});
    // No client may put a loopback address there, which is all that a test has.
    let put = Put {
        key: "/registry/endpointslices/default/s-1".into(),
        value: encode(slice.as_object().expect("an object")),
        expect: Expect::Absent,
        ttl: None,
        durability: Durability::Synced,
    };
    cluster.world.plane.server().store.put(put).await.expect("stored");
    assert_eq!(cluster.get(&path).await, "200 /x");

    let request = http::Request::builder().uri(format!("{PODS}/p/proxy/away"));
    let (code, headers, _) = cluster.world.raw(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(
        (code, headers["location"].to_str().ok()),
        (307, Some(&*format!("{PODS}/p/proxy/there")))
    );
}

#[tokio::test]
async fn a_kubelet_of_another_authority_is_told_nothing() {
    let cluster = Cluster::new().await.expect("a cluster");
    let directory = tempfile::tempdir().expect("a directory");
    let other = authority(directory.path()).expect("an authority");
    let address = "127.0.0.1".parse().expect("an address");
    let node = other.node("n2", &[address]).expect("a certificate");
    let tls = other.kubelet_server_config(&node).expect("TLS");
    let stop = cluster.world.stop.clone();
    let kubelet = listen(&other, tls, router(), stop).await.expect("a kubelet");
    cluster.add_node("n2", kubelet).await;
    let told = cluster.get("/api/v1/nodes/n2/proxy/healthz").await;
    assert!(told.starts_with("50") && told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn upgrades_become_pipes() {
    let cluster = Cluster::new().await.expect("a cluster");
    let exec = "/exec/default/p/c?input=1&output=1&command=echo&command=a+b\n";
    pipe(
        &cluster,
        "POST",
        "exec?command=echo&command=a%20b&stdin=true&stdout=true",
        exec,
    )
    .await;
    pipe(
        &cluster,
        "GET",
        "log?tailLines=1",
        "/containerLogs/default/p/c?tailLines=1\n",
    )
    .await;
}

/// Asks for an upgrade at a Pod's subresource, which arrives at the kubelet's path.
async fn pipe(cluster: &Cluster, method: &str, subresource: &str, arrived: &str) {
    let path = format!("{PODS}/p/{subresource}");
    // The kubelet's client certificate is one of the administrators', as upstream: good enough to call ourselves.
    let tls = cluster.pki.kubelet_client_config().expect("TLS");
    let stream = TcpStream::connect(cluster.api).await.expect("connected");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .expect("TLS");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP");
    tokio::spawn(connection.with_upgrades());
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "test")
        .body(Body::empty())
        .expect("a request");
    let mut response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[UPGRADE], "test");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("an upgrade"));
    stream.write_all(b"ping").await.expect("written");
    let mut all = String::new();
    stream.read_to_string(&mut all).await.expect("read");
    assert_eq!(all, format!("{arrived}ping"));
}
