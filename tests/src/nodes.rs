//! A cluster of several nodes on one machine.
//!
//! A node is a network namespace with one link to a bridge in a namespace of its own, and a data directory with its
//! own containerd, CNI configuration and address leases. Nothing of it is in the machine's own network. Dropping a
//! [`Bed`] ends every process and removes every namespace.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::etcd::Process;
use crate::{Cluster, condition, image, program, succeed, tail};

/// How long a machine that is away may remain unnoticed, and what follows may take.
pub const LOSS: Duration = Duration::from_secs(150);
/// Name of the node that is also the server.
pub const SERVER: &str = "server";

/// Nodes that Pods with a label are Ready on, each with the Pod's uid.
pub fn placed(cluster: &Cluster, label: &str) -> Vec<(String, String)> {
    let pods = cluster.get(&format!("pods -l {label}")).unwrap_or_default();
    let running = pods["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    running
        .iter()
        .filter(|pod| condition(pod, "Ready"))
        .map(|pod| (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["uid"])))
        .collect()
}

/// Nodes that Pods with a label are Ready on.
pub fn nodes(cluster: &Cluster, label: &str) -> BTreeSet<String> {
    placed(cluster, label).into_iter().map(|(node, _)| node).collect()
}

/// A server that is also a node, and agents.
pub struct Bed {
    /// The server, its clients and waits.
    pub cluster: Cluster,
    // Dropped after the cluster, which cleans up in its namespace.
    fabric: Fabric,
    agents: Vec<Agent>,
}

/// Another node.
struct Agent {
    name: String,
    process: Option<Child>,
}

/// Namespaces and links.
struct Fabric {
    number: u16,
    nodes: Vec<String>,
}

impl Fabric {
    /// A bridge without nodes. What a process that was killed left under these names goes.
    fn new(number: u16) -> Self {
        let fabric = Self {
            number,
            nodes: Vec::new(),
        };
        let list = succeed(Command::new("ip").args(["netns", "list"]));
        let prefix = fabric.namespace("");
        for name in list.lines().filter_map(|line| line.split(' ').next()) {
            if name.starts_with(&prefix) {
                ip(&["netns", "del", name]);
            }
        }
        let switch = fabric.namespace("switch");
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        fabric
    }

    fn namespace(&self, node: &str) -> String {
        format!("mzt{}-{node}", self.number)
    }

    /// The port of the bridge that a node's link ends at.
    fn port(&self, node: &str) -> String {
        let at = self.nodes.iter().position(|other| other == node).expect("a node");
        format!("port{at}")
    }

    fn address(&self, node: &str) -> String {
        let at = self.nodes.iter().position(|other| other == node).expect("a node");
        format!("10.240.{}.{}", self.number, at + 1)
    }

    /// Plugs a node in, if it is not.
    fn plug(&mut self, node: &str) {
        if self.nodes.iter().any(|other| other == node) {
            return;
        }
        self.nodes.push(node.to_owned());
        let (namespace, switch, port) = (self.namespace(node), self.namespace("switch"), self.port(node));
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        let link = ["link", "add", "eth0", "netns", &namespace, "type", "veth"];
        ip(&[&link[..], &["peer", "name", &port, "netns", &switch]].concat());
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
        let address = format!("{}/24", self.address(node));
        ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
    }

    fn set(&self, node: &str, state: &str) {
        ip(&["-n", &self.namespace("switch"), "link", "set", &self.port(node), state]);
    }

    /// A program that runs on a node.
    fn on(&self, node: &str, program: impl Into<PathBuf>) -> Command {
        within(&self.namespace(node), program.into())
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        for node in self.nodes.iter().map(String::as_str).chain(["switch"]) {
            let gone = Command::new("ip")
                .args(["netns", "del", &self.namespace(node)])
                .status();
            if !gone.is_ok_and(|status| status.success()) {
                eprintln!("namespace {} was not removed", self.namespace(node));
            }
        }
    }
}

/// A program in a network namespace. (`ip netns exec` would hide the cgroups' mounts.)
pub(crate) fn within(namespace: &str, program: PathBuf) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

fn ip(arguments: &[&str]) {
    succeed(Command::new("ip").args(arguments));
}

impl Bed {
    /// Starts a server that is also a node, with flags, and agents with these names; waits until all are Ready.
    pub fn start(flags: &[&str], agents: &[&str]) -> Self {
        let mut bed = Self::prepare(flags);
        bed.provide_image(SERVER);
        bed.cluster.launch();
        bed.wait_until_ready(SERVER);
        for agent in agents {
            bed.join(agent);
        }
        for agent in agents {
            bed.wait_until_ready(agent);
        }
        bed
    }

    /// A server with flags that was not launched yet.
    pub fn prepare(flags: &[&str]) -> Self {
        let mut cluster = Cluster::prepare(flags);
        let mut fabric = Fabric::new(cluster.slot.number);
        fabric.plug(SERVER);
        cluster.namespace = Some(fabric.namespace(SERVER));
        cluster.flags.push(format!("--node-name={SERVER}"));
        cluster.flags.push(format!("--node-ip={}", fabric.address(SERVER)));
        Self {
            cluster,
            fabric,
            agents: Vec::new(),
        }
    }

    /// Starts an etcd of one member on a machine of its own; the server is to keep its state there.
    pub fn etcd(&mut self) -> Process {
        self.fabric.plug("etcd");
        let url = format!("http://{}:2379", self.fabric.address("etcd"));
        self.cluster.flags.push(format!("--datastore-endpoint={url}"));
        let namespace = self.fabric.namespace("etcd");
        let data = self.cluster.scratch().join("etcd");
        Process::start("etcd".to_owned(), move || {
            let mut command = within(&namespace, "etcd".into());
            command.arg("--data-dir").arg(&data);
            command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
            command.args(["--log-level", "error", "--unsafe-no-fsync"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        })
    }

    /// Another server of the cluster, on a machine of its own and with the first one's flags. It is to be launched, and
    /// to be dropped before the bed.
    pub fn another(&mut self, name: &str) -> Cluster {
        self.fabric.plug(name);
        let first = &self.cluster;
        let shared = first.flags.iter().filter(|flag| !flag.starts_with("--node-"));
        let own = [
            format!("--node-name={name}"),
            format!("--node-ip={}", self.fabric.address(name)),
        ];
        let flags = shared.cloned().chain(own).collect();
        Cluster::of(first.slot.clone(), flags, Some(self.fabric.namespace(name)))
    }

    /// URL of the server.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.fabric.address(SERVER), self.cluster.port())
    }

    /// The cluster's own token.
    pub fn token(&self) -> String {
        let path = self.cluster.data_dir().join("server/node-token");
        std::fs::read_to_string(path).expect("a token").trim().to_owned()
    }

    /// Address of a node.
    pub fn address(&self, node: &str) -> String {
        self.fabric.address(node)
    }

    /// Data directory of a node.
    pub fn data_dir(&self, node: &str) -> PathBuf {
        match node {
            SERVER => self.cluster.data_dir(),
            _ => self.cluster.scratch().join(node),
        }
    }

    /// What an agent wrote.
    pub fn log(&self, node: &str) -> PathBuf {
        match node {
            SERVER => self.cluster.log(),
            _ => self.cluster.scratch().join(format!("{node}.log")),
        }
    }

    /// A program on a node.
    pub fn on(&self, node: &str, program: &str) -> Command {
        self.fabric.on(node, program)
    }

    fn provide_image(&self, node: &str) {
        let images = self.data_dir(node).join("agent/images");
        std::fs::create_dir_all(&images).expect("a folder");
        std::fs::write(images.join("busybox.tar"), image::busybox()).expect("an archive");
    }

    /// `mizzen agent` on a node of this name, to be started with further flags.
    pub fn agent(&mut self, name: &str) -> Command {
        self.fabric.plug(name);
        let mut command = self.fabric.on(name, program());
        command
            .args(["agent", "--config=/nonexistent"])
            .arg(format!("--data-dir={}", self.data_dir(name).display()))
            .arg(format!("--server={}", self.url()))
            .arg(format!("--node-ip={}", self.fabric.address(name)))
            .arg(format!("--kubelet-port={}", self.cluster.port() + 1))
            .stdin(Stdio::null());
        command
    }

    /// Starts an agent with the cluster's token.
    pub fn join(&mut self, name: &str) {
        let token = self.token();
        self.join_with(name, &token, &[]);
    }

    /// Starts an agent with a token and flags.
    pub fn join_with(&mut self, name: &str, token: &str, flags: &[&str]) {
        self.provide_image(name);
        let log = File::options().create(true).append(true).open(self.log(name));
        let log = log.expect("a log file");
        let mut command = self.agent(name);
        if !flags.iter().any(|flag| flag.starts_with("--node-name=")) {
            command.arg(format!("--node-name={name}"));
        }
        command
            .args(flags)
            .env("MIZZEN_TOKEN", token)
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let process = Some(command.spawn().expect("mizzen starts"));
        match self.agents.iter_mut().find(|agent| agent.name == name) {
            Some(agent) => agent.process = process,
            None => self.agents.push(Agent {
                name: name.to_owned(),
                process,
            }),
        }
    }

    /// Waits until a node is Ready and has [`image::IMAGE`].
    #[track_caller]
    pub fn wait_until_ready(&self, node: &str) {
        self.cluster.wait(&format!("node {node} to be Ready"), |cluster| {
            cluster.get(&format!("node {node}")).is_ok_and(|node| {
                // Few Pods bear that: whatever waited for one would fail without saying why.
                assert!(!condition(&node, "DiskPressure"), "this machine's disk is nearly full");
                condition(&node, "Ready") && node["status"]["images"].to_string().contains(image::IMAGE)
            })
        });
    }

    /// Takes a node's link down: it runs on, and nobody reaches it.
    pub fn cut(&self, node: &str) {
        self.fabric.set(node, "down");
    }

    /// Brings a node's link back.
    pub fn heal(&self, node: &str) {
        self.fabric.set(node, "up");
    }

    /// Ends an agent as a service manager does; its containers run on.
    pub fn stop(&mut self, node: &str) {
        self.end(node, Signal::SIGTERM);
    }

    /// Ends an agent the hard way; its containers run on.
    pub fn kill(&mut self, node: &str) {
        self.end(node, Signal::SIGKILL);
    }

    /// Switches a machine off: its agent and its containers end, its files stay.
    pub fn switch_off(&mut self, node: &str) {
        self.kill(node);
        succeed(&mut self.killall(node));
    }

    fn killall(&self, node: &str) -> Command {
        let mut killall = self.fabric.on(node, program());
        let data_dir = format!("--data-dir={}", self.data_dir(node).display());
        killall.args(["killall", &data_dir]);
        killall
    }

    fn end(&mut self, node: &str, signal: Signal) {
        let agent = self
            .agents
            .iter_mut()
            .find(|agent| agent.name == node)
            .expect("an agent");
        if let Some(mut process) = agent.process.take() {
            let id = i32::try_from(process.id()).expect("a process id");
            kill(Pid::from_raw(id), signal).expect("a process to end");
            process.wait().expect("it ends");
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            if let Some(mut process) = agent.process.take() {
                process.kill().ok();
                process.wait().ok();
            }
        }
        for agent in &self.agents {
            if std::thread::panicking() {
                eprintln!(
                    "--- end of the log of {}\n{}",
                    agent.name,
                    tail(&self.log(&agent.name), 4000)
                );
            }
            let output = self.killall(&agent.name).output();
            if !output.as_ref().is_ok_and(|output| output.status.success()) {
                eprintln!("killall on {} failed: {output:?}", agent.name);
            }
        }
    }
}
