//! The terminal UI as a person uses it: a terminal of its own, keys in, a screen out; against a control plane
//! that is killed and started again beneath it.

#[path = "tui/cable.rs"]
mod cable;
#[path = "tui/simulated.rs"]
mod simulated;
#[path = "tui/walk.rs"]
mod walk;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mizzen_tests::{Cluster, can_run_containers, pause, program};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a screen may take to say something.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the screen may tell what is not so any more.
const TRUE_AGAIN: Duration = Duration::from_secs(2);

/// The console in a terminal.
struct Console {
    child: Child,
    terminal: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Console {
    fn start(cluster: &Cluster, size: (u16, u16), arguments: &[&str]) -> Self {
        Self::start_with(&cluster.kubeconfig(), cluster.scratch(), size, arguments)
    }

    fn start_with(kubeconfig: &Path, home: &Path, size: (u16, u16), arguments: &[&str]) -> Self {
        Self::start_through(&[], kubeconfig, home, size, arguments)
    }

    /// As the last word of another command.
    fn start_through(
        through: &[String],
        kubeconfig: &Path,
        home: &Path,
        (columns, rows): (u16, u16),
        arguments: &[&str],
    ) -> Self {
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
            .args(through)
            .arg(program())
            .arg("tui")
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("KUBE_EDITOR", home.join("editor"))
            .current_dir(home)
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

    /// Sees a text within the time in which the screen must be true again.
    #[track_caller]
    fn sees_soon(&self, text: &str) {
        let start = Instant::now();
        self.sees(text);
        let took = start.elapsed();
        assert!(took < TRUE_AGAIN, "{text:?} took {took:?}");
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        self.waits(text, |screen| screen.contains(text));
    }

    /// A command line.
    #[track_caller]
    fn goes(&mut self, line: &str, sees: &str) {
        self.keys(&format!(":{line}\r"));
        self.sees(sees);
    }

    /// A key, and what it leads to.
    #[track_caller]
    fn press(&mut self, key: &str, sees: &str) {
        self.keys(key);
        self.sees(sees);
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
    console.sees_soon("● live");
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

const ROLE: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: jane, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules:
- {apiGroups: [''], resources: [pods, pods/log, services], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: jane, namespace: shop}]
";

#[test]
fn a_service_account_sees_what_it_may_and_is_told_what_it_may_not() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with(&["--disable-agent"]);
    cluster.run(&["create", "namespace", "shop"]);
    cluster.apply(ROLE);
    cluster.apply(DEPLOYMENT);
    let token = cluster.run(&["create", "token", "-n", "shop", "jane"]);
    let kubeconfig = cluster.scratch().join("jane.yaml");
    std::fs::copy(cluster.kubeconfig(), &kubeconfig).expect("a copy");
    let config = |arguments: &[&str]| {
        let mut command = cluster.kubectl(&["config"]);
        mizzen_tests::succeed(command.args(arguments).env("KUBECONFIG", &kubeconfig));
    };
    config(&["set-credentials", "jane", &format!("--token={}", token.trim())]);
    config(&["set-context", "--current", "--user=jane", "--namespace=shop"]);

    let mut console = Console::start_with(&kubeconfig, cluster.scratch(), (200, 40), &[]);
    console.sees("pods(shop)[3]");
    console.sees("(no delete pods)");
    console.keys("\x04");
    console.sees("you may not delete pods here");
    // Namespaces cannot be listed; those in use are offered all the same.
    console.keys(":ns\r");
    console.sees("the verb list is missing on namespaces");
    console.keys(":dp sh");
    console.sees(":dp shop");
    console.keys("\t\r");
    console.sees("deployments(shop)[1]");
    console.keys("0");
    console.sees("the verb list is missing on deployments in any namespace");
    console.keys("1");
    console.sees("deployments(shop)[1]");
    console.keys("\x03");
    assert!(console.ends(), "the terminal is not as it was");
}

#[test]
fn another_servers_api_is_read_and_its_changes_are_followed() {
    use simulated::Simulated;
    let scratch = tempfile::tempdir().expect("a directory");
    let (kubeconfig, credentials) = (scratch.path().join("config"), scratch.path().join("credentials"));
    std::fs::write(&credentials, Simulated::credentials("first")).expect("a file");
    let server = Simulated::start("first");
    server.kubeconfig(&kubeconfig, &credentials, "shop");
    let pod = |name: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]}, "status": {"phase": "Running"}})
    };
    server.put("pods", pod("web-1"));
    let arguments = ["--read-only"];
    let mut console = Console::start_with(&kubeconfig, scratch.path(), (160, 40), &arguments);
    console.sees("pods(shop)[1]");
    console.sees("v1.30.0-other");
    console.sees("read-only");
    server.put("pods", pod("web-2"));
    console.sees_soon("pods(shop)[2]");
    console.keys("0");
    console.sees("the verb list is missing on pods in any namespace");
    console.keys("1");
    console.sees("pods(shop)[2]");

    // The token expires: the program that gave it is asked again, and what happened meanwhile is seen.
    std::fs::write(&credentials, Simulated::credentials("second")).expect("a file");
    server.expect_token("second");
    server.put("pods", pod("web-3"));
    console.sees_soon("pods(shop)[3]");
    console.sees_soon("● live");
    // As long as it gives no good one, that is said, and the last known rows stay.
    server.expect_token("third");
    console.sees("credentials refused or expired");
    console.sees("pods(shop)[3]");
    std::fs::write(&credentials, Simulated::credentials("third")).expect("a file");
    console.sees_soon("● live");

    // A kind comes while its definitions are looked at, goes while its objects are, and comes again.
    console.keys(":customresourcedefinitions\r");
    console.sees("there are no customresourcedefinitions");
    let widgets = ("/apis/example.com/v1", "widgets", "Widget", true);
    let widget = serde_json::json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w1", "namespace": "shop"}});
    server.put("widgets", widget);
    server.serve(widgets, true);
    console.sees_soon("customresourcedefinitions[1]");
    pause(Duration::from_secs(1));
    console.keys("\r");
    console.sees_soon("widgets(shop)[1]");
    server.serve(widgets, false);
    server.expect_token("third");
    console.sees("could not find the requested resource");
    server.serve(widgets, true);
    console.sees_soon("● live");
    console.sees("widgets(shop)[1]");
    console.keys(":q\r");
    assert!(console.ends(), "the terminal is not as it was");
}

#[test]
fn a_network_that_is_cut_is_noticed_and_what_happened_meanwhile_is_seen() {
    use simulated::Simulated;
    if !can_run_containers() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let (kubeconfig, credentials) = (scratch.path().join("config"), scratch.path().join("credentials"));
    std::fs::write(&credentials, Simulated::credentials("first")).expect("a file");
    let cable = cable::Cable::lay();
    let server = Simulated::start_at(&cable.address, "first");
    server.kubeconfig(&kubeconfig, &credentials, "shop");
    let pod = |name: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]}, "status": {"phase": "Running"}})
    };
    server.put("pods", pod("web-1"));
    let mut console = Console::start_through(&cable.enter(), &kubeconfig, scratch.path(), (160, 40), &[]);
    console.sees("pods(shop)[1]");
    console.sees("● live");
    for (round, seconds) in [1, 4, 15].into_iter().enumerate() {
        cable.cut();
        let cut = Instant::now();
        server.put("pods", pod(&format!("late-{round}")));
        if seconds > 3 {
            console.sees("cannot reach the server");
            // What is known stays, and keys are answered.
            console.keys(":pods\r");
            console.sees(&format!("pods(shop)[{}]", round + 1));
        }
        pause(Duration::from_secs(seconds).saturating_sub(cut.elapsed()));
        cable.mend();
        console.sees_soon(&format!("pods(shop)[{}]", round + 2));
        console.sees_soon("● live");
    }
    console.keys(":q\r");
    assert!(console.ends(), "the terminal is not as it was");
}
