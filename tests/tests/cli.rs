//! Our scripted client, command by command, beside kubectl: what both can say, they say alike.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use mizzen_tests::{Cluster, can_run_containers, fail, image, read_until, succeed};

/// A Deployment whose containers have a shell.
fn web(image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{tier: front}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: {image}
          command: [sh, -c, "echo hello from $HOSTNAME; exec sleep 1000000"]
          ports: [{{containerPort: 80}}]
"#
    )
}

struct Client<'a>(&'a Cluster);

impl Client<'_> {
    fn command(&self, arguments: &str) -> Command {
        let words: Vec<_> = arguments.split(' ').collect();
        self.0.client("mizzen", &words)
    }

    #[track_caller]
    fn run(&self, arguments: &str) -> String {
        succeed(&mut self.command(arguments))
    }

    #[track_caller]
    fn expect(&self, arguments: &str, part: &str) {
        let said = self.run(arguments);
        assert!(said.contains(part), "{arguments}: {part:?} is not in\n{said}");
    }

    #[track_caller]
    fn fails(&self, arguments: &str, part: &str) {
        let said = fail(&mut self.command(arguments));
        assert!(said.contains(part), "{arguments}: {part:?} is not in\n{said}");
    }

    #[track_caller]
    fn same(&self, arguments: &str) {
        assert_eq!(self.difference(arguments), None);
    }

    /// Runs a command with both clients, of which neither may change anything, and says how they differ.
    fn difference(&self, arguments: &str) -> Option<String> {
        let words: Vec<_> = arguments.split(' ').collect();
        let (code, theirs) = told(self.0.kubectl(&words).output().expect("kubectl runs"));
        let (our_code, ours) = told(self.command(arguments).output().expect("mizzen runs"));
        let only = |these: &str, those: &str| -> Vec<String> {
            let missing = these.lines().filter(|line| !those.lines().any(|other| other == *line));
            missing.map(str::to_owned).collect()
        };
        (code != our_code || theirs != ours).then(|| {
            format!(
                "{arguments}: {our_code:?} instead of {code:?}\n  only ours: {:#?}\n  only kubectl's: {:#?}\n",
                only(&ours, &theirs),
                only(&theirs, &ours)
            )
        })
    }
}

/// Exit code and words, without what differs from one moment to the next, and with our name as theirs.
fn told(output: Output) -> (Option<i32>, String) {
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).replace("mizzen ", "kubectl ");
    let is_age = |word: &str| {
        word.ends_with(['s', 'm', 'h']) && word.starts_with(|c: char| c.is_ascii_digit()) && word.len() < 7
    };
    let line = |line: &str| {
        let words = line
            .split_whitespace()
            .map(|word| if is_age(word) { "AGE" } else { word });
        let indent = line.len() - line.trim_start().len();
        format!("{}{}\n", " ".repeat(indent), words.collect::<Vec<_>>().join(" "))
    };
    (output.status.code(), text.lines().map(line).collect())
}

#[test]
fn every_command_does_its_work_in_kubectls_words() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with_shell();
    let client = Client(&cluster);
    making(&client);
    reading(&client);
    connected(&client);
    changing(&client);
    rollouts(&client);
    containers(&client);
    nodes(&client);
    ending(&client);
}

fn making(client: &Client<'_>) {
    let file = client.0.scratch().join("web.yaml");
    std::fs::write(&file, web(image::IMAGE)).expect("written");
    let file = file.display();
    let diff = client
        .command(&format!("diff -f {file}"))
        .output()
        .expect("mizzen runs");
    assert_eq!(diff.status.code(), Some(1));
    client.expect(&format!("apply -f {file}"), "deployment.apps/web serverside-applied");
    client.expect(
        "rollout status deployment/web",
        r#"deployment "web" successfully rolled out"#,
    );
    client.run(&format!("diff -f {file}"));
    client.expect(
        "create configmap settings --from-literal=a=b",
        "configmap/settings created",
    );
    client.fails("create configmap settings", r#"configmaps "settings" already exists"#);
    client.expect("create namespace other", "namespace/other created");
    client.expect("expose deployment web --port=80", "service/web exposed");
    client.expect(
        &format!(
            "run single --image={} --restart=Never --command -- sleep 1000000",
            image::IMAGE
        ),
        "pod/single created",
    );
    client.expect(
        "wait pod/single --for=condition=Ready --timeout=60s",
        "pod/single condition met",
    );
}

/// A Pod that is connected to while it runs ends as its container does.
fn connected(client: &Client<'_>) {
    let script = "read line; echo got $line; read more || echo over; exit 3";
    let image = format!("--image={}", image::IMAGE);
    let mut command = client.0.client(
        "mizzen",
        &[
            "run",
            "asked",
            &image,
            "-i",
            "--rm",
            "--restart=Never",
            "--command",
            "--",
            "sh",
            "-c",
            script,
        ],
    );
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mizzen runs");
    let mut input = running.stdin.take().expect("a pipe");
    input.write_all(b"a line\n").expect("written");
    drop(input);
    let ended = running.wait_with_output().expect("it ends");
    let (said, errors) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert_eq!(ended.status.code(), Some(3), "{said}{errors}");
    assert!(said.starts_with("got a line\nover\n"), "{said}{errors}");
    assert!(
        said.contains("pod \"asked\" deleted from default namespace"),
        "{said}{errors}"
    );
    assert!(
        errors.contains("error: pod default/asked terminated (Error)"),
        "{errors}"
    );
    client.fails("get pod asked", "not found");

    // One that is done before anyone can connect.
    let words = [
        "run",
        "brief",
        &image,
        "--attach",
        "--rm",
        "--restart=Never",
        "--command",
        "--",
        "false",
    ];
    let ended = client.0.client("mizzen", &words).output().expect("mizzen runs");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

fn reading(client: &Client<'_>) {
    let differences: Vec<_> = [
        "get pods",
        "get pods -o wide",
        "get pods -A",
        "get pods -l app=web",
        "get pods -l app=nothing",
        "get pods --field-selector=status.phase=Running -o name",
        "get pods --no-headers --show-labels",
        "get all",
        "get deploy,svc,cm",
        "get deploy web -o yaml",
        "get deploy web -o json",
        "get deploy web -o jsonpath={.spec.replicas}",
        "get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
        "get pods --sort-by=.metadata.name -L app",
        "get nodes",
        "get ns -o wide",
        "get pod nobody",
        "get nonsense",
        "get pods -n nowhere",
        "describe deploy web",
        "describe svc web",
        "describe cm settings",
        "describe pod single",
        "rollout status deploy/web",
        "rollout history deploy/web",
        "explain pod.spec.containers",
        "explain deploy",
        "explain deploy.spec --recursive",
        "explain svc.spec.type",
        "explain pod.nothing",
        "explain hpa --api-version=autoscaling/v1",
        "events --for=deployment/web",
        "auth can-i list pods",
        "auth can-i delete nodes --as=stranger",
        "auth can-i --list",
        "auth can-i --list --as=stranger",
        "auth whoami",
        "get pods --as=stranger",
        "delete pod nobody",
        "logs nobody",
        "scale deploy/nobody --replicas=1",
        "set image deploy/web nope=x",
        "taint node nobody a=b:NoSchedule",
    ]
    .into_iter()
    .filter_map(|arguments| client.difference(arguments))
    .collect();
    assert!(differences.is_empty(), "{}", differences.concat());
    client.expect("version", "Server Version: v1.37");
    client.expect("api-resources --api-group=apps", "deployments");
    let mut watch = client
        .command("get configmaps -w --watch-only -o name")
        .stdout(Stdio::piped())
        .spawn()
        .expect("mizzen runs");
    let mut output = watch.stdout.take().expect("a pipe");
    let mut count = 0;
    client.0.wait("a watch to begin", |_| {
        count += 1;
        client.run(&format!("label configmap settings --overwrite count={count}"));
        let mut ready = [nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(&output),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut ready, nix::poll::PollTimeout::from(200u16)).expect("polled") > 0
    });
    read_until(&mut output, "configmap/settings");
    watch.kill().expect("a process to kill");
    watch.wait().expect("it ends");
}

fn changing(client: &Client<'_>) {
    client.expect("label configmap settings x=y", "configmap/settings labeled");
    client.expect("label configmap settings x=y", "configmap/settings not labeled");
    client.expect("label configmap settings x-", "configmap/settings unlabeled");
    client.expect(
        "annotate configmap settings note=1 --dry-run=server",
        "annotated (server dry run)",
    );
    client.same("get configmap settings -o jsonpath={.metadata.annotations}");
    client.expect(
        "patch configmap settings -p {\"data\":{\"c\":\"d\"}}",
        "configmap/settings patched",
    );
    client.expect(
        "patch configmap settings -p {\"data\":{\"c\":\"d\"}}",
        "configmap/settings patched (no change)",
    );
    client.expect(
        "patch configmap settings --type=json -p [{\"op\":\"remove\",\"path\":\"/data/c\"}]",
        "patched",
    );
    let edit = |by: &str| {
        let mut command = client.command("edit configmap settings");
        succeed(command.env("KUBE_EDITOR", by))
    };
    assert_eq!(edit("sed -i s/a:.b/a:\\ z/"), "configmap/settings edited\n");
    client.expect("get configmap settings -o jsonpath={.data.a}", "z");
    assert_eq!(edit("true"), "");
    let mut wrong = client.command("edit configmap settings");
    let said = fail(wrong.env("KUBE_EDITOR", "sed -i s/^data:/dada:/"));
    assert!(said.contains("Edit cancelled, no valid changes were saved."), "{said}");
}

fn rollouts(client: &Client<'_>) {
    client.expect(
        "set image deploy/web main=example.com/none",
        "deployment.apps/web image updated",
    );
    client.fails(
        "rollout status deploy/web --timeout=1s",
        "timed out waiting for the condition",
    );
    client.expect("rollout undo deploy/web", "deployment.apps/web rolled back");
    client.expect("rollout status deploy/web", "successfully rolled out");
    client.expect("rollout pause deploy/web", "deployment.apps/web paused");
    client.expect("rollout resume deploy/web", "deployment.apps/web resumed");
    client.expect("rollout restart deploy/web", "deployment.apps/web restarted");
    client.expect("rollout status deploy/web", "successfully rolled out");
    client.same("rollout history deploy/web");
    client.fails(
        "scale deploy/web --replicas=5 --current-replicas=7",
        "Expected replicas to be 7, was 2",
    );
    client.expect("scale deploy/web --replicas=1", "deployment.apps/web scaled");
    client.expect(
        "wait deploy/web --for=jsonpath={.status.readyReplicas}=1 --timeout=60s",
        "condition met",
    );
}

fn containers(client: &Client<'_>) {
    client.expect("logs deploy/web", "hello from web-");
    client.same("logs deploy/web --tail=1");
    client.expect("exec single -- echo done", "done");
    let failed = client
        .command("exec single -- sh -c exit\t3")
        .output()
        .expect("mizzen runs");
    assert!(!failed.status.success());
    client.fails("get pod once", "NotFound");
}

fn nodes(client: &Client<'_>) {
    let node = client.run("get nodes -o jsonpath={.items[0].metadata.name}");
    client.expect(&format!("cordon {node}"), &format!("node/{node} cordoned"));
    client.expect(&format!("cordon {node}"), &format!("node/{node} already cordoned"));
    client.expect(&format!("uncordon {node}"), &format!("node/{node} uncordoned"));
    client.expect(
        &format!("taint node {node} a=b:NoSchedule"),
        &format!("node/{node} tainted"),
    );
    client.same(&format!("taint node {node} a=c:NoSchedule"));
    client.expect(&format!("taint node {node} a-"), &format!("node/{node} untainted"));
    client.fails(&format!("drain {node}"), "nothing replaces it");
    let drained = client.run(&format!("drain {node} --force --ignore-daemonsets --grace-period=0"));
    assert!(drained.ends_with(&format!("node/{node} drained\n")), "{drained}");
    client.run(&format!("uncordon {node}"));
}

fn ending(client: &Client<'_>) {
    client.expect(
        "delete configmap settings",
        r#"configmap "settings" deleted from default namespace"#,
    );
    client.expect("delete deploy web --wait=false", r#"deployment.apps "web" deleted"#);
    client.expect("delete ns other", r#"namespace "other" deleted"#);
    client.fails("delete configmap settings", "NotFound");
    client.run("delete configmap settings --ignore-not-found");
}
