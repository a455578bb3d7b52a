//! Several nodes: joining, what is refused, renewal of certificates, what runs where, and what becomes of a node that is
//! cut off.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use mizzen_tests::image::IMAGE;
use mizzen_tests::nodes::{Bed, LOSS, SERVER, nodes, placed};
use mizzen_tests::{Cluster, can_run_containers, condition, fail, pause, succeed, tail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The words for which somebody looks.
#[track_caller]
fn refused(command: &mut Command, expect: &[&str]) {
    let said = fail(command);
    for words in expect {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

#[test]
fn a_machine_joins_with_a_token_and_only_as_itself() {
    if !can_run_containers() {
        return;
    }
    let mut bed = Bed::start(&[], &["one"]);
    let token = bed.token();
    let (hash, _) = token.split_once("::").expect("a whole token");

    refused(&mut bed.agent("two"), &["has not joined yet, and no token is given"]);
    refused(
        bed.agent("two").args(["--token", &format!("{hash}::node:wrong")]),
        &["the token is wrong or has expired", "mizzen token create"],
    );
    refused(
        bed.agent("two").args(["--token", "K10abc::node:wrong"]),
        &["the token is malformed"],
    );
    refused(
        bed.agent("two")
            .args(["--token", &format!("K10{}::node:wrong", "0".repeat(64))]),
        &["token CA hash does not match", "another cluster's"],
    );
    for taken in ["one", SERVER] {
        refused(
            bed.agent("two").args(["--token", &token, "--node-name", taken]),
            &["node password rejected", "--with-node-id"],
        );
    }

    // Tokens of an administrator's making.
    let short = succeed(&mut bed.cluster.client("mizzen", &["token", "create", "--ttl=1s"]));
    assert!(short.starts_with(hash), "{short}");
    bed.cluster.wait("the token to be deleted", |cluster| {
        succeed(&mut cluster.client("mizzen", &["token", "list"]))
            .lines()
            .count()
            == 1
    });
    refused(
        bed.agent("two").args(["--token", short.trim()]),
        &["the token is wrong or has expired"],
    );
    let create = ["token", "create", "--description=for a test"];
    let good = succeed(&mut bed.cluster.client("mizzen", &create));
    let list = succeed(&mut bed.cluster.client("mizzen", &["token", "list"]));
    assert!(list.contains("23h") && list.contains("for a test"), "{list}");
    bed.join_with(
        "two",
        good.trim(),
        &["--node-label=disk=ssd", "--node-taint=only=ci:NoSchedule"],
    );
    bed.wait_until_ready("two");
    let node = bed.cluster.get("node two").expect("a node");
    assert_eq!(node["metadata"]["labels"]["disk"], "ssd");
    assert_eq!(node["status"]["addresses"][0]["address"], bed.address("two"));
    assert!(node["spec"]["taints"].to_string().contains(r#""only""#), "{node}");

    // The token is needed once; what the machine has since then suffices.
    succeed(&mut bed.cluster.client("mizzen", &["token", "delete", good.trim()]));
    bed.kill("two");
    bed.join_with("two", good.trim(), &[]);
    bed.wait_until_ready("two");

    // A name is free again when its node is deleted.
    bed.stop("two");
    bed.cluster.run(&["delete", "node", "two"]);
    bed.cluster.wait("the password to be forgotten", |cluster| {
        cluster.get("secret -n kube-system two.node-password.mizzen").is_err()
    });
    bed.join_with("three", &token, &["--node-name=two"]);
    bed.cluster
        .wait("the name to be taken", |cluster| cluster.get("node two").is_ok());
}

#[test]
fn certificates_are_renewed_while_a_node_runs() {
    if !can_run_containers() {
        return;
    }
    let bed = Bed::start(
        &["--kube-controller-manager-arg=cluster-signing-duration=20s"],
        &["one"],
    );
    let renewed = |file: &str| {
        let log = tail(&bed.log("one"), 100_000);
        log.lines()
            .filter(|line| line.contains("renewed a certificate") && line.contains(file))
            .count()
    };
    bed.cluster.wait("certificates to be renewed twice", |_| {
        renewed("client-kubelet.pem") >= 2 && renewed("serving-kubelet.pem") >= 2
    });
    let beat = |cluster: &Cluster| {
        let lease = cluster.get("lease -n kube-node-lease one").unwrap_or_default();
        lease["spec"]["renewTime"].clone()
    };
    let before = beat(&bed.cluster);
    bed.cluster
        .wait("the node to be heard of", |cluster| beat(cluster) != before);
    let raw = ["get", "--raw", "/api/v1/nodes/one/proxy/healthz"];
    assert_eq!(bed.cluster.run(&raw), "ok", "the kubelet is believed");
    assert!(condition(&bed.cluster.get("node one").expect("a node"), "Ready"));

    // What others do not know of it, the node says anew.
    for node in ["one", SERVER] {
        let unknown = r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}"#;
        bed.cluster
            .run(&["patch", "node", node, "--subresource=status", "-p", unknown]);
        bed.cluster.wait("node to be Ready again", |cluster| {
            cluster
                .get(&format!("node {node}"))
                .is_ok_and(|node| condition(&node, "Ready"))
        });
    }
}

/// The Pods of a StatefulSet on agents have their names, places and data again after they were deleted.
fn names_and_data_stay(cluster: &Cluster) {
    cluster.apply(&format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db}}\nspec:\n  serviceName: db\n  replicas: 2\n  \
         podManagementPolicy: Parallel\n  selector: {{matchLabels: {{app: db}}}}\n  template:\n    \
         metadata: {{labels: {{app: db}}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      \
         affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: \
         [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: NotIn, values: [{SERVER}]}}]}}]}}}}}}\n      \
         containers: [{{name: c, image: '{IMAGE}', command: [sleep, '1000000'], \
         volumeMounts: [{{name: data, mountPath: /data}}]}}]\n  \
         volumeClaimTemplates:\n  - metadata: {{name: data}}\n    \
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}\n"
    ));
    cluster.run(&["rollout", "status", "statefulset/db", "--timeout=60s"]);
    let where_are = |c: &Cluster| {
        ["db-0", "db-1"].map(|name| {
            let pod = c.get(&format!("pod {name}")).unwrap_or_default();
            let ready = condition(&pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
            (pod["spec"]["nodeName"].clone(), pod["metadata"]["uid"].clone(), ready)
        })
    };
    let before = where_are(cluster);
    for name in ["db-0", "db-1"] {
        let write = format!("echo {name} > /data/name");
        cluster.run(&["exec", name, "--", "sh", "-c", &write]);
    }
    cluster.run(&["delete", "pod", "-l", "app=db"]);
    cluster.wait("Pods to be back", |c| {
        let now = where_are(c);
        now.iter()
            .zip(&before)
            .all(|(now, old)| now.2 && now.1 != old.1 && now.0 == old.0)
    });
    for name in ["db-0", "db-1"] {
        assert_eq!(cluster.run(&["exec", name, "--", "cat", "/data/name"]).trim(), name);
    }
    cluster.run(&["delete", "statefulset/db"]);
}

/// A Job completes although the container that does its work is killed.
fn a_job_survives(cluster: &Cluster) {
    let time = format!("3141{}", cluster.port());
    cluster.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: work}}\nspec:\n  template:\n    spec:\n      \
         nodeName: one\n      restartPolicy: OnFailure\n      volumes: [{{name: v, emptyDir: {{}}}}]\n      \
         containers: [{{name: c, image: '{IMAGE}', volumeMounts: [{{name: v, mountPath: /v}}], \
         command: [sh, -c, '[ -e /v/begun ] && exit 0; touch /v/begun; exec sleep {time}']}}]\n"
    ));
    let command = format!("sleep\0{time}\0");
    let processes = || {
        let all = std::fs::read_dir("/proc").expect("processes").flatten();
        all.filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == command.as_bytes()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect::<Vec<i32>>()
    };
    cluster.wait("work to begin", |_| !processes().is_empty());
    for process in processes() {
        kill(Pid::from_raw(process), Signal::SIGKILL).expect("killed");
    }
    cluster.run(&["wait", "--for=condition=Complete", "job/work", "--timeout=60s"]);
    let pods = cluster.get("pods -l job-name=work").expect("Pods");
    let status = &pods["items"][0]["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1, "{status}");
}

/// Policies are not enforced on any node, where the server was told so.
fn policies_are_somebody_elses(cluster: &Cluster, from: &str) {
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: open}\nspec:\n  nodeName: one\n  terminationGracePeriodSeconds: 0\n  \
         containers: [{name: c, image: 'mizzen.local/hello:v1', readinessProbe: {httpGet: {path: /readyz, port: 8080}}}]\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}}\n",
    );
    cluster.run(&["wait", "--for=condition=Ready", "pod/open", "--timeout=60s"]);
    let pod = cluster.get("pod open").expect("the Pod");
    let url = format!("http://{}:8080/", pod["status"]["podIP"].as_str().expect("an address"));
    let fetch = format!("for i in 1 2 3; do timeout 3 wget -q -O - {url} || exit 1; sleep 1; done");
    cluster.run(&["exec", from, "--", "sh", "-c", &fetch]);
}

#[test]
fn pods_run_and_are_reached_on_every_node() {
    if !can_run_containers() {
        return;
    }
    let mut bed = Bed::start(&["--disable-network-policy"], &["one"]);
    bed.cluster.apply(&format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: all}}\nspec:\n  selector: {{matchLabels: {{app: all}}}}\n  \
         template:\n    metadata: {{labels: {{app: all}}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      \
         containers:\n      - {{name: c, image: '{IMAGE}', command: [sh, -c, 'echo on $NODE; sleep 1000000'], \
         env: [{{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]}}\n"
    ));
    let on = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    bed.cluster
        .wait("Pods on both nodes", |c| nodes(c, "app=all") == on(&[SERVER, "one"]));
    bed.join("two");
    bed.cluster.wait("a Pod on the new node", |c| {
        nodes(c, "app=all") == on(&[SERVER, "one", "two"])
    });

    let pods = bed.cluster.get("pods -l app=all").expect("Pods");
    let mut from = String::new();
    for pod in pods["items"].as_array().expect("a list") {
        let (name, node) = (&pod["metadata"]["name"], &pod["spec"]["nodeName"]);
        let (name, node) = (name.as_str().expect("a name"), node.as_str().expect("a node"));
        assert_eq!(bed.cluster.run(&["logs", name]), format!("on {node}\n"));
        let exec = ["exec", name, "--", "sh", "-c", "echo $NODE"];
        assert_eq!(bed.cluster.run(&exec).trim(), node);
        if node != "one" {
            from = name.to_owned();
        }
    }
    policies_are_somebody_elses(&bed.cluster, &from);
    names_and_data_stay(&bed.cluster);
    a_job_survives(&bed.cluster);

    bed.stop("two");
    bed.cluster.run(&["delete", "node", "two"]);
    bed.cluster
        .wait("its Pod to go", |c| nodes(c, "app=all") == on(&[SERVER, "one"]));
}

/// What the Pod of the StatefulSet finds in its volume: every Pod that ever began with it, by uid.
#[track_caller]
fn began(cluster: &Cluster, pods: &[&str]) {
    cluster.wait("Pods to have begun one after the other", |c| {
        let found = c.run(&["exec", "db-0", "--", "cat", "/data/starts"]);
        found.lines().eq(pods.iter().copied())
    });
}

/// Waits until the StatefulSet's Pod runs on a node as another than before; gives its uid.
fn replaced(cluster: &Cluster, before: &str) -> String {
    let mut found = String::new();
    cluster.wait_at_most(LOSS, "StatefulSet's Pod to be replaced", |c| {
        let now = placed(c, "app=db");
        let [(node, uid)] = &now[..] else { return false };
        assert_eq!(node, "one", "its volume is there");
        found.clone_from(uid);
        uid != before
    });
    found
}

#[test]
fn a_node_that_is_cut_off_or_lost_is_replaced_and_comes_back() {
    if !can_run_containers() {
        return;
    }
    let mut bed = Bed::start(&[], &["one"]);
    let untainted = |c: &Cluster| c.get("node one").is_ok_and(|node| node["spec"]["taints"].is_null());
    bed.cluster.wait("node one to take Pods", untainted);
    let pod = |app: &str, more: &str| {
        format!(
            "selector: {{matchLabels: {{app: {app}}}}}\n  template:\n    metadata: {{labels: {{app: {app}}}}}\n    \
             spec:\n      terminationGracePeriodSeconds: 1\n      \
             tolerations: [{{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 3}}]\n      \
             affinity: {{nodeAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 100, preference: \
             {{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [one]}}]}}}}]}}}}\n      \
             containers: [{{name: c, image: '{IMAGE}', {more}}}]\n"
        )
    };
    let noting = "command: [sh, -c, 'echo $POD >> /data/starts; exec sleep 1000000'], \
                  env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}], \
                  volumeMounts: [{name: data, mountPath: /data}]";
    bed.cluster.apply(&format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  {}---\n\
         apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db}}\nspec:\n  serviceName: db\n  {}  \
         volumeClaimTemplates:\n  - metadata: {{name: data}}\n    \
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}\n",
        pod("web", "command: [sleep, '1000000']"),
        pod("db", noting)
    ));
    let only = |node: &str| BTreeSet::from([node.to_owned()]);
    bed.cluster.wait("both on the agent", |c| {
        nodes(c, "app=web") == only("one") && nodes(c, "app=db") == only("one")
    });
    let first = placed(&bed.cluster, "app=db").remove(0).1;
    began(&bed.cluster, &[&*first]);

    bed.cut("one");
    bed.cluster.wait_at_most(LOSS, "node to be unreachable", |c| {
        let node = c.get("node one").unwrap_or_default();
        !condition(&node, "Ready") && node["spec"]["taints"].to_string().contains("unreachable")
    });
    bed.cluster.wait_at_most(LOSS, "Deployment's Pod elsewhere", |c| {
        nodes(c, "app=web").contains(SERVER)
    });
    bed.cluster.wait("StatefulSet's Pod to be told to go", |c| {
        let pod = c.get("pod db-0").unwrap_or_default();
        !pod["metadata"]["deletionTimestamp"].is_null()
    });
    // It may still run there, so there is no other.
    pause(Duration::from_secs(3));
    let still = bed.cluster.get("pod db-0").expect("the Pod");
    assert_eq!(still["metadata"]["uid"], *first);
    assert_eq!(still["spec"]["nodeName"], "one");

    bed.heal("one");
    bed.cluster.wait_at_most(LOSS, "node to be back", |c| {
        let node = c.get("node one").unwrap_or_default();
        condition(&node, "Ready") && node["spec"]["taints"].is_null()
    });
    let second = replaced(&bed.cluster, &first);
    began(&bed.cluster, &[&*first, &*second]);
    bed.cluster
        .wait("one Pod of the Deployment", |c| placed(c, "app=web").len() == 1);

    // The machine is lost, and somebody says so: the Pod has its name again, and waits for its data.
    bed.switch_off("one");
    bed.cluster.run(&["delete", "node", "one"]);
    let claim = bed.cluster.get("pvc data-db-0").expect("the claim");
    bed.cluster.wait_at_most(LOSS, "Pod to wait for its volume", |c| {
        let pod = c.get("pod db-0").unwrap_or_default();
        let waits = pod["status"]["conditions"].to_string().contains("PersistentVolume");
        pod["metadata"]["uid"] != *second && waits
    });
    assert_eq!(
        bed.cluster.get("pod db-0").expect("the Pod")["spec"]["nodeName"],
        Value::Null
    );
    let same = bed.cluster.get("pvc data-db-0").expect("the claim");
    assert_eq!(same["metadata"]["uid"], claim["metadata"]["uid"]);
    assert_eq!(same["status"]["phase"], "Bound");

    // It was not lost after all.
    bed.join("one");
    let third = replaced(&bed.cluster, &second);
    began(&bed.cluster, &[&*first, &*second, &*third]);
}
