//! What the whole-system tests share: a cluster of a test's own, and the clients that people use.
//!
//! A [`Cluster`] is the real program with real containers in a world of its own: data directory, ports,
//! address ranges, bridge and nftables table. Dropping it removes all of that. When a test fails, the end
//! of the server's log is printed.

pub mod browser;
pub mod console;
pub mod etcd;
pub mod image;
pub mod measure;
pub mod nodes;
pub mod simulated;
pub mod terminal;
pub mod web;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a state may take to come about before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test: `MIZZEN_TEST_BIN`, or the release build of this checkout.
pub fn program() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/mizzen");
    std::env::var_os("MIZZEN_TEST_BIN").map_or_else(built, PathBuf::from)
}

/// A client as released, such as `kubectl-1.35`; `tests/run` fetches them.
pub fn tool(name: &str) -> PathBuf {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    std::env::var_os("MIZZEN_TEST_TOOLS")
        .map_or_else(fetched, PathBuf::from)
        .join("bin")
        .join(name)
}

/// Whether this process may make containers; tests that need them say so and pass without.
pub fn can_run_containers() -> bool {
    let able = nix_is_root() && program().exists();
    if !able {
        eprintln!("skipped: needs root and a release build of mizzen");
    }
    able
}

fn nix_is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")))
}

/// A number that no other test on this machine has, held for as long as this lives.
struct Slot {
    number: u16,
    _lock: TcpListener,
}

impl Slot {
    fn take() -> Self {
        (0..90u16)
            .filter(|number| !routed(*number) && !served(*number))
            .find_map(|number| {
                Some(Self {
                    number,
                    _lock: TcpListener::bind(("127.0.0.1", 21000 + number)).ok()?,
                })
            })
            .expect("fewer than 90 clusters at once")
    }
}

/// Whether a number's Pod network is routed already: by a cluster that was killed before it could clean up.
fn routed(number: u16) -> bool {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let destinations = routes.lines().filter_map(|line| line.split('\t').nth(1));
    destinations
        .filter_map(|hex| u32::from_str_radix(hex, 16).ok())
        .any(|address| address.to_le_bytes()[..2] == [10, 50 + number as u8])
}

/// Whether a server that outlived its test has a number's port.
fn served(number: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port(number))).is_err()
}

fn port(number: u16) -> u16 {
    22000 + number * 10
}

/// A running cluster of one node.
pub struct Cluster {
    /// Shared by servers of one cluster, which are in different namespaces.
    slot: Arc<Slot>,
    dir: tempfile::TempDir,
    flags: Vec<String>,
    /// The network namespace that the server and its clients are in, if not the machine's own.
    namespace: Option<String>,
    server: Option<Child>,
}

impl Cluster {
    /// Starts a cluster and waits until its node is Ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with further flags of `mizzen server`.
    pub fn start_with(flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(flags);
        cluster.launch();
        if !flags.contains(&"--disable-agent") {
            cluster.wait("node to be Ready", |c| {
                c.get("nodes").is_ok_and(|nodes| condition(&nodes["items"][0], "Ready"))
            });
        }
        cluster
    }

    /// Starts a cluster that has [`image::IMAGE`].
    pub fn start_with_shell() -> Self {
        let mut cluster = Self::prepare(&[]);
        let images = cluster.data_dir().join("agent/images");
        std::fs::create_dir_all(&images).expect("a folder");
        std::fs::write(images.join("busybox.tar"), image::busybox()).expect("an archive");
        cluster.launch();
        cluster.wait("node to be Ready with its image", |c| {
            c.get("nodes").is_ok_and(|nodes| {
                condition(&nodes["items"][0], "Ready")
                    && nodes["items"][0]["status"]["images"].to_string().contains(image::IMAGE)
            })
        });
        cluster
    }

    /// A cluster that was not launched yet.
    pub fn prepare(flags: &[&str]) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self::of(Arc::new(Slot::take()), flags, None)
    }

    fn of(slot: Arc<Slot>, flags: Vec<String>, namespace: Option<String>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mz")
            .tempdir()
            .expect("a temporary directory");
        Self {
            slot,
            dir,
            flags,
            namespace,
            server: None,
        }
    }

    /// Port of the API.
    pub fn port(&self) -> u16 {
        port(self.slot.number)
    }

    /// The first of the node ports that are this cluster's.
    pub fn node_port(&self) -> u16 {
        30000 + self.slot.number * 20
    }

    /// Data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// What the server wrote.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("launched").id()
    }

    /// Starts the server and waits until it answers.
    pub fn launch(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let n = self.slot.number;
        let defaults = [
            "--config=/nonexistent".to_owned(),
            format!("--data-dir={}", self.data_dir().display()),
            format!("--write-kubeconfig={}", self.kubeconfig().display()),
            format!("--https-listen-port={}", self.port()),
            format!("--kubelet-port={}", self.port() + 1),
            format!("--cluster-cidr=10.{}.0.0/16", 50 + n),
            format!("--service-cidr=10.{}.0.0/16", 140 + n),
            format!("--service-node-port-range={}-{}", 30000 + n * 20, 30019 + n * 20),
        ];
        let is_given = |flag: &str| {
            let (name, _) = flag.split_once('=').expect("a flag with its value");
            self.flags.iter().any(|given| given.split('=').next() == Some(name))
        };
        let server = self
            .command(program())
            .arg("server")
            .args(defaults.iter().filter(|flag| !is_given(flag)))
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("mizzen starts");
        self.server = Some(server);
        self.wait("API to be ready", |c| {
            c.kubeconfig().exists()
                && c.kubectl(&["get", "--raw", "/readyz"])
                    .output()
                    .is_ok_and(|o| o.status.success())
        });
    }

    /// A program where the server is.
    fn command(&self, program: PathBuf) -> Command {
        match &self.namespace {
            Some(namespace) => nodes::within(namespace, program),
            None => Command::new(program),
        }
    }

    /// Ends the server the hard way.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("a server to kill");
            server.wait().expect("it ends");
        }
    }

    /// Stops the server's process where it is, or lets it go on: the kernel still answers for it.
    pub fn hold(&self, held: bool) {
        hold(self.pid(), held);
    }

    /// A command of kubectl 1.35.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        self.client("kubectl-1.35", arguments)
    }

    /// A command of a client with this cluster's kubeconfig.
    pub fn client(&self, name: &str, arguments: &[&str]) -> Command {
        let program = if name == "mizzen" { program() } else { tool(name) };
        let mut command = self.command(program);
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            // Editors' files of refused edits are kept.
            .env("TMPDIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl and gives its output; anything but success fails the test.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.kubectl(arguments))
    }

    /// Applies a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        let file = self.scratch().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("a manifest");
        self.run(&["apply", "-f", file.to_str().expect("a path")]);
    }

    /// An object or a list as JSON: arguments of `kubectl get`, separated by spaces.
    pub fn get(&self, arguments: &str) -> Result<Value, String> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments.split(' '));
        let output = self.kubectl(&all).output().expect("kubectl runs");
        match output.status.success() {
            true => serde_json::from_slice(&output.stdout).map_err(|e| e.to_string()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Waits until something holds, and fails the test when it does not come about.
    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl FnMut(&Self) -> bool) {
        self.wait_at_most(PATIENCE, what, holds);
    }

    /// As [`Cluster::wait`], with another patience.
    #[track_caller]
    pub fn wait_at_most(&self, patience: Duration, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < patience, "waited {patience:?} for the {what}");
            pause(Duration::from_millis(50));
        }
    }
}

/// Simulated nodes, which end with this value.
pub struct Simulation(Child);

impl Simulation {
    /// Holds it, or lets it go on.
    pub fn hold(&self, held: bool) {
        hold(self.0.id(), held);
    }
}

fn hold(process: u32, held: bool) {
    let signal = if held { Signal::SIGSTOP } else { Signal::SIGCONT };
    let id = i32::try_from(process).expect("a process id");
    kill(Pid::from_raw(id), signal).expect("a process");
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Cluster {
    /// Joins nodes without machines: Pods become Ready on them, and nothing runs.
    pub fn simulate(&self, nodes: usize) -> Simulation {
        self.simulate_as("sim-", nodes)
    }

    /// As [`Cluster::simulate`], with names that begin otherwise.
    pub fn simulate_as(&self, prefix: &str, nodes: usize) -> Simulation {
        let (nodes, prefix) = (nodes.to_string(), format!("--simulate-prefix={prefix}"));
        let child = self
            .command(program())
            .args(["agent", "--simulate", &nodes, &prefix, "--kubeconfig"])
            .arg(self.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Simulation(child.expect("mizzen starts"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in ["get nodes,pods -A -o wide", "get events -A --sort-by=.lastTimestamp"] {
                let words: Vec<_> = what.split(' ').chain(["--request-timeout=5s"]).collect();
                let told = self.kubectl(&words).output().map(|output| output.stdout);
                let told = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
                let lines: Vec<_> = told.lines().collect();
                eprintln!("--- {what}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
            eprintln!("--- end of the server's log\n{}", tail(&self.log(), 8000));
        }
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
        let data_dir = format!("--data-dir={}", self.data_dir().display());
        let output = self
            .command(program())
            .args(["killall", &data_dir])
            .output()
            .expect("killall runs");
        if !output.status.success() && !std::thread::panicking() {
            panic!("killall failed: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Between two looks at a state: clients of other makes tell us nothing, so they have to be asked.
pub fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a test waits for another process's state")]
    std::thread::sleep(time);
}

/// Runs a command and gives its output; anything but success fails the test.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the command runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Runs a command that must fail, and gives what it says on stderr.
#[track_caller]
pub fn fail(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(
        !output.status.success(),
        "{command:?} succeeded: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads what a process writes until something stands in it; gives all of it.
#[track_caller]
pub fn read_until(output: &mut (impl Read + AsFd), part: &str) -> String {
    let begun = Instant::now();
    let mut seen = String::new();
    while !seen.contains(part) {
        let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(500u16)).expect("polled") == 0 {
            assert!(begun.elapsed() < PATIENCE, "waited for {part:?} in {seen:?}");
            continue;
        }
        let mut buffer = [0; 32 << 10];
        let length = output.read(&mut buffer).expect("output");
        assert_ne!(length, 0, "the output ended without {part:?}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    seen
}

/// Whether a condition of an object is True.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// The end of a text file.
pub fn tail(path: &Path, bytes: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_else(|error| error.to_string())
}
