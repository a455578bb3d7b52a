//! Jobs, quotas and limits on a real node, driven by kubectl.

use mizzen_tests::{Cluster, can_run_containers, condition, fail};
use serde_json::Value;

fn job(name: &str, spec: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - {{name: c, image: 'mizzen.local/hello:v1', command: {command}}}\n"
    )
}

fn get(cluster: &Cluster, name: &str) -> Value {
    cluster.get(&format!("job {name}")).unwrap_or_default()
}

fn pods(cluster: &Cluster, job: &str) -> Vec<Value> {
    let pods = cluster.get(&format!("pods -l batch.kubernetes.io/job-name={job}"));
    pods.expect("Pods")["items"].as_array().cloned().unwrap_or_default()
}

fn reason(job: &Value, kind: &str) -> String {
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == kind);
    found.map_or_else(String::new, |c| c["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn jobs_run_under_failures_and_quotas_hold() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start();
    const GOOD: &str = "[/hello, --version]";

    // Four indexes, two at a time; each knows its own, and its host name.
    cluster.apply(include_str!("../../examples/job.yaml"));
    cluster.wait("Indexed Job to be complete", |c| {
        condition(&get(c, "counting"), "Complete")
    });
    let done = get(&cluster, "counting");
    assert_eq!(done["status"]["completedIndexes"], "0-3");
    assert_eq!(done["status"]["succeeded"], 4);
    let hosts: Vec<_> = pods(&cluster, "counting")
        .iter()
        .map(|pod| pod["spec"]["hostname"].clone())
        .collect();
    assert_eq!(hosts.len(), 4);
    assert!(hosts.contains(&"counting-3".into()), "{hosts:?}");
    assert!(
        pods(&cluster, "counting")
            .iter()
            .all(|pod| pod["metadata"].get("finalizers").is_none()),
        "every Pod is counted and let go"
    );

    // Failures end a Job at its limit; a policy ends it at once.
    cluster.apply(&job("failing", "backoffLimit: 0", "[/hello, --exit, '1']"));
    cluster.wait("Job to fail", |c| condition(&get(c, "failing"), "Failed"));
    assert_eq!(reason(&get(&cluster, "failing"), "Failed"), "BackoffLimitExceeded");
    let policy = "podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}";
    cluster.apply(&job("policy", policy, "[/hello, --exit, '42']"));
    cluster.wait("policy to end the Job", |c| condition(&get(c, "policy"), "Failed"));
    assert_eq!(reason(&get(&cluster, "policy"), "Failed"), "PodFailurePolicy");
    assert_eq!(pods(&cluster, "policy").len(), 1);

    // Held, resumed, and gone by itself.
    cluster.apply(&job("held", "suspend: true\n  ttlSecondsAfterFinished: 1", GOOD));
    cluster.wait("Job to be suspended", |c| condition(&get(c, "held"), "Suspended"));
    assert!(pods(&cluster, "held").is_empty());
    cluster.run(&["patch", "job", "held", "-p", r#"{"spec": {"suspend": false}}"#]);
    cluster.wait("Job to be forgotten", |c| {
        c.get("job held").is_err() && pods(c, "held").is_empty()
    });

    // Deleted while it runs, a Job takes its Pods along.
    cluster.apply(&job("serving", "parallelism: 2\n  completions: 2", "[/hello]"));
    cluster.wait("Job's Pods to run", |c| get(c, "serving")["status"]["ready"] == 2);
    cluster.run(&["delete", "job", "serving", "--wait=false"]);
    cluster.wait("Pods to go with their Job", |c| pods(c, "serving").is_empty());

    // A CronJob's Job by hand.
    cluster.apply(include_str!("../../examples/cronjob.yaml"));
    cluster.run(&["create", "job", "now", "--from=cronjob/greeting"]);
    cluster.wait("CronJob's Job to be complete", |c| {
        condition(&get(c, "now"), "Complete")
    });

    quotas_and_limits(&cluster);
}

fn quotas_and_limits(cluster: &Cluster) {
    cluster.run(&["create", "namespace", "small"]);
    cluster.wait("ServiceAccount", |c| c.get("serviceaccount default -n small").is_ok());
    cluster.run(&["create", "quota", "q", "-n", "small", "--hard=pods=2,configmaps=3"]);
    let used = |c: &Cluster| c.get("quota q -n small").unwrap_or_default()["status"]["used"].clone();
    // One ConfigMap is in every namespace: the authority.
    cluster.wait("quota to be counted", |c| {
        used(c)["configmaps"] == "1" && used(c)["pods"] == "0"
    });
    cluster.run(&["create", "configmap", "a", "-n", "small"]);
    cluster.run(&["create", "configmap", "b", "-n", "small"]);
    let refused = fail(&mut cluster.kubectl(&["create", "configmap", "c", "-n", "small"]));
    assert_eq!(
        refused.trim(),
        r#"error: failed to create configmap: configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"#
    );
    cluster.run(&["delete", "configmap", "a", "-n", "small"]);
    cluster.wait("usage to be given back", |c| used(c)["configmaps"] == "2");
    cluster.run(&["create", "configmap", "c", "-n", "small"]);

    let limits = include_str!("../../examples/limitrange.yaml").replace("modest", "small");
    std::fs::write(cluster.scratch().join("limits.yaml"), limits).expect("a file");
    let file = cluster.scratch().join("limits.yaml");
    cluster.run(&["apply", "-n", "small", "-f", file.to_str().expect("a path")]);
    cluster.run(&["run", "p", "-n", "small", "--image=mizzen.local/hello:v1"]);
    let pod = cluster.get("pod p -n small").expect("the Pod");
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"]["cpu"], "50m");
    assert_eq!(resources["limits"]["memory"], "128Mi");
    let greedy = r#"{"spec": {"containers": [{"name": "big", "image": "i", "resources": {"limits": {"cpu": "4"}}}]}}"#;
    let overrides = format!("--overrides={greedy}");
    let refused = fail(&mut cluster.kubectl(&["run", "big", "-n", "small", "--image=i", &overrides]));
    assert!(
        refused.contains("maximum cpu usage per Container is 1, but limit is 4"),
        "{refused}"
    );
}
