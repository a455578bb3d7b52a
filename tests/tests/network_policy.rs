//! Who may reach whom: policies on real Pods, seen by the Pods themselves.

use std::process::Command;

use mizzen_tests::{Cluster, can_run_containers};
use serde_json::Value;

/// A Pod with the small web server; `labels` are YAML.
fn pod(namespace: &str, name: &str, labels: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: hello
      image: mizzen.local/hello:v1
      ports: [{{name: http, containerPort: 8080}}]
      readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
"
    )
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"
    )
}

fn ip(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    let pod: Value = cluster.get(&format!("pod {pod} -n {namespace}")).expect("the Pod");
    pod["status"]["podIP"].as_str().expect("an address").to_owned()
}

/// Whether one Pod gets an answer from a URL. What is not allowed is dropped, so that a refusal takes its time.
fn reaches(cluster: &Cluster, namespace: &str, from: &str, url: &str) -> bool {
    let exec = cluster.kubectl(&["exec", "-n", namespace, from, "--", "/hello", "--get", url]);
    let mut patient = Command::new("timeout");
    patient.arg("2").arg(exec.get_program()).args(exec.get_args());
    patient.envs(exec.get_envs().filter_map(|(key, value)| Some((key, value?))));
    patient.output().is_ok_and(|output| output.status.success())
}

#[test]
fn policies_decide_who_reaches_whom() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ops, labels: {team: b}}\n");
    cluster.wait("ServiceAccounts", |c| {
        ["shop", "ops"]
            .iter()
            .all(|namespace| c.get(&format!("serviceaccount default -n {namespace}")).is_ok())
    });
    let pods = [
        pod("shop", "db", "{app: db}"),
        pod("shop", "front", "{app: front}"),
        pod("shop", "other", "{app: other}"),
        pod("ops", "probe", "{app: probe}"),
    ];
    cluster.apply(&pods.concat());
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {selector: {app: db}, ports: [{port: 80, targetPort: http}]}\n");
    for namespace in ["shop", "ops"] {
        cluster.run(&[
            "wait",
            "-n",
            namespace,
            "--for=condition=Ready",
            "pod",
            "--all",
            "--timeout=60s",
        ]);
    }
    let db = format!("http://{}:8080/", ip(&cluster, "shop", "db"));
    let probe = format!("http://{}:8080/", ip(&cluster, "ops", "probe"));
    let by_name = "http://db.shop.svc.cluster.local/";
    // Who, to where, and whether that works.
    let expect = |what: &str, all: &[(&str, &str, &str, bool)]| {
        for (namespace, from, url, works) in all {
            cluster.wait(&format!("{what}: {from} to {url} being {works}"), |c| {
                reaches(c, namespace, from, url) == *works
            });
        }
    };
    expect(
        "without policies",
        &[
            ("shop", "front", &db, true),
            ("shop", "other", by_name, true),
            ("ops", "probe", &db, true),
        ],
    );

    cluster.apply(&policy("closed", "{podSelector: {matchLabels: {app: db}}}"));
    expect(
        "closed",
        &[
            ("shop", "front", &db, false),
            ("shop", "other", by_name, false),
            ("shop", "db", by_name, true),
            ("shop", "db", &probe, true),
        ],
    );

    cluster.apply(&policy(
        "open",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: front}}}, {namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: http}]}]}",
    ));
    expect(
        "open for some",
        &[
            ("shop", "front", by_name, true),
            ("ops", "probe", &db, true),
            ("shop", "other", &db, false),
        ],
    );
    // The node's own probes are nobody's business: the Pod stays ready.
    cluster.run(&["wait", "-n", "shop", "--for=condition=Ready", "pod/db", "--timeout=5s"]);

    // A label decides, and so does that of a namespace.
    cluster.run(&["label", "-n", "shop", "pod/other", "app=front", "--overwrite"]);
    cluster.run(&["label", "namespace", "ops", "team=c", "--overwrite"]);
    expect("labels", &[("shop", "other", &db, true), ("ops", "probe", &db, false)]);

    // Blocks, with exceptions.
    let host = format!("{}/32", ip(&cluster, "ops", "probe"));
    let block = |except: &str| {
        policy(
            "open",
            &format!(
                "{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [{except}]}}}}], ports: [{{port: 8000, endPort: 8100}}]}}]}}"
            ),
        )
    };
    cluster.apply(&block(""));
    expect("everybody", &[("ops", "probe", &db, true)]);
    cluster.apply(&block(&host));
    expect(
        "all but one",
        &[("ops", "probe", &db, false), ("shop", "front", &db, true)],
    );

    // What a Pod may send: only to what is labelled so, and to cluster DNS, which is taken for the Pod it is elsewhere.
    cluster.run(&["delete", "networkpolicy", "-n", "shop", "--all"]);
    expect("no policies again", &[("ops", "probe", &db, true)]);
    cluster.apply(&policy(
        "mute",
        "{podSelector: {matchLabels: {app: front}}, policyTypes: [Egress]}",
    ));
    expect(
        "mute",
        &[
            ("shop", "front", &db, false),
            ("shop", "front", by_name, false),
            ("ops", "probe", &db, true),
        ],
    );
    cluster.apply(&policy(
        "speak",
        "{podSelector: {matchLabels: {app: front}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}, {to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{protocol: UDP, port: 53}]}]}",
    ));
    expect(
        "allowed again",
        &[("shop", "front", by_name, true), ("shop", "front", &probe, false)],
    );
}
