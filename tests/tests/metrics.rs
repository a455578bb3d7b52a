//! What is used, from containers to who asks: the kubelet, `metrics.k8s.io`, `top`, and an autoscaler.

use std::time::Duration;

use mizzen_tests::{Cluster, can_run_containers, image, succeed};

/// A Deployment that keeps a processor busy, and an autoscaler that wants less of it per Pod.
fn busy(image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: busy}}
spec:
  selector: {{matchLabels: {{app: busy}}}}
  template:
    metadata: {{labels: {{app: busy}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: {image}
          command: [sh, -c, "while :; do :; done"]
          resources: {{requests: {{cpu: 10m}}, limits: {{cpu: 200m}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: busy}}
spec:
  minReplicas: 1
  maxReplicas: 2
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: busy}}
  metrics:
    - type: Resource
      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}
"#
    )
}

#[test]
fn what_is_used_is_told_and_scaled_by() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with_shell();
    cluster.apply(&busy(image::IMAGE));
    cluster.run(&["rollout", "status", "deployment/busy"]);
    let pods = || cluster.get("pods.metrics.k8s.io -l app=busy").expect("metrics");
    cluster.wait("Pod to be measured", |_| {
        !pods()["items"].as_array().expect("a list").is_empty()
    });
    let pod = &pods()["items"][0];
    assert_eq!(pod["kind"], "PodMetrics");
    let cpu = pod["containers"][0]["usage"]["cpu"].as_str().expect("a text");
    let cpu: u64 = cpu.trim_end_matches('n').parse().expect("billionths");
    assert!((10_000_000..1_000_000_000).contains(&cpu), "{pod}");

    let node = &cluster.get("nodes.metrics.k8s.io").expect("metrics")["items"][0];
    assert!(
        node["usage"]["memory"].as_str().is_some_and(|m| m.ends_with("Ki")),
        "{node}"
    );
    for client in ["kubectl-1.32", "kubectl-1.35", "mizzen"] {
        let top = succeed(&mut cluster.client(client, &["top", "pods", "--containers"]));
        assert!(top.starts_with("POD") && top.contains("main"), "{client}: {top}");
        let top = succeed(&mut cluster.client(client, &["top", "nodes"]));
        assert!(top.starts_with("NAME") && top.contains('%'), "{client}: {top}");
    }
    let name = node["metadata"]["name"].as_str().expect("a name");
    let told = cluster.run(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/metrics/resource")]);
    for metric in [
        "container_cpu_usage_seconds_total{container=\"main\"",
        "node_memory_working_set_bytes ",
    ] {
        assert!(told.contains(metric), "{metric} is not in\n{told}");
    }

    cluster.wait_at_most(Duration::from_secs(120), "autoscaler to act", |c| {
        c.get("deployment busy").is_ok_and(|busy| busy["spec"]["replicas"] == 2)
    });
    let scaler = cluster.get("hpa busy").expect("an autoscaler");
    assert_eq!(
        scaler["status"]["currentMetrics"][0]["resource"]["name"], "cpu",
        "{scaler}"
    );
}
