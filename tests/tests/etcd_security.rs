//! An etcd that asks who we are: by certificate, and by name and password.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use mizzen_tests::etcd::{etcd, free_port};
use mizzen_tests::{Cluster, PATIENCE, can_run_containers, pause, program, read_until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const PASSWORD: &str = "s3cret";

/// A CA, and what it issued.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a CA");
        std::fs::write(directory.join("ca.crt"), own.pem()).expect("written");
        Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned(), name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).expect("written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// A flag whose value is one of the files.
    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.path(file).display())
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).expect("a file")
    }
}

/// Makes the one user, who may do all, and has every request ask who sends it.
async fn demand_passwords(authority: &Authority, endpoint: &str) {
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(authority.read("ca.crt")))
        .identity(Identity::from_pem(
            authority.read("client.crt"),
            authority.read("client.key"),
        ));
    let options = ConnectOptions::new().with_tls(tls);
    let endpoints: Vec<_> = endpoint.split(',').collect();
    let mut client = Client::connect(endpoints, Some(options)).await.expect("a client");
    let mut made = client.user_add("root", PASSWORD, None).await;
    let begun = std::time::Instant::now();
    while let Err(error) = &made {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        made = client.user_add("root", PASSWORD, None).await;
    }
    client.role_add("root").await.expect("a role");
    client.user_grant_role("root", "root").await.expect("granted");
    client.auth_enable().await.expect("enabled");
}

/// What a server says that cannot use the datastore.
fn refused(endpoint: &str, flags: &[&str], words: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Command::new(program())
        .args(["server", "--config=/nonexistent", "--disable-agent"])
        .arg(format!("--data-dir={}", directory.path().display()))
        .arg(format!("--https-listen-port={}", free_port()))
        .arg(format!("--datastore-endpoint={endpoint}"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mizzen starts");
    let mut output = server.stderr.take().expect("its output");
    let said = read_until(&mut output, words);
    assert!(!said.contains(PASSWORD), "a secret is told: {said}");
    server.kill().ok();
    server.wait().expect("it ends");
    let mut rest = String::new();
    output.read_to_string(&mut rest).ok();
}

#[test]
fn etcd_is_told_who_we_are() {
    if !can_run_containers() {
        return;
    }
    let world = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(world.path());
    authority.issue("member");
    authority.issue("client");
    let flags = [
        authority.flag("cert-file", "member.crt"),
        authority.flag("key-file", "member.key"),
        authority.flag("trusted-ca-file", "ca.crt"),
        "--client-cert-auth".to_owned(),
    ];
    let (mut members, endpoint) = etcd(world.path(), 3, &flags);
    let ca = authority.flag("datastore-cafile", "ca.crt");
    let certificate = authority.flag("datastore-certfile", "client.crt");
    let key = authority.flag("datastore-keyfile", "client.key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(demand_passwords(&authority, &endpoint));
    let named = |password: &str| endpoint.replacen("https://", &format!("https://root:{password}@"), 1);

    refused(&named(PASSWORD), &[&certificate, &key], "the datastore does not answer");
    refused(&named(PASSWORD), &[&ca], "the datastore does not answer");
    refused(&named("wrong"), &[&ca, &certificate, &key], "authentication failed");

    let named = format!("--datastore-endpoint={}", named(PASSWORD));
    let cluster = Cluster::start_with(&["--disable-agent", "--token=shared", &named, &ca, &certificate, &key]);
    // A member that starts anew does not know what it handed out before.
    for (number, member) in members.iter_mut().enumerate() {
        member.kill();
        let create = |name: &str| cluster.kubectl(&["create", "namespace", name, "--request-timeout=10s"]);
        let name = format!("without-{number}");
        cluster.wait("writes without a member", |_| {
            let output = create(&name).output().expect("kubectl runs");
            output.status.success() || String::from_utf8_lossy(&output.stderr).contains("AlreadyExists")
        });
        // Somebody watches.
        cluster.wait("controllers to see it", |c| {
            c.get(&format!("configmap kube-root-ca.crt -n {name}")).is_ok()
        });
        member.revive();
        pause(std::time::Duration::from_secs(2));
    }
    let log = std::fs::read_to_string(cluster.log()).expect("a log");
    assert!(!log.contains(PASSWORD), "a secret is told: {log}");
}
