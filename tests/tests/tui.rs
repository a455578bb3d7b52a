//! The terminal UI as a person uses it: a terminal of its own, keys in, a screen out; against a control plane
//! that is killed and started again beneath it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mizzen_tests::{Cluster, can_run_containers, pause, program};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a screen may take to say something.
const PATIENCE: Duration = Duration::from_secs(20);

/// The console in a terminal.
struct Console {
    child: Child,
    terminal: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Console {
    fn start(cluster: &Cluster, (columns, rows): (u16, u16), arguments: &[&str]) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let side = || Stdio::from(pty.slave.try_clone().expect("the terminal"));
        // `setsid --ctty` makes it the controlling terminal, so that sizes and hang-ups are told.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program())
            .arg("tui")
            .args(arguments)
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("HOME", cluster.scratch())
            .env("TERM", "xterm-256color")
            .env("COLORTERM", "truecolor")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the console starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut output = File::from(pty.master.try_clone().expect("the terminal"));
        let model = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            // The terminal is gone when the console is.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                model.lock().expect("the screen").process(&bytes[..count]);
            }
        });
        Self {
            child,
            terminal: File::from(pty.master),
            screen,
        }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("the screen").screen().contents()
    }

    fn keys(&mut self, keys: &str) {
        self.terminal
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        self.waits(text, |screen| screen.contains(text));
    }

    #[track_caller]
    fn waits(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !holds(&self.text()) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited for {what:?}; on screen:\n{}",
                self.text()
            );
            pause(Duration::from_millis(10));
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .expect("the screen")
            .screen_mut()
            .set_size(rows, columns);
        let status = Command::new("stty")
            .args(["cols", &columns.to_string(), "rows", &rows.to_string()])
            .stdin(self.terminal.try_clone().expect("the terminal"))
            .status();
        assert!(status.expect("stty runs").success());
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the console runs");
    }

    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
            .unwrap_or('?')
    }

    /// Waits until the console has ended and gives whether the terminal is as it was before.
    #[track_caller]
    fn ends(&mut self) -> bool {
        let start = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end; on screen:\n{}",
                self.text()
            );
            pause(Duration::from_millis(10));
        }
        pause(Duration::from_millis(100));
        let model = self.screen.lock().expect("the screen");
        let screen = model.screen();
        !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: 'web:1'}]}
";

#[test]
fn a_cluster_is_watched_by_keys_alone() {
    if !can_run_containers() {
        return;
    }
    let mut cluster = Cluster::start_with(&["--disable-agent"]);
    cluster.run(&["create", "namespace", "shop"]);
    cluster.apply(DEPLOYMENT);
    let mut console = Console::start(&cluster, (120, 40), &["-n", "shop"]);
    console.sees("pods(shop)[3]");
    console.sees("Pending");

    // Into a Deployment and out again; what was filtered and selected is as it was.
    console.keys(":deploy\r");
    console.sees("deployments(shop)[1]");
    console.keys("\r");
    console.sees("pods(shop)[3] app=web");
    console.keys("d");
    console.sees("Controlled By:");
    console.keys("/Labels\r");
    console.sees("/Labels 1/1");
    console.keys("\x1b");
    console.waits("the search to be gone", |screen| !screen.contains("/Labels 1/1"));
    console.keys("\x1b");
    console.sees("pods(shop)[3]");
    console.keys("y");
    console.sees("apiVersion: v1");
    console.keys("\x1b");
    console.sees("pods(shop)[3]");
    console.keys("\r");
    console.sees("containers(shop/web-");
    console.keys("\x1b");
    console.sees("pods(shop)[3]");
    console.keys("\x1b");
    console.sees("deployments(shop)[1]");
    console.keys("?");
    console.sees("command prompt");
    console.keys("\x1b");
    console.sees("deployments(shop)[1]");

    // News arrive by themselves, and a filter follows the typing.
    console.keys(":pods\r");
    console.sees("pods(shop)[3]");
    cluster.run(&["scale", "-n", "shop", "deployment/web", "--replicas=5"]);
    console.sees("pods(shop)[5]");
    console.keys("/nothing");
    console.sees("none of 5 pods match /nothing");
    console.keys("\x1b");
    console.sees("pods(shop)[5]");

    // The server goes and comes back.
    cluster.kill();
    console.sees("cannot reach the server");
    console.sees("pods(shop)[5]");
    cluster.launch();
    console.sees("● live");
    cluster.run(&["scale", "-n", "shop", "deployment/web", "--replicas=2"]);
    console.sees("pods(shop)[2]");

    // Any size.
    for (columns, rows) in [(1, 1), (30, 5), (80, 24), (200, 60), (120, 40)] {
        console.resize(columns, rows);
        pause(Duration::from_millis(50));
    }
    console.sees("pods(shop)[2]");

    // Stopped and continued as a job.
    console.signal(Signal::SIGTSTP);
    let start = Instant::now();
    while console.state() != 'T' {
        assert!(start.elapsed() < PATIENCE, "it does not stop: {}", console.state());
        pause(Duration::from_millis(10));
    }
    console.signal(Signal::SIGCONT);
    console.sees("pods(shop)[2]");

    // The namespace goes while we are in it.
    cluster.run(&["delete", "namespace", "shop"]);
    console.sees("there are no pods in shop");

    console.keys("\x03");
    assert!(console.ends(), "the terminal is not as it was");
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with(&["--disable-agent"]);
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut console = Console::start(&cluster, (80, 24), &["nodes"]);
        console.sees("there are no nodes");
        console.signal(signal);
        assert!(console.ends(), "{signal}: the terminal is not as it was");
    }
    let mut console = Console::start(&cluster, (80, 24), &["nodes"]);
    console.sees("there are no nodes");
    console.keys(":q\r");
    assert!(console.ends(), ":q: the terminal is not as it was");
}
