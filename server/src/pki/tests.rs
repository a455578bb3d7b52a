//! The certificates as clients meet them: over real TLS connections to the real listener.

use super::*;
use crate::apiserver::listener::Listener;
use axum::Extension;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::os::unix::fs::PermissionsExt;

fn options(data_dir: &Path) -> Options {
    Options {
        data_dir: data_dir.to_owned(),
        names: vec!["host.example".into()],
        addresses: vec!["192.0.2.7".parse().unwrap()],
        service_address: "10.43.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
        server_url: "https://127.0.0.1:1".into(),
    }
}

/// A server that answers with what it knows of the client, and how to reach it.
struct Server {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Server {
    async fn start(pki: &Pki) -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener {
            socket,
            tls: pki.server_config().unwrap(),
            trust: pki.client_trust().unwrap(),
        };
        let whoami = |Extension(peer): Extension<PeerCertificate>| async move {
            match peer {
                PeerCertificate::None => "none".into(),
                PeerCertificate::Trusted(user, _) => format!("{} {:?}", user.name, user.groups),
                PeerCertificate::Untrusted(why) => format!("untrusted: {why}"),
            }
        };
        let stop = CancellationToken::new();
        let router = axum::Router::new().route("/", get(whoami));
        let task = tokio::spawn(listener.serve(router, stop.clone()));
        Self { address, stop, task }
    }
}

/// One request over a connection of its own: the answer's text, and the server's certificate.
async fn ask(
    server: &Server,
    ca: &Authority,
    name: &str,
    client: Option<&Issued>,
    protocol: &str,
) -> Result<(String, CertificateDer<'static>)> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.chain()[0].clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(issued) => builder.with_client_auth_cert(
            issued.certified.cert.clone(),
            PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?,
        )?,
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = tokio::net::TcpStream::connect(server.address).await?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned())?, stream)
        .await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let request = http::Request::get("https://localhost/").body(axum::body::Body::empty())?;
    let response = if protocol == "h2" {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    Ok((String::from_utf8(body.into())?, certificate))
}

#[tokio::test]
async fn clients_are_known_by_certificates_of_our_client_ca_only() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(&options(directory.path())).unwrap();
    let node = pki.node("n1", &[]).unwrap();
    let server = Server::start(&pki).await;
    let foreign = Arc::new(Authority::open(directory.path(), "foreign", "foreign").unwrap());
    let forged = Profile::client("system:admin", Some("system:masters"));
    let forged = Leaf::open(directory.path(), "forged", forged, foreign).unwrap();
    let nameless = Profile::client("", Some("system:masters"));
    let nameless = Leaf::open(directory.path(), "nameless", nameless, pki.client_ca.clone()).unwrap();
    for (client, protocol, expect) in [
        (None, "h2", "none"),
        (None, "http/1.1", "none"),
        (
            Some(pki.admin()),
            "h2",
            r#"system:admin ["system:masters", "system:authenticated"]"#,
        ),
        (
            Some(pki.admin()),
            "http/1.1",
            r#"system:admin ["system:masters", "system:authenticated"]"#,
        ),
        (
            Some(node.client),
            "h2",
            r#"system:node:n1 ["system:nodes", "system:authenticated"]"#,
        ),
        // Issued by us, but to serve with: neither its CA nor its purpose lets it be a client's.
        (
            Some(node.serving),
            "h2",
            "untrusted: invalid peer certificate: certificate does not allow extended key usage for client authentication, allows server authentication",
        ),
        (
            Some(Arc::new(forged)),
            "h2",
            "untrusted: invalid peer certificate: UnknownIssuer",
        ),
        (
            Some(Arc::new(nameless)),
            "h2",
            "untrusted: the certificate names no user",
        ),
    ] {
        let issued = client.map(|leaf| leaf.current());
        let (answer, _) = ask(&server, pki.server_ca(), "localhost", issued.as_deref(), protocol)
            .await
            .unwrap();
        assert_eq!(answer, expect);
    }
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_server_answers_to_its_names_and_takes_up_a_renewed_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::open(&options(directory.path())).unwrap();
    let server = Server::start(&pki).await;
    let mut first = None;
    for name in [
        "kubernetes",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "host.example",
        "127.0.0.1",
        "::1",
        "192.0.2.7",
        "10.43.0.1",
    ] {
        let (_, certificate) = ask(&server, pki.server_ca(), name, None, "h2").await.unwrap();
        first = Some(certificate);
    }
    assert!(
        ask(&server, pki.server_ca(), "other.example", None, "h2")
            .await
            .is_err()
    );
    assert!(ask(&server, pki.client_ca(), "localhost", None, "h2").await.is_err());

    pki.renew(pki.serving.renewal_time());
    let (_, second) = ask(&server, pki.server_ca(), "localhost", None, "h2").await.unwrap();
    assert_ne!(first, Some(second));
}

#[test]
fn a_restart_changes_no_file_and_private_ones_stay_private() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("admin.yaml");
    let snapshot = || {
        let pki = Pki::open(&options(directory.path())).unwrap();
        pki.node("n1", &["192.0.2.7".parse().unwrap()]).unwrap();
        pki.write_admin_kubeconfig(&kubeconfig, 0o600, "https://192.0.2.7:6443")
            .unwrap();
        let mut files = Vec::new();
        for folder in ["server/tls", "server/cred", "agent", "."] {
            let folder = directory.path().join(folder);
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let metadata = entry.metadata().unwrap();
                if metadata.is_file() {
                    let public = entry.path().extension().is_some_and(|e| e == "crt");
                    let mode = metadata.permissions().mode() & 0o777;
                    assert_eq!(mode, if public { 0o644 } else { 0o600 }, "{:?}", entry.path());
                    files.push((entry.path(), metadata.modified().unwrap()));
                }
            }
        }
        files.sort();
        files
    };
    let first = snapshot();
    assert_eq!(first.len(), 28, "{first:#?}");
    assert_eq!(first, snapshot());
    let config = kube::config::Kubeconfig::read_from(&kubeconfig).unwrap();
    assert_eq!(
        config.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
        Some("https://192.0.2.7:6443")
    );
}
