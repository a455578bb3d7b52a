//! Every object of Kubernetes' overview on three machines, as people drive it: by kubectl.
//!
//! StatefulSets and DaemonSets are in `nodes.rs`, what the network does for Pods of other nodes in `overlay.rs`.
//! Beside it, a node of several servers ([`servers`]).

#[path = "overview/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::time::Duration;

use mizzen_tests::image::IMAGE;
use mizzen_tests::nodes::{Bed, LOSS, SERVER, nodes, placed};
use mizzen_tests::web::{answered, containers, fetch, fetch_on, service};
use mizzen_tests::{Cluster, can_run_containers, condition, fail, pause};
use serde_json::Value;

const NODES: [&str; 3] = [SERVER, "one", "two"];
/// Where the Service of type LoadBalancer is, on every node.
const LOAD_BALANCER_PORT: u16 = 8090;

fn all() -> BTreeSet<String> {
    NODES.map(str::to_owned).into()
}

/// A Pod that does nothing.
fn idle(name: &str, labels: &str, node: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: '{IMAGE}', command: [sleep, '1000000']}}]
"
    )
}

/// A template of Pods of which every node gets one before another gets two.
fn spread(app: &str, containers: &str) -> String {
    format!(
        "  template:
    metadata: {{labels: {{app: {app}}}}}
    spec:
      topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, \
         labelSelector: {{matchLabels: {{app: {app}}}}}}}]
      {containers}"
    )
}

/// Objects by equality, by sets, and by both.
fn labels(cluster: &Cluster) {
    cluster.apply(
        &[
            idle("prod", "env: production, tier: front", "one"),
            idle("qa", "env: qa, tier: front", "two"),
            idle("dev", "env: dev, tier: back", SERVER),
        ]
        .concat(),
    );
    for (selector, expect) in [
        ("env=production", "prod"),
        ("env!=production,env", "dev qa"),
        ("env in (production, qa)", "prod qa"),
        ("env notin (production),tier=front", "qa"),
        ("env in (production, qa),tier=back", ""),
    ] {
        let found = cluster.run(&[
            "get",
            "pods",
            "-l",
            selector,
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ]);
        assert_eq!(found, expect, "{selector}");
    }
}

/// A namespace takes what is in it along, wherever that runs.
fn namespaces(cluster: &Cluster) {
    cluster.run(&["create", "namespace", "team"]);
    cluster.wait("ServiceAccount", |c| c.get("serviceaccount default -n team").is_ok());
    let file = cluster.scratch().join("team.yaml");
    std::fs::write(&file, [idle("a", "", "one"), idle("b", "", "two")].concat()).expect("a manifest");
    cluster.run(&["apply", "-n", "team", "-f", file.to_str().expect("a path")]);
    let ready = [
        "wait",
        "-n",
        "team",
        "--for=condition=Ready",
        "pod",
        "--all",
        "--timeout=60s",
    ];
    cluster.run(&ready);
    cluster.run(&["delete", "namespace", "team", "--timeout=60s"]);
    assert!(cluster.get("pod a -n team").is_err() && cluster.get("namespace team").is_err());
}

/// What one container of a Pod writes, the other reads.
fn volumes(cluster: &Cluster) {
    let container = |name: &str, command: &str| {
        format!(
            "{{name: {name}, image: '{IMAGE}', command: [sh, -c, '{command}'], volumeMounts: [{{name: v, mountPath: /v}}]}}"
        )
    };
    cluster.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: shared}}
spec:
  nodeName: two
  terminationGracePeriodSeconds: 0
  volumes: [{{name: v, emptyDir: {{}}}}]
  containers: [{}, {}]
",
        container("writer", "echo told > /v/x; exec sleep 1000000"),
        container("reader", "exec sleep 1000000")
    ));
    cluster.run(&["wait", "--for=condition=Ready", "pod/shared", "--timeout=60s"]);
    cluster.wait("reader to see it", |c| {
        let read = ["exec", "shared", "-c", "reader", "--", "cat", "/v/x"];
        c.kubectl(&read).output().is_ok_and(|output| output.stdout == b"told\n")
    });
}

/// The older kind selects by equality only, the newer one by sets too; both keep their number.
fn replicas(cluster: &Cluster) {
    let idle = format!(
        "terminationGracePeriodSeconds: 0\n      containers: [{{name: c, image: '{IMAGE}', command: [sleep, '1000000']}}]\n"
    );
    let sets = "{matchExpressions: [{key: app, operator: In, values: [newer, newest]}]}";
    let manifest = |kind: &str, group: &str, name: &str, selector: &str| {
        format!(
            "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  replicas: 3\n  selector: {selector}\n{}",
            spread(name, &idle)
        )
    };
    let older = manifest("ReplicationController", "v1", "older", sets);
    let file = cluster.scratch().join("older.yaml");
    std::fs::write(&file, older).expect("a manifest");
    let refusal = fail(&mut cluster.kubectl(&["create", "-f", file.to_str().expect("a path")]));
    assert!(refusal.contains("selector"), "{refusal}");
    cluster.apply(&manifest("ReplicationController", "v1", "older", "{app: older}"));
    cluster.apply(&manifest("ReplicaSet", "apps/v1", "newer", sets));
    for (app, kind) in [("older", "rc"), ("newer", "rs")] {
        let label = format!("app={app}");
        cluster.wait(&format!("Pods of {app} on every node"), |c| nodes(c, &label) == all());
        let before = placed(cluster, &label);
        cluster.run(&["delete", "pod", "-l", &label, "--field-selector=spec.nodeName=one"]);
        cluster.wait(&format!("Pod of {app} to be replaced"), |c| {
            let now = placed(c, &label);
            let same = now.iter().filter(|pod| before.contains(pod)).count();
            (now.len(), same) == (3, 2)
        });
        cluster.run(&["delete", kind, app]);
    }
}

fn services(bed: &Bed) {
    let cluster = &bed.cluster;
    let port = cluster.node_port();
    cluster.apply(
        &[
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 3\n  \
                 selector: {{matchLabels: {{app: web}}}}\n{}",
                spread("web", &containers(""))
            ),
            service("web", "web", "ports: [{port: 80, targetPort: http}]"),
            service(
                "port",
                "web",
                &format!("type: NodePort, ports: [{{port: 80, targetPort: http, nodePort: {port}}}]"),
            ),
            service(
                "balanced",
                "web",
                &format!("type: LoadBalancer, ports: [{{port: {LOAD_BALANCER_PORT}, targetPort: http}}]"),
            ),
        ]
        .concat(),
    );
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    assert_eq!(nodes(cluster, "app=web"), all());
    let pods = cluster.get("pods -l app=web").expect("Pods");
    for pod in pods["items"].as_array().expect("a list") {
        let pod = pod["metadata"]["name"].as_str().expect("a name");
        cluster.wait(&format!("Service to lead {pod} to every node"), |c| {
            let answers = fetch(c, pod, &[cluster_ip(c, "web")], 20);
            assert!(!answers.contains("lost"), "{answers}");
            answered(&answers)
                .into_iter()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
                == all()
        });
        let by_name = [
            "exec",
            pod,
            "-c",
            "hello",
            "--",
            "/hello",
            "--get",
            "http://web.default.svc.cluster.local/",
        ];
        assert!(cluster.run(&by_name).contains("Node: "));
    }
    cluster.wait("balancers on every node", |c| balancers(c) == addresses(bed, &NODES));
    for node in NODES {
        let from = if node == "one" { "two" } else { "one" };
        for port in [port, LOAD_BALANCER_PORT] {
            let url = format!("http://{}:{port}/", bed.address(node));
            let mut seen = BTreeSet::new();
            cluster.wait(&format!("{url} to lead everywhere"), |_| {
                let answer = fetch_on(bed, from, &url).unwrap_or_else(|| panic!("no answer at {url}"));
                seen.extend(answered(&answer).into_iter().map(str::to_owned));
                seen == all()
            });
        }
    }
}

fn cluster_ip(cluster: &Cluster, service: &str) -> String {
    let service = cluster.get(&format!("service {service}")).expect("a Service");
    format!("http://{}/", service["spec"]["clusterIP"].as_str().expect("an address"))
}

/// Where the Service of type LoadBalancer is to be reached.
fn balancers(cluster: &Cluster) -> BTreeSet<String> {
    let service = cluster.get("service balanced").expect("the Service");
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().cloned();
    let text = |ingress: &Value| ingress["ip"].as_str().unwrap_or_default().to_owned();
    ingress.unwrap_or_default().iter().map(text).collect()
}

fn addresses(bed: &Bed, nodes: &[&str]) -> BTreeSet<String> {
    nodes.iter().map(|node| bed.address(node)).collect()
}

/// More and fewer Pods; an update that is held, let go, and taken back.
fn deployment(cluster: &Cluster) {
    let images = |c: &Cluster| {
        let pods = c.run(&[
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[*].spec.containers[0].image}",
        ]);
        let versions = pods
            .split(' ')
            .map(|image| image.rsplit(':').next().unwrap_or_default().to_owned());
        versions.collect::<Vec<_>>()
    };
    let are = |c: &Cluster, number: usize, version: &str| {
        placed(c, "app=web").len() == number && images(c) == vec![version; number]
    };
    let status = ["rollout", "status", "deployment/web", "--timeout=120s"];
    for number in [5, 3] {
        cluster.run(&["scale", "deployment/web", &format!("--replicas={number}")]);
        cluster.wait("scaled Deployment", |c| are(c, number, "v1"));
    }
    cluster.run(&["rollout", "pause", "deployment/web"]);
    cluster.run(&["set", "image", "deployment/web", "hello=mizzen.local/hello:v2"]);
    pause(Duration::from_secs(2));
    assert!(are(cluster, 3, "v1"), "nothing is rolled out while it is paused");
    cluster.run(&["rollout", "resume", "deployment/web"]);
    cluster.run(&status);
    cluster.wait("new Pods alone", |c| are(c, 3, "v2"));
    cluster.run(&["rollout", "undo", "deployment/web"]);
    cluster.run(&status);
    cluster.wait("old Pods again", |c| are(c, 3, "v1"));
}

/// A CronJob whose Pod fails at first.
fn cron_job() -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick}}
spec:
  schedule: '* * * * *'
  timeZone: Asia/Shanghai
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      template:
        metadata: {{labels: {{app: tick}}}}
        spec:
          restartPolicy: OnFailure
          nodeSelector: {{kubernetes.io/hostname: two}}
          volumes: [{{name: v, emptyDir: {{}}}}]
          containers: [{{name: c, image: '{IMAGE}', volumeMounts: [{{name: v, mountPath: /v}}], \
             command: [sh, -c, '[ -e /v/tried ] && exit 0; touch /v/tried; exit 1']}}]
"
    )
}

fn cron_job_completes(cluster: &Cluster) {
    cluster.wait_at_most(LOSS, "CronJob to succeed", |c| {
        c.get("cronjob tick")
            .is_ok_and(|tick| tick["status"]["lastSuccessfulTime"].is_string())
    });
    cluster.run(&["patch", "cronjob", "tick", "-p", r#"{"spec":{"suspend":true}}"#]);
    let pods = cluster.get("pods -l app=tick").expect("Pods");
    let pods = pods["items"].as_array().expect("a list");
    let done = pods
        .iter()
        .find(|pod| pod["status"]["phase"] == "Succeeded")
        .expect("a Pod that succeeded");
    assert_eq!(done["spec"]["nodeName"], "two");
    assert_eq!(done["status"]["containerStatuses"][0]["restartCount"], 1);
    cluster.run(&["delete", "cronjob", "tick"]);
    cluster.wait("its Jobs and Pods to go", |c| {
        let gone = |what: &str| c.get(what).is_ok_and(|list| list["items"] == Value::Array(Vec::new()));
        gone("jobs") && gone("pods -l app=tick")
    });
}

/// A machine is switched off for good: what ran there runs elsewhere, and nobody is led there any more.
fn a_machine_is_lost(bed: &mut Bed) {
    bed.cluster.apply(&format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: work}}
spec:
  template:
    metadata: {{labels: {{app: work}}}}
    spec:
      restartPolicy: Never
      affinity: {{nodeAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 100, preference: \
         {{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [two]}}]}}}}]}}}}
      containers: [{{name: c, image: '{IMAGE}', env: [{{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}], \
         command: [sh, -c, '[ $NODE = two ] && exec sleep 1000000; exit 0']}}]
"
    ));
    let only = BTreeSet::from(["two".to_owned()]);
    bed.cluster.wait("Job to be at work", |c| nodes(c, "app=work") == only);
    bed.switch_off("two");
    bed.cluster.run(&["delete", "node", "two"]);
    let left = [SERVER, "one"];
    bed.cluster
        .wait("two balancers", |c| balancers(c) == addresses(bed, &left));
    bed.cluster.wait_at_most(LOSS, "Job to be done elsewhere", |c| {
        c.get("job work").is_ok_and(|job| condition(&job, "Complete"))
    });
    let job = bed.cluster.get("job work").expect("the Job");
    assert_eq!(
        (&job["status"]["succeeded"], &job["status"]["failed"]),
        (&1.into(), &1.into())
    );
    bed.cluster.wait_at_most(LOSS, "three Pods of the Deployment", |c| {
        placed(c, "app=web").len() == 3 && nodes(c, "app=web") == left.map(str::to_owned).into()
    });
    let pods = bed.cluster.get("pods -l app=web").expect("Pods");
    let pod = pods["items"][0]["metadata"]["name"].as_str().expect("a name");
    let answers = fetch(&bed.cluster, pod, &[cluster_ip(&bed.cluster, "web")], 20);
    assert!(!answers.contains("lost"), "{answers}");
    assert_eq!(answered(&answers), left.into());
}

#[test]
fn every_object_of_the_overview_works_across_nodes() {
    if !can_run_containers() {
        return;
    }
    let mut bed = Bed::start(&[], &NODES[1..]);
    for node in NODES {
        bed.cluster.wait("nodes to take Pods", |c| {
            c.get(&format!("node {node}"))
                .is_ok_and(|node| node["spec"]["taints"].is_null())
        });
    }
    bed.cluster.apply(&cron_job());
    labels(&bed.cluster);
    namespaces(&bed.cluster);
    volumes(&bed.cluster);
    replicas(&bed.cluster);
    services(&bed);
    deployment(&bed.cluster);
    cron_job_completes(&bed.cluster);
    a_machine_is_lost(&mut bed);
}
