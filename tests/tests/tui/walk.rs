//! Every view and every action, by keys alone, on the demo's workload.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use mizzen_tests::console::{Console, PATIENCE};
use mizzen_tests::{Cluster, can_run_containers, pause};
use nix::sys::signal::Signal;
use serde_json::Value;

const RIGHT: &str = "\x1b[C";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const ESC: &str = "\x1b";
const CLEAR: &str = "\x15";
/// From Cancel, which has the focus where something is destroyed, to the other button.
const AGREE: &str = "\x1b[C\r";

/// After this a question that stands is another one.
const AGAIN: Duration = Duration::from_secs(2);

/// Beside the demo: a Pod of two containers that ended once, what it mounts, and a CronJob.
const MORE: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: demo}
stringData: {password: swordfish}
---
apiVersion: v1
kind: Pod
metadata: {name: duo, namespace: demo, labels: {app: duo}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - name: one
    image: mizzen.test/busybox:1
    command: [sh, -c, "if [ -f /scratch/again ]; then echo one goes on; else touch /scratch/again; echo one ends; exit 1; fi; sleep 1000"]
    envFrom: [{secretRef: {name: keys}}]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  - name: two
    image: mizzen.test/busybox:1
    command: [sh, -c, "echo two goes on; sleep 1000"]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick, namespace: demo}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "mizzen.test/busybox:1", command: ["true"]}]}}}
"#;

/// What stands in for an editor: it makes templates complete, and changes a label.
const EDITOR: &str = r#"#!/bin/sh
exec sed -i -e 's/^  name: NAME$/  name: made/' -e 's/KEY: VALUE/key: from-the-editor/' -e '0,/app: hello$/s/app: hello$/app: hello\n    edited: here/' "$1"
"#;

/// What is waited for of an object.
type Holds<'a> = &'a dyn Fn(&Value) -> bool;

fn field<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or(&Value::Null)
}

#[test]
fn everything_is_done_by_keys_alone() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with_shell();
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo.yaml");
    let demo = std::fs::read_to_string(demo).expect("the demo");
    cluster.apply(&demo.replace(": 3008", &format!(": {}", cluster.node_port() / 10)));
    cluster.apply(MORE);
    let editor = cluster.scratch().join("editor");
    std::fs::write(&editor, EDITOR).expect("a file");
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let hello = |what: &str, holds: Holds<'_>| {
        cluster.wait(what, |c| {
            c.get("deployment hello -n demo").is_ok_and(|object| holds(&object))
        });
    };
    let rolled = |object: &Value| {
        let number = |path: &str| field(object, path).as_i64().unwrap_or(0);
        let wanted = number("/spec/replicas");
        number("/status/observedGeneration") == number("/metadata/generation")
            && ["updatedReplicas", "readyReplicas", "replicas"]
                .iter()
                .all(|name| number(&format!("/status/{name}")) == wanted)
    };
    hello("the demo to run", &rolled);

    let mut console = Console::start(&cluster, (180, 50), &["-n", "demo"]);
    console.sees("pods(demo)[4]");
    rows(&mut console);
    cluster.wait("a table in a file", |_| files(&cluster, "csv") == 1);
    read(&mut console, &cluster);
    find_around(&mut console);
    transfer(&mut console, &cluster);
    measured(&mut console);
    console.goes("deploy demo", "deployments(demo)[1]");
    workloads(&mut console, &cluster, &hello, &rolled);
    streams(&mut console, &cluster);
    make_and_delete(&mut console, &cluster);
    nodes(&mut console, &cluster);

    // What was done is told, with the commands that would have done the same.
    console.keys("\x1bOR");
    for command in [
        "scale",
        "set image",
        "rollout restart",
        "drain",
        "delete",
        "apply",
        "cp",
    ] {
        console.sees(command);
    }
    console.press(ESC, "nodes[1]");
    console.keys("\x03");
    assert!(console.ends(), "the terminal is not as it was");
}

/// Which rows and columns of a table are shown, in which order, and where rows lead.
fn rows(console: &mut Console) {
    console.press("T", "RESTARTS↓");
    console.press("T", "RESTARTS↑");
    console.press("\x1b[1;2CO", "NAME↑");
    console.press("\x17", "NOMINATED NODE");
    console.keys("\x17");
    console.waits("the narrow table", |screen| !screen.contains("NOMINATED NODE"));
    // The column chooser: the first column's tick goes, and comes back.
    let chooses = |console: &mut Console| {
        console.press("\x1b[15~", "space ticks a column");
        console.keys(&format!(" {UP}\r"));
        console.waits("the table", |screen| !screen.contains("space ticks a column"));
    };
    console.sees("READY");
    chooses(console);
    console.waits("a table without its READY", |screen| {
        !screen.contains("READY") && screen.contains("RESTARTS")
    });
    chooses(console);
    console.sees("READY");
    console.press("\x1b[15~", "space ticks a column");
    console.keys(ESC);
    console.waits("the table", |screen| !screen.contains("space ticks a column"));
    console.press("\x1a", "] faults");
    console.keys("\x1a");
    console.waits("all rows", |screen| !screen.contains("] faults"));
    for (filter, rows) in [
        ("hel+o", "[3/4]"),
        ("!hello", "[1/4]"),
        ("-f hlo", "[3/4]"),
        ("-l app=duo", "[1/4]"),
        ("status:zzz", "[0/4]"),
        ("!node:zzz name:duo", "[1/4]"),
    ] {
        console.press(&format!("/{filter}\r"), &format!("pods(demo){rows} /{filter}"));
        console.press(ESC, "pods(demo)[4]");
    }
    // What was typed before is found again.
    console.press("/\x1b[A", "!node:zzz name:duo");
    console.keys(ESC);
    console.waits("no prompt", |screen| !screen.contains("!node:zzz name:duo"));
    console.press("/hello\r", "pods(demo)[3/4] /hello");
    console.press("o", "nodes[1]");
    console.press("\r", "of node");
    console.sees("% asked");
    console.press(ESC, "nodes[1]");
    console.press(ESC, "pods(demo)[3/4] /hello");
    console.press("J", "replicasets(demo)[1]");
    console.press(ESC, "pods(demo)[3/4] /hello");
    console.press(ESC, "pods(demo)[4]");
    console.press("?", "command prompt");
    console.press(ESC, "pods(demo)[4]");
    console.press("~", "~ does nothing here");
    console.press("0", "pods(all)[");
    console.press("1", "pods(demo)[4]");
    console.press("0", "pods(all)[");
    console.press("w", "pods(demo)[4]");
    console.keys("g G");
    console.press("\x00", "4 marked");
    console.keys("\x1c");
    console.waits("no marks", |screen| !screen.contains("marked"));
    for (key, shown) in [("\x05", "namespace demo"), ("\x07", "\n pods")] {
        console.keys(key);
        console.waits("less around the view", |screen| !screen.contains(shown));
        console.press(key, shown);
    }
    console.press("\x13", "saved pods-");
}

/// Files of an ending where the console was started.
fn files(cluster: &Cluster, ending: &str) -> usize {
    let files = std::fs::read_dir(cluster.scratch()).expect("a directory").flatten();
    files
        .filter(|file| file.path().extension().is_some_and(|end| end == ending))
        .count()
}

/// What is measured comes by itself, and rows are sorted by it.
fn measured(console: &mut Console) {
    console.goes("po demo", "pods(demo)[4]");
    for (key, heading) in [("C", "CPU"), ("M", "MEM")] {
        for arrow in ["↓", "↑"] {
            console.press(key, &format!("{heading}{arrow}"));
            console.waits(&format!("what is measured, sorted by {heading}{arrow}"), |screen| {
                let measures = column(screen, heading);
                let largest_first = arrow == "↓";
                measures.len() == 4 && measures.is_sorted_by(|a, b| if largest_first { a >= b } else { a <= b })
            });
        }
    }
    console.press("N", "NAME↑");
    console.goes("no", "nodes[1]");
    console.waits("what the node uses", |screen| {
        column(screen, "%MEM").iter().any(|value| *value > 0)
    });
    console.goes("pulse", "of ");
    console.waits("what is used of what there is", |screen| {
        let lines = screen.lines().filter_map(|line| line.split_once(" used,"));
        lines
            .filter(|(_, rest)| rest.contains(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']))
            .count()
            == 2
    });
}

/// The numbers below a heading, without their units; what is no number is left out.
fn column(screen: &str, heading: &str) -> Vec<u64> {
    let words = |line: &str| -> Vec<(usize, String)> {
        let characters: Vec<char> = line.chars().collect();
        let starts = |at: &usize| characters[*at] != ' ' && (*at == 0 || characters[*at - 1] == ' ');
        let word = |at: usize| characters[at..].iter().take_while(|c| **c != ' ').collect();
        (0..characters.len()).filter(starts).map(|at| (at, word(at))).collect()
    };
    let mut lines = screen.lines().skip_while(|line| !line.contains("NAME"));
    let Some(headings) = lines.next().map(words) else {
        return Vec::new();
    };
    let wanted = |(_, word): &&(usize, String)| word.trim_end_matches(['↑', '↓']) == heading;
    let Some((from, to)) = headings
        .iter()
        .find(wanted)
        .map(|(at, word)| (*at, at + word.chars().count()))
    else {
        return Vec::new();
    };
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    let value = |line: &str| {
        words(line)
            .into_iter()
            .filter(|(at, _)| (from..to + 2).contains(at))
            .find_map(|(_, word)| digits(&word))
    };
    lines.filter(|line| line.starts_with('│')).filter_map(value).collect()
}

/// Texts: descriptions, YAML, secrets, logs.
fn read(console: &mut Console, cluster: &Cluster) {
    console.press("/duo\r", "pods(demo)[1/4]");
    console.press("d", "Containers:");
    console.press("/Restart Count\r", "/Restart Count 1/2");
    console.press("n", "/Restart Count 2/2");
    console.keys(ESC);
    console.waits("the search to end", |screen| !screen.contains("Count 2/2"));
    console.press(ESC, "pods(demo)[1/4]");
    console.press("y", "kind: Pod");
    console.press("m", "managedFields:");
    console.press(ESC, "pods(demo)[1/4]");
    console.press("\r", "containers(demo/duo)");
    console.press(ESC, "pods(demo)[1/4]");

    cluster.wait("the container to have ended once", |c| {
        c.get("pod duo -n demo").is_ok_and(|pod| {
            *field(&pod, "/status/containerStatuses/0/restartCount") != 0
                && *field(&pod, "/status/containerStatuses/0/ready") == true
        })
    });
    console.press("l", "one goes on");
    console.press("a", "two goes on");
    for (key, word) in [
        ("t", "time:on"),
        ("t", "time:off"),
        ("w", "wrap:on"),
        ("w", "wrap:off"),
        ("s", "scroll:off"),
        ("s", "scroll:on"),
        ("6", "1h · "),
        ("1", "head · "),
        ("0", "tail · "),
    ] {
        console.press(key, word);
    }
    console.sees("two goes on");
    console.press("F", "Search (n and N go on)");
    console.press("goes on\r\x1b[C\r", "search \"goes on\"");
    console.keys("nN");
    console.press("/two\r", "two goes on");
    console.waits("the other lines to be hidden", |screen| !screen.contains("one goes on"));
    console.keys("\x13");
    cluster.wait("the logs in a file", |_| files(cluster, "log") == 1);
    console.press(ESC, "one goes on");
    console.press(ESC, "pods(demo)[1/4]");
    console.press("p", "one ends");
    console.press(ESC, "pods(demo)[1/4]");
    // Several Pods, merged.
    console.press(ESC, "pods(demo)[4]");
    console.keys("g  ");
    console.sees("2 marked");
    console.press("l", "Logs(duo, hello-");
    console.press(ESC, "2 marked");
    console.keys("\x1c");
    console.waits("no marks", |screen| !screen.contains("marked"));

    console.goes("sec /keys", "secrets(demo)[1");
    console.press("y", "kind: Secret");
    console.press("x", "swordfish");
    console.press(ESC, "secrets(demo)[1");
    console.press("u", "used by");
    console.sees("Pod demo/duo");
    console.keys(ESC);
    console.waits("the secrets again", |screen| {
        !screen.contains("used by") || screen.contains("u used by")
    });
    console.sees("DATA");
}

/// Views over more than one kind, and ways through them.
fn find_around(console: &mut Console) {
    console.goes("xray deploy", "ReplicaSet hello-");
    console.sees("Pod hello-");
    console.goes("pulse", "deployments");
    console.goes("wk", "workloads(demo)");
    console.sees("deployment  hello");
    console.goes("ev", "events(demo)");
    console.goes("ns", "namespaces[");
    console.goes("can", "can(demo)");
    console.goes("users", "users[");
    console.goes("history", "notices[");
    // As a job that is stopped and goes on.
    console.keys("\x1b[24~");
    let start = Instant::now();
    while console.state() != 'T' {
        assert!(start.elapsed() < PATIENCE, "it does not stop: {}", console.state());
        pause(Duration::from_millis(10));
    }
    console.signal(Signal::SIGCONT);
    console.sees("notices[");
    console.goes("svc", "services(demo)[1]");
    console.press("\r", "pods(demo)[3] app=hello");
    console.sees("endpoints");
    console.press(ESC, "services(demo)[1]");
    // A locator opens the same view, tabs stand beside each other, and read-only means it.
    console.goes("pods?ns=demo,default&filter=hello", "pods(demo,default)[3/4] /hello");
    console.press("\x14", " 2 pods");
    console.goes("no", "nodes[1]");
    console.press("\t", "pods(demo,default)[3/4] /hello");
    console.press("\x1b[21~", "nodes[1]");
    console.press("\x1bOQ", "read-only");
    console.press("c", "read-only mode is on");
    console.press("\x1bOQ", "read-write");
    console.press("\x01", "aliases[");
    console.press("/cronj\r", "aliases[1]");
    console.press("\r", "cronjobs(demo,default)[1]");
    // As it was, in both directions.
    console.press(ESC, "aliases[1] /cronj");
    console.goes("cj demo", "cronjobs(demo)[1]");
    console.press("[", "aliases[1] /cronj");
    console.press("]", "cronjobs(demo)[1]");
    console.press("-", "aliases[1] /cronj");
    console.goes("ctx", "contexts[1]");
    console.goes("deploy demo", "deployments(demo)[1]");
    console.press("c", "copied name hello");
    assert_eq!(console.copied(), "hello");
}

/// Whatever is done to workloads.
fn workloads(console: &mut Console, cluster: &Cluster, hello: &dyn Fn(&str, Holds<'_>), rolled: Holds<'_>) {
    let image =
        |wanted: &'static str| move |object: &Value| field(object, "/spec/template/spec/containers/0/image") == wanted;
    console.press("s", "scale deployment");
    console.keys(&format!("{UP}{CLEAR}2\r{AGREE}"));
    // What changes is marked for a while.
    console.sees("2↓");
    hello("two Pods", &|object| {
        field(object, "/spec/replicas") == 2 && rolled(object)
    });
    console.sees("2/2");

    console.sees("deployments(demo)[1]");
    console.press("i", "set-image deployment");
    console.keys(&format!("{UP}\x7f2\r{AGREE}"));
    console.sees("set-image deployment: what will change");
    console.sees("hello:v2");
    console.keys(AGREE);
    hello("another image", &|object| {
        image("mizzen.local/hello:v2")(object) && rolled(object)
    });

    console.sees("deployments(demo)[1]");
    console.press("\x0c", "rollback deployment");
    console.keys(AGREE);
    console.sees("rollback deployment: what will change");
    console.sees("hello:v1");
    console.keys(AGREE);
    hello("the image of before", &|object| {
        image("mizzen.local/hello:v1")(object) && rolled(object)
    });

    console.sees("deployments(demo)[1]");
    console.press("r", "restart deployment");
    console.keys(AGREE);
    hello("a restart", &|object| {
        field(object, "/spec/template/metadata/annotations")
            .to_string()
            .contains("restartedAt")
    });
    for (at, (action, paused)) in [("pause", true), ("resume", false)].into_iter().enumerate() {
        console.sees("deployments(demo)[1]");
        console.press("m", "what can be done to hello");
        console.keys(&DOWN.repeat(5 + at));
        console.press("\r", &format!("{action} deployment"));
        console.keys("\r");
        hello(action, &|object| (*field(object, "/spec/paused") == true) == paused);
        console.sees("deployments(demo)[1]");
    }
    // What changes while it is edited would open the editor again.
    hello("the restart to be over", rolled);
    console.press("e", "edit deployment: what will change");
    console.sees("edited: here");
    // What changed meanwhile opens the editor again, and what will change is asked again.
    let mut agreed: Option<Instant> = None;
    cluster.wait("an edit", |c| {
        if console.text().contains("what will change") && agreed.is_none_or(|at| at.elapsed() > AGAIN) {
            console.keys(AGREE);
            agreed = Some(Instant::now());
        }
        c.get("deployment hello -n demo")
            .is_ok_and(|object| field(&object, "/metadata/labels/edited") == "here")
    });
    console.sees("deployments(demo)[1]");
    console.press("z", "replicasets(demo)");
    console.press(ESC, "deployments(demo)[1]");
    console.press("\r", "pods(demo)[2] app=hello");
    console.sees("2 wanted, 2 updated, 2 available");
    console.press(ESC, "deployments(demo)[1]");

    console.goes("cj", "cronjobs(demo)[1]");
    console.press("t", "trigger cronjob");
    console.keys(&format!("\r{AGREE}"));
    cluster.wait("a Job", |c| {
        c.get("jobs -n demo")
            .is_ok_and(|jobs| jobs["items"].as_array().is_some_and(|items| items.len() == 1))
    });
    console.sees("cronjobs(demo)[1]");
    console.press("s", "suspend cronjob");
    console.keys("\r");
    cluster.wait("no more Jobs", |c| {
        c.get("cronjob tick -n demo")
            .is_ok_and(|object| *field(&object, "/spec/suspend") == true)
    });
    console.sees("cronjobs(demo)[1]");
    console.press("\r", "jobs(demo)[1] of cronjob tick /");
    console.keys(ESC);
    console.waits("no filter", |screen| !screen.contains("tick /"));
    console.press(ESC, "cronjobs(demo)[1]");
}

/// A shell, and a port that leads into a Pod.
fn streams(console: &mut Console, cluster: &Cluster) {
    console.goes("po demo /duo", "pods(demo)[1/");
    console.press("s", "which of its containers?");
    console.keys("\r");
    console.keys(AGREE);
    console.sees("Ctrl-] leave and more");
    console.press("echo $((40+2)) is the answer\r", "42 is the answer");
    console.press("\x1df", "42 is the answer");
    console.waits("the whole screen", |screen| !screen.contains("read-write"));
    console.press("\x1dq", "pods(demo)[1/");
    console.sees("read-write");
    console.press("a", "which of its containers?");
    console.keys("\r");
    console.keys(AGREE);
    console.sees("Attach(demo/duo");
    console.sees("Ctrl-] leave");
    console.press("\x1dq", "pods(demo)[1/");
    console.keys(ESC);
    console.waits("no filter", |screen| !screen.contains("/duo"));

    // Ended at once, and replaced.
    let names = || -> Vec<String> {
        let pods = cluster.get("pods -n demo -l app=hello").unwrap_or_default();
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.iter()
            .map(|pod| field(pod, "/metadata/name").to_string())
            .collect()
    };
    let before = names();
    console.press("/hello\r", " /hello");
    console.press("\x0b", "kill pod");
    console.keys(AGREE);
    cluster.wait("a Pod to be replaced", |_| {
        let now = names();
        now.len() == before.len() && now != before && now.iter().filter(|name| !before.contains(name)).count() == 1
    });

    console.goes("svc demo", "services(demo)[1]");
    console.press("F", "Forward to");
    console.keys(&format!("{CLEAR}:80\r\r{AGREE}"));
    console.sees("forwarding to");
    console.press("f", "PortForwards[1]");
    console.waits("an address", |screen| listening(screen).is_some());
    let address = listening(&console.text()).expect("an address");
    assert!(get(&address).contains("hello"), "the port leads to the demo");
    // Its Pod goes, another takes its place.
    cluster.run(&["delete", "pods", "-n", "demo", "-l", "app=hello", "--wait=false"]);
    cluster.wait("the port to lead to another Pod", |_| get(&address).contains("hello"));
    console.press("\x04", "PortForwards[0]");
    console.press(ESC, "services(demo)[1]");
}

/// A file goes into a container and comes back.
fn transfer(console: &mut Console, cluster: &Cluster) {
    std::fs::write(cluster.scratch().join("letter"), "written here").expect("a file");
    console.goes("po demo /duo", "pods(demo)[1/");
    console.press("t", "Copy files, duo");
    console.sees("from the container");
    console.press(RIGHT, "to the container");
    console.keys(&format!("{DOWN}/scratch/letter{DOWN}{CLEAR}letter{DOWN}{DOWN}{AGREE}"));
    console.sees("copied 1 file");
    let there = ["exec", "-n", "demo", "duo", "-c", "one", "--", "cat", "/scratch/letter"];
    assert_eq!(cluster.run(&there), "written here");
    console.press("t", "from the container");
    console.keys(&format!("{DOWN}/scratch/letter{DOWN}{CLEAR}answer{DOWN}{DOWN}{AGREE}"));
    let back = || std::fs::read_to_string(cluster.scratch().join("answer"));
    cluster.wait("the file to come back", |_| {
        back().is_ok_and(|text| text == "written here")
    });
    console.press(ESC, "pods(demo)[4]");
}

/// The first address that something listens at.
fn listening(screen: &str) -> Option<String> {
    let at = screen.find("localhost:")?;
    let end = screen[at..].find(|c: char| c.is_whitespace() || c == '→' || c == ',')?;
    Some(screen[at..at + end].to_owned())
}

fn get(address: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a time");
        let request = "GET / HTTP/1.0\r\nHost: hello\r\n\r\n";
        // What does not answer is asked again.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// Objects come from a template and from a file, and go by a dialog that has Cancel in its focus.
fn make_and_delete(console: &mut Console, cluster: &Cluster) {
    console.goes("cm demo", "configmaps(demo)[1]");
    console.press("\x0e", "create configmap: what will change");
    console.sees("from-the-editor");
    console.keys(AGREE);
    console.sees("configmaps(demo)[2]");
    let file = cluster.scratch().join("more.yaml");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata: {a: b}\n",
    )
    .expect("a file");
    console.goes("apply more.yaml", "configmap/more is new");
    console.keys(AGREE);
    console.sees("configmaps(demo)[3]");

    // A directory is walked, and a file of it applied.
    let folder = cluster.scratch().join("manifests/inner");
    std::fs::create_dir_all(&folder).expect("a directory");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: walked}\n";
    std::fs::write(folder.join("walked.yaml"), manifest).expect("a file");
    console.goes("dir manifests", "manifests[1]");
    console.press("a", "this is a directory");
    console.press("\r", "manifests/inner[1]");
    console.press("\r", "configmap/walked is new");
    console.keys("\r");
    console.waits("nothing to be applied", |screen| !screen.contains("is new"));
    console.press("a", "configmap/walked is new");
    console.keys(AGREE);
    console.waits("the directory", |screen| {
        screen.contains("manifests/inner[1]") && !screen.contains("is new")
    });
    cluster.wait("what the file holds", |c| c.get("configmap walked -n demo").is_ok());
    cluster.run(&["delete", "configmap", "-n", "demo", "walked"]);
    console.press(ESC, "manifests[1]");
    console.goes("cm demo", "configmaps(demo)[3]");

    console.press("/made\r", "configmaps(demo)[1/3]");
    console.press("\x04", "delete configmap");
    console.sees("Background");
    console.keys("\r");
    console.waits("the dialog to be gone", |screen| !screen.contains("what it owns"));
    pause(Duration::from_millis(300));
    console.sees("configmaps(demo)[1/3]");
    console.press("\x04", "delete configmap");
    console.keys(AGREE);
    console.sees("none of 2 configmaps match /made");
    console.press(ESC, "configmaps(demo)[2]");
}

fn nodes(console: &mut Console, cluster: &Cluster) {
    console.goes("no", "nodes[1]");
    console.press("c", "cordon node");
    console.press("\r", "SchedulingDisabled");
    console.sees("nodes[1]");
    console.press("u", "uncordon node");
    console.keys("\r");
    console.sees("nodes[1]");
    console.waits("the node to be used again", |screen| {
        screen.contains("nodes[1]") && !screen.contains("SchedulingDisabled")
    });
    console.press("r", "drain node");
    // Also Pods that nothing replaces, and their data.
    console.keys(&format!("{UP}{UP} {UP} {DOWN}{DOWN}{DOWN}{AGREE}"));
    console.sees("drained: no Pod is left to wait for");
    assert!(cluster.get("pod duo -n demo").is_err(), "the Pod was moved away");
    console.press(ESC, "SchedulingDisabled");
    console.press("u", "uncordon node");
    console.keys(&format!("{RIGHT}\r"));
    console.sees("nodes[1]");
    console.waits("the node to be used again", |screen| {
        screen.contains("nodes[1]") && !screen.contains("SchedulingDisabled")
    });
}
