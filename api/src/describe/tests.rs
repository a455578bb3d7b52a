//! Descriptions as kubectl prints them.

use super::*;
use crate::resource::builtin;
use serde_json::json;

fn check(kind: &str, object: Value, related: &[(&'static str, Value)]) -> String {
    let resource = builtin().resolve(kind).expect(kind);
    let now: Zoned = "2026-01-02T00:00:00[UTC]".parse().expect("a time");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let related: Related = related.iter().map(|(key, value)| (*key, list(value))).collect();
    describe(resource, &object, &related, &now)
}

#[test]
fn pods() {
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u", "labels": {"b": "2", "a": "1"},
            "annotations": {"note": "line\nother"}, "ownerReferences": [{"controller": true, "kind": "ReplicaSet", "name": "web"}]},
        "spec": {"nodeName": "n1", "serviceAccountName": "default", "priority": 0,
            "containers": [{"name": "web", "image": "hello:v1", "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "command": ["hello"], "args": ["--a", "b"],
                "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "16Mi"}},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "A", "value": "b"}, {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
                "volumeMounts": [{"mountPath": "/var/run/x", "name": "token", "readOnly": true}, {"mountPath": "/data", "name": "data", "subPath": "d"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607}}, {"configMap": {"name": "kube-root-ca.crt"}}, {"downwardAPI": {}}]}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}], "qosClass": "Burstable",
            "startTime": "2026-01-01T23:00:00Z", "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "web", "containerID": "containerd://c", "imageID": "i", "ready": true, "restartCount": 1,
                "state": {"running": {"startedAt": "2026-01-01T23:30:00Z"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-01-01T23:00:00Z", "finishedAt": "2026-01-01T23:29:00Z"}}}]}});
    let events = json!([
        {"type": "Warning", "reason": "BackOff", "message": "Back-off", "count": 3, "source": {"component": "kubelet"},
            "firstTimestamp": "2026-01-01T23:29:00Z", "lastTimestamp": "2026-01-01T23:29:30Z"},
        {"type": "Normal", "reason": "Scheduled", "message": "Successfully assigned", "reportingComponent": "default-scheduler",
            "eventTime": "2026-01-01T23:00:00.000000Z", "firstTimestamp": null}]);
    insta::assert_snapshot!(check("pod", pod, &[("events", events)]), @r#"
    Name:             web-1
    Namespace:        default
    Priority:         0
    Service Account:  default
    Node:             n1/192.0.2.1
    Start Time:       Thu, 01 Jan 2026 23:00:00 +0000
    Labels:           a=1
                      b=2
    Annotations:      note:
                        line
                        other
    Status:           Running
    IP:               10.42.0.5
    IPs:
      IP:           10.42.0.5
    Controlled By:  ReplicaSet/web
    Containers:
      web:
        Container ID:  containerd://c
        Image:         hello:v1
        Image ID:      i
        Port:          8080/TCP
        Host Port:     0/TCP
        Command:
          hello
        Args:
          --a
          b
        State:          Running
          Started:      Thu, 01 Jan 2026 23:30:00 +0000
        Last State:     Terminated
          Reason:       Error
          Exit Code:    1
          Started:      Thu, 01 Jan 2026 23:00:00 +0000
          Finished:     Thu, 01 Jan 2026 23:29:00 +0000
        Ready:          True
        Restart Count:  1
        Limits:
          memory:  64Mi
        Requests:
          cpu:     10m
          memory:  16Mi
        Liveness:  http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3
        Environment:
          A:    b
          POD:  web-1 (v1:metadata.name)
          KEY:  <set to the key 'k' in secret 's'>  Optional: false
          CPU:  node allocatable (limits.cpu)
        Mounts:
          /data from data (rw,path="d")
          /var/run/x from token (ro)
    Conditions:
      Type           Status
      Ready          True 
      PodScheduled   True 
    Volumes:
      data:
        Type:       EmptyDir (a temporary directory that shares a pod's lifetime)
        Medium:     
        SizeLimit:  <unset>
      token:
        Type:                    Projected (a volume that contains injected data from multiple sources)
        TokenExpirationSeconds:  3607
        ConfigMapName:           kube-root-ca.crt
        Optional:                false
        DownwardAPI:             true
    QoS Class:                   Burstable
    Node-Selectors:              <none>
    Tolerations:                 node.kubernetes.io/not-ready:NoExecute op=Exists for 300s
    Events:
      Type     Reason     Age                From               Message
      ----     ------     ----               ----               -------
      Normal   Scheduled  60m                default-scheduler  Successfully assigned
      Warning  BackOff    30m (x3 over 31m)  kubelet            Back-off
    "#);
}

#[test]
fn deployments() {
    let deployment = json!({"metadata": {"name": "web", "namespace": "default", "uid": "d", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "hello:v2"}],
                "volumes": [{"name": "c", "configMap": {"name": "cfg"}}]}}},
        "status": {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
            "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]}});
    let owned = |name: &str, revision: &str, count: i64| {
        json!({"metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision},
        "ownerReferences": [{"controller": true, "uid": "d"}]}, "spec": {"replicas": count}, "status": {"replicas": count}})
    };
    let sets = json!([owned("web-1", "1", 0), owned("web-2", "2", 3)]);
    insta::assert_snapshot!(check("deploy", deployment, &[("events", json!([])), ("replicasets.apps", sets)]), @r"
    Name:                   web
    Namespace:              default
    CreationTimestamp:      Thu, 01 Jan 2026 00:00:00 +0000
    Labels:                 <none>
    Annotations:            deployment.kubernetes.io/revision: 2
    Selector:               app=web
    Replicas:               3 desired | 3 updated | 3 total | 3 available | 0 unavailable
    StrategyType:           RollingUpdate
    MinReadySeconds:        0
    RollingUpdateStrategy:  1 max unavailable, 25% max surge
    Pod Template:
      Labels:  app=web
      Containers:
       web:
        Image:        hello:v2
        Port:         <none>
        Host Port:    <none>
        Environment:  <none>
        Mounts:       <none>
      Volumes:
       c:
        Type:          ConfigMap (a volume populated by a ConfigMap)
        Name:          cfg
        Optional:      false
      Node-Selectors:  <none>
      Tolerations:     <none>
    Conditions:
      Type           Status  Reason
      ----           ------  ------
      Available      True    MinimumReplicasAvailable
    OldReplicaSets:  web-1 (0/0 replicas created)
    NewReplicaSet:   web-2 (3/3 replicas created)
    Events:          <none>
    ");
}

#[test]
fn services() {
    let service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "NodePort", "selector": {"app": "web"},
        "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP"}],
        "sessionAffinity": "None", "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}});
    let slices = json!([{"ports": [{"name": "http", "port": 8080}], "endpoints": [
        {"addresses": ["10.42.0.5"], "conditions": {"ready": true}}, {"addresses": ["10.42.0.6"], "conditions": {"ready": false}}]}]);
    let related = [("events", json!([])), ("endpointslices.discovery.k8s.io", slices)];
    insta::assert_snapshot!(check("svc", service, &related), @r"
    Name:                     web
    Namespace:                default
    Labels:                   <none>
    Annotations:              <none>
    Selector:                 app=web
    Type:                     NodePort
    IP Family Policy:         SingleStack
    IP Families:              IPv4
    IP:                       10.43.0.9
    IPs:                      10.43.0.9
    Port:                     http  80/TCP
    TargetPort:               8080/TCP
    NodePort:                 http  30080/TCP
    Endpoints:                10.42.0.5:8080
    Session Affinity:         None
    External Traffic Policy:  Cluster
    Internal Traffic Policy:  Cluster
    Events:                   <none>
    ");
}

#[test]
fn configuration() {
    let meta = json!({"name": "x", "namespace": "default", "uid": "u"});
    insta::assert_snapshot!(check("cm", json!({"metadata": meta, "data": {"b": "1", "a": "x\ny\n"}, "binaryData": {"z": "AAAA"}}), &[("events", json!([]))]), @r"
    Name:         x
    Namespace:    default
    Labels:       <none>
    Annotations:  <none>

    Data
    ====
    a:
    ----
    x
    y


    b:
    ----
    1


    BinaryData
    ====
    z: 3 bytes

    Events:  <none>
    ");
    let secret = check(
        "secret",
        json!({"metadata": meta, "type": "Opaque", "data": {"password": "aHVudGVyMg=="}}),
        &[],
    );
    assert!(!secret.contains("hunter2") && !secret.contains("aHVudGVyMg"));
    insta::assert_snapshot!(secret, @r"
    Name:         x
    Namespace:    default
    Labels:       <none>
    Annotations:  <none>

    Type:  Opaque

    Data
    ====
    password:  7 bytes
    ");
    insta::assert_snapshot!(check("sa", json!({"metadata": meta, "imagePullSecrets": [{"name": "gone"}]}), &[("secrets", json!([])), ("events", json!([]))]), @r"
    Name:                x
    Namespace:           default
    Labels:              <none>
    Annotations:         <none>
    Image pull secrets:  gone (not found)
    Mountable secrets:   <none>
    Tokens:              <none>
    Events:              <none>
    ");
}

#[test]
fn the_cluster() {
    let node = json!({"metadata": {"name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"node-role.kubernetes.io/control-plane": "true"}},
        "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"], "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "capacity": {"cpu": "2", "memory": "4Gi", "pods": "110"},
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"}, "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok",
                "lastHeartbeatTime": "2026-01-01T23:59:00Z", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
    let pods = json!([{"metadata": {"name": "web-1", "namespace": "default", "creationTimestamp": "2026-01-01T23:00:00Z"},
        "spec": {"containers": [{"resources": {"requests": {"cpu": "500m", "memory": "512Mi"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "1"}}}]}}]);
    let lease = json!([{"spec": {"holderIdentity": "n1", "renewTime": "2026-01-01T23:59:00.000000Z"}}]);
    let related = [
        ("events", json!([])),
        ("pods", pods),
        ("leases.coordination.k8s.io", lease),
    ];
    insta::assert_snapshot!(check("node", node, &related), @r"
    Name:               n1
    Roles:              control-plane
    Labels:             node-role.kubernetes.io/control-plane=true
    Annotations:        <none>
    CreationTimestamp:  Thu, 01 Jan 2026 00:00:00 +0000
    Taints:             a=b:NoSchedule
    Unschedulable:      false
    Lease:
      HolderIdentity:  n1
      AcquireTime:     <unset>
      RenewTime:       Thu, 01 Jan 2026 23:59:00 +0000
    Conditions:
      Type    Status  LastHeartbeatTime                 LastTransitionTime                Reason         Message
      ----    ------  -----------------                 ------------------                ------         -------
      Ready   True    Thu, 01 Jan 2026 23:59:00 +0000   Thu, 01 Jan 2026 00:00:10 +0000   KubeletReady   ok
    Addresses:
      InternalIP:  192.0.2.1
    Capacity:
      cpu:     2
      memory:  4Gi
      pods:    110
    Allocatable:
      cpu:     2
      memory:  4Gi
      pods:    110
    System Info:
      Machine ID:                 
      System UUID:                
      Boot ID:                    
      Kernel Version:             
      OS Image:                   Debian
      Operating System:           
      Architecture:               
      Container Runtime Version:  
      Kubelet Version:            v1.37.0
      Kube-Proxy Version:         
    PodCIDR:                      10.42.0.0/24
    PodCIDRs:                     10.42.0.0/24
    Non-terminated Pods:          (1 in total)
      Namespace                   Name     CPU Requests  CPU Limits  Memory Requests  Memory Limits  Age
      ---------                   ----     ------------  ----------  ---------------  -------------  ---
      default                     web-1    1 (50%)       0 (0%)      512Mi (12%)      0 (0%)         60m
    Allocated resources:
      (Total limits may be over 100 percent, i.e., overcommitted.)
      Resource           Requests     Limits
      --------           --------     ------
      cpu                1 (50%)      0 (0%)
      memory             512Mi (12%)  0 (0%)
      ephemeral-storage  0 (0%)       0 (0%)
    Events:              <none>
    ");
    let namespace = json!({"metadata": {"name": "default", "labels": {"kubernetes.io/metadata.name": "default"}}, "status": {"phase": "Active"}});
    insta::assert_snapshot!(check("ns", namespace, &[]), @r"
    Name:         default
    Labels:       kubernetes.io/metadata.name=default
    Annotations:  <none>
    Status:       Active

    No resource quota.

    No LimitRange resource.
    ");
}

#[test]
fn anything_else() {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": "x", "uid": "u", "managedFields": [{}]},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40}, "list": ["a", {"b": 1}]});
    insta::assert_snapshot!(check("lease", lease, &[("events", json!([]))]), @r"
    Name:         l
    Namespace:    x
    Labels:       <none>
    Annotations:  <none>
    API Version:  coordination.k8s.io/v1
    Kind:         Lease
    List:
      a
      B:  1
    Metadata:
      UID:  u
    Spec:
      Holder Identity:         n1
      Lease Duration Seconds:  40
    Events:                    <none>
    ");
}

#[test]
fn any_object_can_be_described() {
    for resource in builtin().iter() {
        for object in [
            json!({}),
            json!({"metadata": 3, "spec": [], "status": "x"}),
            json!(null),
        ] {
            let now: Zoned = "2026-01-02T00:00:00[UTC]".parse().expect("a time");
            needs(resource, &object);
            describe(resource, &object, &Related::new(), &now);
        }
    }
}
