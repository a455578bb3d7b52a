//! What people do with kubectl, done with kubectl: the released 1.32 and 1.35, with every check on.

#[path = "kubectl/terminals.rs"]
mod terminals;
#[path = "kubectl/writes.rs"]
mod writes;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use mizzen_tests::{Cluster, can_run_containers, fail, read_until, succeed};

const WEB: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: mizzen.local/hello:v1
          ports: [{containerPort: 8080}]
";

struct Client<'c> {
    cluster: &'c Cluster,
    name: &'static str,
}

impl Client<'_> {
    fn command(&self, arguments: &str) -> Command {
        self.cluster
            .client(self.name, &arguments.split(' ').collect::<Vec<_>>())
    }

    /// A command whose last words are one argument each, spaces and all.
    fn command_with(&self, arguments: &str, last: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.args(last);
        command
    }

    #[track_caller]
    fn run(&self, arguments: &str) -> String {
        succeed(&mut self.command(arguments))
    }

    #[track_caller]
    fn fails(&self, arguments: &str) -> String {
        fail(&mut self.command(arguments))
    }

    /// Runs a command with this as its input.
    #[track_caller]
    fn feed(&self, arguments: &str, input: &str) -> String {
        let file = self.cluster.scratch().join(format!("{}-input", self.name));
        std::fs::write(&file, input).expect("written");
        succeed(
            self.command(arguments)
                .stdin(std::fs::File::open(&file).expect("just written")),
        )
    }

    #[track_caller]
    fn expect(&self, arguments: &str, part: &str) {
        let output = self.run(arguments);
        assert!(output.contains(part), "{arguments}: {part:?} is not in\n{output}");
    }
}

#[test]
fn everyday_commands() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    for (name, namespace) in [("kubectl-1.32", "one"), ("kubectl-1.35", "two")] {
        let client = Client {
            cluster: &cluster,
            name,
        };
        objects(&client, namespace);
        workloads(&client, namespace);
        streams(&client, namespace);
        nodes_and_rights(&client);
        client.run(&format!("delete namespace {namespace} --timeout=60s"));
    }
}

/// What needs a shell in a container, with both clients at the same time.
#[test]
fn terminals_files_and_changes() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with_shell();
    std::thread::scope(|scope| {
        for (name, namespace) in [("kubectl-1.32", "one"), ("kubectl-1.35", "two")] {
            let client = Client {
                cluster: &cluster,
                name,
            };
            scope.spawn(move || {
                client.run(&format!("create namespace {namespace}"));
                terminals::all(&client, namespace);
                writes::all(&client, namespace);
                client.run(&format!("delete namespace {namespace} --timeout=60s"));
            });
        }
    });
}

fn objects(client: &Client<'_>, ns: &str) {
    client.expect("version", "Server Version: v1.37");
    client.expect("api-resources --api-group=apps", "deployments");
    client.expect("explain pod.spec.containers.image", "Container image name");
    client.expect(&format!("create namespace {ns}"), &format!("namespace/{ns} created"));
    assert!(
        client
            .fails(&format!("create namespace {ns}"))
            .contains(r#"namespaces ""#)
    );
    client.expect(
        &format!("create configmap settings -n {ns} --from-literal=a=b"),
        "configmap/settings created",
    );
    client.expect(
        &format!("create secret generic password -n {ns} --from-literal=p=q"),
        "secret/password created",
    );
    client.expect(&format!("get configmap settings -n {ns} -o jsonpath={{.data.a}}"), "b");
    assert!(
        client
            .fails(&format!("get pod nobody -n {ns}"))
            .contains(r#"Error from server (NotFound): pods "nobody" not found"#)
    );
    client.expect(
        &format!("label configmap settings -n {ns} x=y"),
        "configmap/settings labeled",
    );
    client.expect(&format!("get configmap -n {ns} -l x=y -o name"), "configmap/settings");
    client.expect(
        &format!("annotate configmap settings -n {ns} note=1"),
        "configmap/settings annotated",
    );
    client.expect(
        &format!("patch configmap settings -n {ns} -p {{\"data\":{{\"c\":\"d\"}}}}"),
        "patched",
    );
    client.expect(&format!("describe configmap settings -n {ns}"), "c:\n----\nd");
    client.expect(
        &format!("delete configmap settings -n {ns}"),
        r#"configmap "settings" deleted"#,
    );
    let edited = client
        .command(&format!("edit secret password -n {ns}"))
        .env("KUBE_EDITOR", "sed -i s/cQ==/cg==/")
        .output();
    assert!(edited.expect("kubectl runs").status.success());
    client.expect(&format!("get secret password -n {ns} -o jsonpath={{.data.p}}"), "cg==");
}

fn workloads(client: &Client<'_>, ns: &str) {
    let file = client.cluster.scratch().join("web.yaml");
    std::fs::write(&file, WEB).expect("written");
    let file = file.display();
    client.expect(&format!("apply -n {ns} -f {file}"), "deployment.apps/web created");
    client.expect(&format!("apply -n {ns} -f {file}"), "deployment.apps/web unchanged");
    client.expect(
        &format!("apply -n {ns} --server-side --force-conflicts -f {file}"),
        "serverside-applied",
    );
    client.expect(
        &format!("rollout status -n {ns} deployment/web --timeout=60s"),
        "successfully rolled out",
    );
    client.expect(&format!("get pods -n {ns} -o wide"), "Running");
    client.expect(&format!("get all -n {ns}"), "replicaset.apps/web-");
    client.expect(
        &format!("describe deployment web -n {ns}"),
        "RollingUpdateStrategy:  25% max unavailable, 25% max surge",
    );
    client.expect(&format!("describe pods -n {ns} -l app=web"), "Successfully assigned");
    client.expect(
        &format!("expose deployment web -n {ns} --port=80 --target-port=8080"),
        "service/web exposed",
    );

    let changed = client.cluster.scratch().join("changed.yaml");
    std::fs::write(&changed, WEB.replace("replicas: 2", "replicas: 3")).expect("written");
    let diff = client
        .command(&format!("diff -n {ns} -f {}", changed.display()))
        .output()
        .expect("kubectl runs");
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    assert!(String::from_utf8_lossy(&diff.stdout).contains("+  replicas: 3"));

    client.expect(&format!("scale -n {ns} deployment/web --replicas=3"), "scaled");
    client.expect(
        &format!("wait -n {ns} deployment/web --for=jsonpath={{.status.readyReplicas}}=3 --timeout=60s"),
        "condition met",
    );
    client.expect(
        &format!("set image -n {ns} deployment/web web=mizzen.local/hello:v2"),
        "image updated",
    );
    client.expect(
        &format!("rollout status -n {ns} deployment/web --timeout=60s"),
        "successfully rolled out",
    );
    client.expect(&format!("rollout history -n {ns} deployment/web"), "2 ");
    client.expect(&format!("rollout undo -n {ns} deployment/web"), "rolled back");
    client.expect(
        &format!("rollout status -n {ns} deployment/web --timeout=60s"),
        "successfully rolled out",
    );
    client.expect(
        &format!("get deployment web -n {ns} -o jsonpath={{..image}}"),
        "hello:v1",
    );
    client.expect(&format!("rollout pause -n {ns} deployment/web"), "paused");
    client.expect(&format!("rollout resume -n {ns} deployment/web"), "resumed");
    client.expect(&format!("rollout restart -n {ns} deployment/web"), "restarted");
    client.expect(
        &format!("rollout status -n {ns} deployment/web --timeout=60s"),
        "successfully rolled out",
    );
}

fn streams(client: &Client<'_>, ns: &str) {
    let pod = "single";
    client.expect(
        &format!("run {pod} -n {ns} --image=mizzen.local/hello:v1 --port=8080"),
        "created",
    );
    client.expect(
        &format!("wait pod/{pod} -n {ns} --for=condition=Ready --timeout=60s"),
        "condition met",
    );
    client.expect(&format!("exec -n {ns} {pod} -- /hello --version"), "hello v1");
    let echoed = client
        .command(&format!("exec -i -n {ns} {pod} -- /hello --echo"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut echoed = echoed.expect("kubectl runs");
    echoed
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"there and back")
        .expect("written");
    let echoed = echoed.wait_with_output().expect("it ends when its input does");
    assert_eq!(echoed.stdout, b"there and back");
    let code = client
        .command(&format!("exec -n {ns} {pod} -- /hello --exit 7"))
        .status()
        .expect("kubectl runs")
        .code();
    assert_eq!(code, Some(7));

    let port = forwarded(client, ns, pod);
    client.cluster.wait("request in the log", |_| {
        client.run(&format!("logs -n {ns} {pod}")).contains("GET /forwarded")
    });
    assert_ne!(port, 0);
    let mut follow = client
        .command(&format!("logs -f -n {ns} {pod} --tail=1"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    client.run(&format!(
        "exec -n {ns} {pod} -- /hello --get http://127.0.0.1:8080/followed"
    ));
    let mut output = follow.stdout.take().expect("a pipe");
    read_until(&mut output, "/followed");
    follow.kill().expect("a process to kill");
    follow.wait().expect("it ends");
    client.expect(&format!("delete pod {pod} -n {ns} --grace-period=1"), "deleted");
}

/// Forwards a port, fetches a page through it, and gives the local port.
fn forwarded(client: &Client<'_>, ns: &str, pod: &str) -> u16 {
    let mut forward = client
        .command(&format!("port-forward -n {ns} {pod} :8080"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    // Held until the end: kubectl dies when it cannot write that a connection came.
    let mut output = forward.stdout.take().expect("a pipe");
    let line = read_until(&mut output, "\n");
    let address = line.split_whitespace().nth(2).expect("an address");
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
        .write_all(b"GET /forwarded HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    forward.kill().expect("a process to kill");
    forward.wait().expect("it ends");
    port
}

fn nodes_and_rights(client: &Client<'_>) {
    client.expect("get nodes -o wide", "Ready");
    let node = client.run("get nodes -o jsonpath={.items[0].metadata.name}");
    client.expect(&format!("describe node {node}"), "Allocatable:");
    client.expect(&format!("taint node {node} a=b:PreferNoSchedule"), "tainted");
    client.expect(&format!("taint node {node} a-"), "untainted");
    client.expect(&format!("cordon {node}"), "cordoned");
    client.expect("get nodes", "SchedulingDisabled");
    client.expect(&format!("uncordon {node}"), "uncordoned");
    client.expect("auth can-i create pods", "yes");
    client.expect("auth can-i --list", "Resources");
    client.expect("auth whoami", "system:admin");
    let denied = client
        .command("auth can-i get secrets --as=nobody")
        .output()
        .expect("kubectl runs");
    assert!(String::from_utf8_lossy(&denied.stdout).starts_with("no"));
    let mut watch = client
        .command("get namespaces -w")
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut output = watch.stdout.take().expect("a pipe");
    read_until(&mut output, "kube-system");
    client.run("create namespace watched");
    read_until(&mut output, "watched");
    watch.kill().expect("a process to kill");
    watch.wait().expect("it ends");
    client.run("delete namespace watched");
}
