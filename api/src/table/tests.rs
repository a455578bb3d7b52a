//! Rows as kubectl prints them.

use super::*;
use crate::resource::builtin;

/// 2026-01-02T00:00:00Z.
const NOW: i64 = 1_767_312_000;

/// Renders objects of a resource as `get -o wide` does, without padding.
fn table(name: &str, objects: &[Value]) -> String {
    let resource = builtin().resolve(name).expect(name);
    let now = Timestamp::from_second(NOW).expect("a time");
    let heading = |c: &Column| format!("{}{}", c.name.to_uppercase(), if c.wide { "*" } else { "" });
    let mut out = columns(resource).iter().map(heading).collect::<Vec<_>>().join(" | ");
    for object in objects {
        let cells = row(resource, object, now);
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        out.push('\n');
        out.push_str(&cells.join(" | "));
    }
    out
}

/// A Pod of two containers, merged with what a case is about.
fn pod(name: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T23:56:39Z"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": status,
    })
}

fn running(ready: bool) -> Value {
    json!({"ready": ready, "restartCount": 0, "state": {"running": {}}})
}

fn waiting(reason: &str) -> Value {
    json!({"ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason}}})
}

fn exited(code: i64, reason: &str) -> Value {
    json!({"ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason}}})
}

#[test]
fn pods_are_summed_up_as_upstream_does() {
    let mut init = pod(
        "init",
        json!({"phase": "Pending", "initContainerStatuses": [exited(0, "Completed"), waiting("PodInitializing")]}),
    );
    init["spec"]["initContainers"] = json!([{"name": "x"}, {"name": "y"}]);
    let mut init_failed = init.clone();
    init_failed["metadata"]["name"] = json!("init-failed");
    init_failed["status"]["initContainerStatuses"] = json!([exited(3, "")]);
    let mut init_crash = init.clone();
    init_crash["metadata"]["name"] = json!("init-crash");
    init_crash["status"]["initContainerStatuses"] = json!([waiting("CrashLoopBackOff")]);
    let mut sidecar = pod(
        "sidecar",
        json!({"phase": "Running", "containerStatuses": [running(true), running(true)],
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]}),
    );
    sidecar["spec"]["initContainers"] = json!([{"name": "s", "restartPolicy": "Always"}]);
    let mut terminating = pod(
        "terminating",
        json!({"phase": "Running", "containerStatuses": [running(true), running(true)]}),
    );
    terminating["metadata"]["deletionTimestamp"] = json!("2026-01-01T23:59:00Z");
    let mut crash = pod(
        "crash",
        json!({"phase": "Running", "containerStatuses": [running(true), waiting("CrashLoopBackOff")]}),
    );
    crash["status"]["containerStatuses"][1]["restartCount"] = json!(2);
    crash["status"]["containerStatuses"][1]["lastState"] =
        json!({"terminated": {"finishedAt": "2026-01-01T23:59:55Z"}});
    let mut wide = pod(
        "wide",
        json!({"phase": "Running", "containerStatuses": [running(true), running(false)],
        "podIPs": [{"ip": "10.42.0.7"}], "conditions": [{"type": "gate", "status": "True"}]}),
    );
    wide["spec"]["nodeName"] = json!("n1");
    wide["spec"]["readinessGates"] = json!([{"conditionType": "gate"}, {"conditionType": "other"}]);
    let all = [
        pod("pending", json!({"phase": "Pending"})),
        pod(
            "creating",
            json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating"), waiting("ContainerCreating")]}),
        ),
        pod(
            "gated",
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ),
        init,
        init_failed,
        init_crash,
        wide,
        sidecar,
        crash,
        pod(
            "done",
            json!({"phase": "Succeeded", "containerStatuses": [exited(0, "Completed"), exited(0, "Completed")]}),
        ),
        pod(
            "half-done",
            json!({"phase": "Running", "containerStatuses": [exited(0, "Completed"), running(true)]}),
        ),
        pod(
            "error",
            json!({"phase": "Failed", "containerStatuses": [exited(1, "Error"), exited(1, "")]}),
        ),
        pod("evicted", json!({"phase": "Failed", "reason": "Evicted"})),
        terminating,
    ];
    insta::assert_snapshot!(table("pods", &all), @r"
    NAME | READY | STATUS | RESTARTS | AGE | IP* | NODE* | NOMINATED NODE* | READINESS GATES*
    pending | 0/2 | Pending | 0 | 3m21s | <none> | <none> | <none> | <none>
    creating | 0/2 | ContainerCreating | 0 | 3m21s | <none> | <none> | <none> | <none>
    gated | 0/2 | SchedulingGated | 0 | 3m21s | <none> | <none> | <none> | <none>
    init | 0/2 | Init:1/2 | 0 | 3m21s | <none> | <none> | <none> | <none>
    init-failed | 0/2 | Init:ExitCode:3 | 0 | 3m21s | <none> | <none> | <none> | <none>
    init-crash | 0/2 | Init:CrashLoopBackOff | 0 | 3m21s | <none> | <none> | <none> | <none>
    wide | 1/2 | Running | 0 | 3m21s | 10.42.0.7 | n1 | <none> | 1/2
    sidecar | 3/3 | Running | 1 | 3m21s | <none> | <none> | <none> | <none>
    crash | 1/2 | CrashLoopBackOff | 2 (5s ago) | 3m21s | <none> | <none> | <none> | <none>
    done | 0/2 | Completed | 0 | 3m21s | <none> | <none> | <none> | <none>
    half-done | 1/2 | NotReady | 0 | 3m21s | <none> | <none> | <none> | <none>
    error | 0/2 | Error | 0 | 3m21s | <none> | <none> | <none> | <none>
    evicted | 0/2 | Evicted | 0 | 3m21s | <none> | <none> | <none> | <none>
    terminating | 2/2 | Terminating | 0 | 3m21s | <none> | <none> | <none> | <none>
    ");
}

#[test]
fn severities_tell_trouble() {
    let word = |status: Value| pod_status(&pod("x", status)).severity;
    assert_eq!(
        word(json!({"phase": "Running", "containerStatuses": [running(true), running(true)]})),
        Severity::Ok
    );
    assert_eq!(
        word(json!({"phase": "Running", "containerStatuses": [running(true), running(false)]})),
        Severity::Progress
    );
    assert_eq!(
        word(json!({"phase": "Pending", "containerStatuses": [waiting("ImagePullBackOff")]})),
        Severity::Failure
    );
    assert_eq!(
        word(json!({"phase": "Succeeded", "containerStatuses": [exited(0, "Completed")]})),
        Severity::Muted
    );
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2026-01-01T22:00:00Z"})
}

#[test]
fn services_show_how_they_are_reached() {
    let service =
        |name: &str, spec: Value, status: Value| json!({"metadata": meta(name), "spec": spec, "status": status});
    let all = [
        service(
            "plain",
            json!({"type": "ClusterIP", "clusterIPs": ["10.43.0.9"], "selector": {"app": "web", "a": "b"},
            "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
            json!({}),
        ),
        service(
            "headless",
            json!({"type": "ClusterIP", "clusterIPs": ["None"]}),
            json!({}),
        ),
        service(
            "node",
            json!({"type": "NodePort", "clusterIPs": ["10.43.0.8"], "externalIPs": ["192.0.2.1"],
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
            json!({}),
        ),
        service(
            "pending",
            json!({"type": "LoadBalancer", "clusterIPs": ["10.43.0.7"]}),
            json!({}),
        ),
        service(
            "balanced",
            json!({"type": "LoadBalancer", "clusterIPs": ["10.43.0.7"]}),
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "lb.example"}]}}),
        ),
        service(
            "elsewhere",
            json!({"type": "ExternalName", "externalName": "example.com"}),
            json!({}),
        ),
    ];
    insta::assert_snapshot!(table("services", &all), @r"
    NAME | TYPE | CLUSTER-IP | EXTERNAL-IP | PORT(S) | AGE | SELECTOR*
    plain | ClusterIP | 10.43.0.9 | <none> | 80/TCP,53/UDP | 120m | a=b,app=web
    headless | ClusterIP | None | <none> | <none> | 120m | <none>
    node | NodePort | 10.43.0.8 | 192.0.2.1 | 80:30080/TCP | 120m | <none>
    pending | LoadBalancer | 10.43.0.7 | <pending> | <none> | 120m | <none>
    balanced | LoadBalancer | 10.43.0.7 | 192.0.2.9,lb.example | <none> | 120m | <none>
    elsewhere | ExternalName | <none> | example.com | <none> | 120m | <none>
    ");
}

#[test]
fn workloads_show_their_pods() {
    let template =
        json!({"spec": {"containers": [{"name": "web", "image": "hello:v1"}, {"name": "log", "image": "log:1"}]}});
    let spec = json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "web"}}});
    let one = |status: Value| json!({"metadata": meta("web"), "spec": spec, "status": status});
    insta::assert_snapshot!(table("deploy", &[one(json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}))]), @r"
    NAME | READY | UP-TO-DATE | AVAILABLE | AGE | CONTAINERS* | IMAGES* | SELECTOR*
    web | 2/3 | 3 | 1 | 120m | web,log | hello:v1,log:1 | app=web
    ");
    insta::assert_snapshot!(table("rs", &[one(json!({"readyReplicas": 2, "replicas": 3}))]), @r"
    NAME | DESIRED | CURRENT | READY | AGE | CONTAINERS* | IMAGES* | SELECTOR*
    web | 3 | 3 | 2 | 120m | web,log | hello:v1,log:1 | app=web
    ");
    insta::assert_snapshot!(table("sts", &[one(json!({"readyReplicas": 2}))]), @r"
    NAME | READY | AGE | CONTAINERS* | IMAGES*
    web | 2/3 | 120m | web,log | hello:v1,log:1
    ");
    insta::assert_snapshot!(table("ds", &[one(json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberReady": 2}))]), @r"
    NAME | DESIRED | CURRENT | READY | UP-TO-DATE | AVAILABLE | NODE SELECTOR | AGE | CONTAINERS* | IMAGES* | SELECTOR*
    web | 3 | 3 | 2 | 0 | 0 | <none> | 120m | web,log | hello:v1,log:1 | app=web
    ");
    let job = |spec: Value, status: Value| json!({"metadata": meta("job"), "spec": spec, "status": status});
    insta::assert_snapshot!(table("jobs", &[
        job(json!({"completions": 5}), json!({"succeeded": 2, "startTime": "2026-01-01T23:00:00Z"})),
        job(json!({"parallelism": 3}), json!({"startTime": "2026-01-01T23:00:00Z", "completionTime": "2026-01-01T23:00:30Z",
            "conditions": [{"type": "Complete", "status": "True"}]})),
    ]), @r"
    NAME | STATUS | COMPLETIONS | DURATION | AGE | CONTAINERS* | IMAGES* | SELECTOR*
    job | Running | 2/5 | 60m | 120m |  |  | <none>
    job | Complete | 0/1 of 3 | 30s | 120m |  |  | <none>
    ");
    let cron = json!({"metadata": meta("c"), "spec": {"schedule": "* * * * *", "suspend": false}, "status": {"lastScheduleTime": "2026-01-01T23:59:00Z"}});
    insta::assert_snapshot!(table("cronjobs", &[cron]), @r"
    NAME | SCHEDULE | TIMEZONE | SUSPEND | ACTIVE | LAST SCHEDULE | AGE | CONTAINERS* | IMAGES* | SELECTOR*
    c | * * * * * | <none> | False | 0 | 60s | 120m |  |  | <none>
    ");
    let hpa = json!({"metadata": meta("h"), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 4, "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
        {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
        {"type": "Object", "object": {"target": {"value": "1"}}}]},
        "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 12}}}]}});
    insta::assert_snapshot!(table("hpa", &[hpa]), @r"
    NAME | REFERENCE | TARGETS | MINPODS | MAXPODS | REPLICAS | AGE
    h | Deployment/web | cpu: 12%/80%, <unknown>/10 + 1 more... | <unset> | 4 | 0 | 120m
    ");
    let v1 = json!({"metadata": meta("h"), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 4,
        "targetCPUUtilizationPercentage": 70}});
    insta::assert_snapshot!(table("hpa.v1.autoscaling", &[v1]), @r"
    NAME | REFERENCE | TARGETS | MINPODS | MAXPODS | REPLICAS | AGE
    h | Deployment/web | cpu: <unknown>/70% | <unset> | 4 | 0 | 120m
    ");
}

#[test]
fn the_cluster_shows_itself() {
    let node = json!({"metadata": {"name": "n1", "creationTimestamp": "2026-01-01T22:00:00Z",
            "labels": {"node-role.kubernetes.io/control-plane": "true", "kubernetes.io/role": "agent"}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0+mizzen", "osImage": "Debian", "kernelVersion": "6.18"}}});
    insta::assert_snapshot!(table("nodes", &[node, json!({"metadata": meta("n2")})]), @r"
    NAME | STATUS | ROLES | AGE | VERSION | INTERNAL-IP* | EXTERNAL-IP* | OS-IMAGE* | KERNEL-VERSION* | CONTAINER-RUNTIME*
    n1 | Ready,SchedulingDisabled | agent,control-plane | 120m | v1.37.0+mizzen | 192.0.2.1 | <none> | Debian | 6.18 | <unknown>
    n2 | Unknown | <none> | 120m |  | <none> | <none> | <unknown> | <unknown> | <unknown>
    ");
    insta::assert_snapshot!(table("secrets", &[json!({"metadata": meta("s"), "type": "Opaque", "data": {"a": "eA=="}})]), @r"
    NAME | TYPE | DATA | AGE
    s | Opaque | 1 | 120m
    ");
    let event = json!({"metadata": meta("e.1"), "type": "Warning", "reason": "BackOff", "message": "no luck\n", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"}, "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:30Z"});
    let series = json!({"metadata": meta("e.2"), "type": "Normal", "reason": "Scheduled", "involvedObject": {"kind": "Pod", "name": "web"},
        "reportingComponent": "default-scheduler", "eventTime": "2026-01-01T23:00:00.000000Z", "firstTimestamp": null});
    insta::assert_snapshot!(table("events", &[event, series]), @r"
    LAST SEEN | TYPE | REASON | OBJECT | SUBOBJECT* | SOURCE* | MESSAGE | FIRST SEEN* | COUNT* | NAME*
    30s | Warning | BackOff | pod/web | spec.containers{a} | kubelet, n1 | no luck | 60m | 3 | e.1
    60m | Normal | Scheduled | pod/web |  | default-scheduler |  | 60m | 1 | e.2
    ");
    let new_event = json!({"metadata": meta("e.3"), "type": "Normal", "reason": "Scheduled", "regarding": {"kind": "Pod", "name": "web"},
        "note": "hello", "reportingController": "default-scheduler", "eventTime": "2026-01-01T23:00:00.000000Z"});
    insta::assert_snapshot!(table("events.events.k8s.io", &[new_event]), @r"
    LAST SEEN | TYPE | REASON | OBJECT | SUBOBJECT* | SOURCE* | MESSAGE | FIRST SEEN* | COUNT* | NAME*
    60m | Normal | Scheduled | pod/web |  | default-scheduler | hello | 60m | 1 | e.3
    ");
    insta::assert_snapshot!(table("quota", &[json!({"metadata": meta("q"), "status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}})]), @r"
    NAME | REQUEST | LIMIT | AGE
    q | pods: 1/5 | limits.cpu: 0/2 | 120m
    ");
}

#[test]
fn storage_and_access_show_themselves() {
    let pv = json!({"metadata": meta("pv"), "spec": {"capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "default", "name": "c"}, "storageClassName": "local-path",
        "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}});
    insta::assert_snapshot!(table("pv", &[pv]), @r"
    NAME | CAPACITY | ACCESS MODES | RECLAIM POLICY | STATUS | CLAIM | STORAGECLASS | VOLUMEATTRIBUTESCLASS | REASON | AGE | VOLUMEMODE*
    pv | 1Gi | RWO,RWX | Delete | Bound | default/c | local-path | <unset> |  | 120m | Filesystem
    ");
    insta::assert_snapshot!(table("pvc", &[json!({"metadata": meta("c"), "spec": {"storageClassName": "x"}, "status": {"phase": "Pending"}})]), @r"
    NAME | STATUS | VOLUME | CAPACITY | ACCESS MODES | STORAGECLASS | VOLUMEATTRIBUTESCLASS | AGE | VOLUMEMODE*
    c | Pending |  |  |  | x | <unset> | 120m | <unset>
    ");
    insta::assert_snapshot!(table("sc", &[json!({"metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "mizzen.local/local-path"})]), @r"
    NAME | PROVISIONER | RECLAIMPOLICY | VOLUMEBINDINGMODE | ALLOWVOLUMEEXPANSION | AGE
    local-path (default) | mizzen.local/local-path | Delete | Immediate | false | <unknown>
    ");
    insta::assert_snapshot!(table("clusterrolebindings", &[json!({"metadata": meta("b"), "roleRef": {"kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "namespace": "a", "name": "b"}]})]), @r"
    NAME | ROLE | AGE | USERS* | GROUPS* | SERVICEACCOUNTS*
    b | ClusterRole/admin | 120m | ann |  | a/b
    ");
    insta::assert_snapshot!(table("roles", &[json!({"metadata": meta("r")})]), @r"
    NAME | CREATED AT
    r | 2026-01-01T22:00:00Z
    ");
    insta::assert_snapshot!(table("csr", &[json!({"metadata": meta("r"), "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
        "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}})]), @r"
    NAME | AGE | SIGNERNAME | REQUESTOR | REQUESTEDDURATION | CONDITION
    r | 120m | s | u | 60m | Approved,Issued
    ");
    let slice = json!({"metadata": meta("s"), "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]},
        {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]});
    insta::assert_snapshot!(table("endpointslices", &[slice]), @r"
    NAME | ADDRESSTYPE | PORTS | ENDPOINTS | AGE
    s | IPv4 | 80 | 10.0.0.1,10.0.0.2,10.0.0.3 + 1 more... | 120m
    ");
    let endpoints = json!({"metadata": meta("e"), "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]});
    insta::assert_snapshot!(table("endpoints", &[endpoints, json!({"metadata": meta("none")})]), @r"
    NAME | ENDPOINTS | AGE
    e | 10.0.0.1:80,[fd00::1]:80 | 120m
    none | <none> | 120m
    ");
}

#[test]
fn every_row_of_the_registry_has_columns_that_bear_any_object() {
    for resource in builtin().iter() {
        for object in [
            json!({}),
            json!({"metadata": 3, "spec": [], "status": "x"}),
            json!(null),
        ] {
            let cells = row(resource, &object, Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), columns(resource).len());
        }
    }
}
