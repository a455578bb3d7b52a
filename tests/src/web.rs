//! The small web server of our own image, beside a shell: manifests, and who answers.

use std::collections::BTreeSet;

use crate::Cluster;
use crate::image::IMAGE;
use crate::nodes::Bed;

/// The small web server, beside a shell, as the rest of a Pod's spec.
pub fn containers(more: &str) -> String {
    format!(
        "terminationGracePeriodSeconds: 0
      containers:
        - name: hello
          image: mizzen.local/hello:v1
          ports: [{{name: http, containerPort: 8080{more}}}]
          readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
          env: [{{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]
        - {{name: sh, image: '{IMAGE}', command: [sleep, '1000000']}}
"
    )
}

/// A Service of the Pods with a label.
pub fn service(name: &str, app: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {app}}}, {spec}}}
"
    )
}

/// The nodes that answers came from.
pub fn answered(answers: &str) -> BTreeSet<&str> {
    answers.lines().filter_map(|line| line.strip_prefix("Node: ")).collect()
}

/// What a shell in a Pod prints.
#[track_caller]
pub fn shell(cluster: &Cluster, pod: &str, script: &str) -> String {
    cluster.run(&["exec", pod, "-c", "sh", "--", "sh", "-c", script])
}

/// Fetches URLs from a Pod, each a number of times.
#[track_caller]
pub fn fetch(cluster: &Cluster, pod: &str, urls: &[String], times: u8) -> String {
    let urls = urls.join(" ");
    shell(
        cluster,
        pod,
        &format!("for u in {urls}; do for i in $(seq {times}); do timeout 3 wget -q -O - $u || echo lost; done; done"),
    )
}

/// Fetches a URL from a node.
pub fn fetch_on(bed: &Bed, node: &str, url: &str) -> Option<String> {
    let mut wget = bed.on(node, "busybox");
    let output = wget
        .args(["timeout", "2", "busybox", "wget", "-q", "-O", "-", url])
        .output();
    let output = output.expect("busybox runs");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(answer)
}
