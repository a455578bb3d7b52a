//! The terminal UI as a person uses it: a terminal of its own, keys in, a screen out; against a control plane
//! that is killed and started again beneath it.

#[path = "tui/cable.rs"]
mod cable;
#[path = "tui/walk.rs"]
mod walk;

use std::time::{Duration, Instant};

use mizzen_tests::console::{Console, PATIENCE};
use mizzen_tests::simulated::{LAST, Simulated};
use mizzen_tests::{Cluster, can_run_containers, pause};
use nix::sys::signal::Signal;

/// How long a server may be gone before it is said.
const NOTICED: Duration = Duration::from_secs(6);

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
    let start = Instant::now();
    while !console.has_left() {
        assert!(start.elapsed() < PATIENCE, "it stops without giving the terminal back");
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
    console.sees("(no create pods/exec)");
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
    let scratch = tempfile::tempdir().expect("a directory");
    let (kubeconfig, credentials) = (scratch.path().join("config"), scratch.path().join("credentials"));
    std::fs::write(&credentials, Simulated::credentials("first")).expect("a file");
    let server = Simulated::start("first");
    server.kubeconfig(&kubeconfig, &credentials, "shop");
    let pod = |name: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]}, "status": {"phase": "Running"}})
    };
    let mut first = pod("web-1");
    first["status"]["containerStatuses"] =
        serde_json::json!([{"name": "main", "ready": true, "containerID": "one", "state": {"running": {}}}]);
    server.put("pods", first);
    let arguments = ["--read-only"];
    let mut console = Console::start_with(&kubeconfig, scratch.path(), (160, 40), &arguments);
    console.sees("pods(shop)[1]");
    console.sees("v1.30.0-other");
    console.sees("read-only");
    server.put("pods", pod("web-2"));
    console.sees_soon("pods(shop)[2]");
    server.print(1000, 1);
    console.press("l", LAST);
    console.sees("1001 lines");
    console.press("\x1b", "pods(shop)[2]");
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

#[test]
fn a_server_that_hangs_is_noticed_and_what_happens_afterwards_is_seen() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with(&["--disable-agent"]);
    cluster.run(&["create", "namespace", "shop"]);
    cluster.apply(DEPLOYMENT);
    let mut console = Console::start(&cluster, (160, 40), &["-n", "shop"]);
    console.sees("pods(shop)[3]");
    console.sees("● live");
    for (round, seconds) in [4, 12].into_iter().enumerate() {
        // Its kernel goes on to answer for it, and takes connections.
        cluster.hold(true);
        let held = Instant::now();
        console.sees("cannot reach the server");
        let noticed = held.elapsed();
        assert!(noticed < NOTICED, "round {round}: noticed after {noticed:?}");
        // What is known stays, keys are answered, and views that watch nothing say it too.
        console.sees("pods(shop)[3]");
        console.keys("?");
        console.sees("command prompt");
        console.sees("cannot reach the server");
        console.keys("\x1b");
        console.sees("pods(shop)[3]");
        pause(Duration::from_secs(seconds).saturating_sub(held.elapsed()));
        cluster.hold(false);
        console.sees_soon("● live");
        let pods = 5 - round;
        cluster.run(&["scale", "-n", "shop", "deployment/web", &format!("--replicas={pods}")]);
        console.sees(&format!("pods(shop)[{pods}]"));
        cluster.run(&["scale", "-n", "shop", "deployment/web", "--replicas=3"]);
        console.sees("pods(shop)[3]");
    }
    console.keys(":q\r");
    assert!(console.ends(), "the terminal is not as it was");
}

#[test]
fn a_terminal_is_used_for_what_it_can() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with(&["--disable-agent"]);
    cluster.run(&["create", "namespace", "shop"]);
    cluster.apply(DEPLOYMENT);
    let keys = cluster.scratch().join(".config/mizzen/keys.yaml");
    std::fs::create_dir_all(keys.parent().expect("a directory")).expect("a directory");
    std::fs::write(&keys, "describe: [D]\nfly: [f]\n").expect("a file");

    let locator = "pods?ns=shop,default&filter=web";
    let mut console = Console::start(&cluster, (120, 40), &[locator, "--record", "record"]);
    console.sees("pods(shop,default)[3] /web");
    // Keys of one's own, and what is wrong with them.
    console.press("\x1bOR", "notices[1]");
    console.sees("there is no binding named \"fly\"");
    console.press("\x1b", "pods(shop,default)[3] /web");
    console.press("d", "d does nothing here");
    console.press("D", "Controlled By:");
    console.press("\x1b", "pods(shop,default)[3] /web");
    // The mouse: a drag copies, a click selects, another goes in, the wheel moves.
    let (column, row) = console.place("web-");
    console.drag((column, row), (column + 3, row));
    console.sees("copied 4 characters");
    assert_eq!(console.copied(), "web-");
    console.drag((column, row + 1), (column, row + 1));
    console.press("c", "copied name web-");
    let second = console.copied();
    console.drag((column, row + 1), (column, row + 1));
    console.sees(&format!("containers(shop/{second})"));
    console.press("\x1b", "pods(shop,default)[3] /web");
    console.keys(&format!("\x1b[<65;{column};{row}M"));
    cluster.wait("another row to be selected", |_| {
        console.keys("c");
        console.copied() != second
    });
    // Another skin, and a window that is too small.
    assert!(console.colours() > 3);
    console.press("\x1bOS", "skin light");
    console.resize(30, 5);
    console.sees("too small: have 30×5");
    console.resize(120, 40);
    console.sees("pods(shop,default)[3] /web");
    console.keys("\x03");
    assert!(console.ends(), "the terminal is not as it was");
    let screen = replayed(&cluster.scratch().join("record"), locator);
    assert!(screen.contains("pods(shop,default)[3] /web"), "{screen}");

    let none = ["env".to_owned(), "NO_COLOR=1".to_owned()];
    let console = Console::start_through(&none, &cluster.kubeconfig(), cluster.scratch(), (120, 40), &["-A"]);
    console.sees("pods(all)[3]");
    assert_eq!(console.colours(), 0);

    let context = cluster.run(&["config", "current-context"]);
    let context = context.trim();
    let mut console = Console::start(&cluster, (120, 40), &["-n", "shop", "--protect", context]);
    console.sees("pods(shop)[3]");
    console.press("\x04", &format!("Type to confirm {context}"));
    console.press("\x1b[C\r", "what was typed is not the name");
    let names = || cluster.run(&["get", "pods", "-n", "shop", "-o", "name"]);
    let before = names();
    console.keys(&format!("{context}\r\x1b[C\r"));
    cluster.wait("another Pod in the place of one", |_| names() != before);
}

/// The screen after the events of a record.
fn replayed(record: &std::path::Path, view: &str) -> String {
    use mizzen_tui::app::{App, Setup};
    use mizzen_tui::bindings::Bindings;
    use mizzen_tui::event::Stamped;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    let record = std::fs::read_to_string(record).expect("a record");
    let mut events = record
        .lines()
        .map(|line| serde_json::from_str::<Stamped>(line).expect("an event"));
    let setup = Setup {
        view: view.to_owned(),
        ..Setup::default()
    };
    let first = events.next().expect("an event");
    let (mut app, _) = App::new(setup, Bindings::default(), first.at);
    for event in std::iter::once(first).chain(events) {
        app.update(event);
    }
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a terminal");
    terminal.draw(|frame| app.draw(frame)).expect("memory can be drawn on");
    terminal.backend().to_string()
}
