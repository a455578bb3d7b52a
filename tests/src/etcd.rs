//! Members of etcd, as Debian has it, and other processes that are killed and started again.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A port that nobody has at present.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A process that is killed and started again.
pub struct Process {
    /// What it is, for messages.
    pub name: String,
    command: Box<dyn Fn() -> Command + Send>,
    child: Option<Child>,
}

impl Process {
    /// Starts it.
    pub fn start(name: String, command: impl Fn() -> Command + Send + 'static) -> Self {
        let mut process = Self {
            name,
            command: Box::new(command),
            child: None,
        };
        process.revive();
        process
    }

    /// Starts it again.
    pub fn revive(&mut self) {
        self.child = Some((self.command)().spawn().expect("it starts"));
    }

    /// Ends it the hard way.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Members with further flags, and the endpoint that names them all; clients use TLS where a flag gives a certificate.
pub fn etcd(directory: &Path, size: usize, flags: &[String]) -> (Vec<Process>, String) {
    let secure = flags.iter().any(|flag| flag.starts_with("--cert-file="));
    let scheme = if secure { "https" } else { "http" };
    let url = |scheme: &str| format!("{scheme}://127.0.0.1:{}", free_port());
    let urls: Vec<_> = (0..size).map(|_| (url(scheme), url("http"))).collect();
    let cluster = urls.iter().enumerate().map(|(n, (_, peer))| format!("m{n}={peer}"));
    let cluster = cluster.collect::<Vec<_>>().join(",");
    let members = urls.iter().enumerate().map(|(n, (client, peer))| {
        let (client, peer, cluster) = (client.clone(), peer.clone(), cluster.clone());
        let (data, flags) = (directory.join(format!("etcd-{n}")), flags.to_vec());
        Process::start(format!("member {n}"), move || {
            let mut command = Command::new("etcd");
            command
                .arg(format!("--name=m{n}"))
                .arg(format!("--data-dir={}", data.display()))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &cluster, "--log-level", "error"])
                .args(&flags)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        })
    });
    let members = members.collect();
    let endpoints: Vec<_> = urls.into_iter().map(|(client, _)| client).collect();
    (members, endpoints.join(","))
}
