//! Volumes decide where Pods go.

use super::*;

fn mounting(name: &str, claim: &str) -> Value {
    pod(name, |s| {
        s["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}])
    })
}

fn take<T: serde::de::DeserializeOwned>(object: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object).expect("an object"))
}

fn claim(world: &mut World, name: &str, change: impl FnOnce(&mut Value)) {
    let mut claim = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "annotations": {}},
        "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    change(&mut claim);
    world.core.claim_changed(None, Some(&take(claim)), world.now);
}

fn volume(world: &mut World, name: &str, node: &str, change: impl FnOnce(&mut Value)) {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}},
        "status": {"phase": "Available"},
    });
    change(&mut volume);
    world.core.cluster.volumes.volumes.set(None, Some(&take(volume)));
}

fn class(world: &mut World, mode: &str, provisioner: &str) {
    let class = json!({"metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": mode});
    world.core.cluster.volumes.classes.set(None, Some(&take(class)));
}

fn world() -> World {
    World::new(&[node("n1", |_| {}), node("n2", |_| {})])
}

#[test]
fn words_about_claims_are_upstreams() {
    let check = |prepare: fn(&mut World), expect: &str| {
        let mut world = world();
        prepare(&mut world);
        let told = world.schedule(mounting("p", "data")).expect_err("rejected");
        let expect = format!(
            "0/2 nodes are available: {expect}. no new claims to deallocate, preemption: \
             0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
        assert_eq!(told, expect);
    };
    check(|_| {}, "persistentvolumeclaim \"data\" not found");
    check(
        |w| {
            claim(w, "data", |c| {
                c["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
            })
        },
        "persistentvolumeclaim \"data\" is being deleted",
    );
    check(
        |w| {
            class(w, "Immediate", "x");
            claim(w, "data", |_| {});
        },
        "pod has unbound immediate PersistentVolumeClaims",
    );
    check(
        |w| {
            class(w, "WaitForFirstConsumer", "kubernetes.io/no-provisioner");
            claim(w, "data", |_| {});
        },
        "2 node(s) didn't find available persistent volumes to bind",
    );
}

#[test]
fn pods_go_where_their_volumes_are() {
    let mut world = world();
    volume(&mut world, "v", "n2", |_| {});
    claim(&mut world, "data", |c| {
        c["spec"]["volumeName"] = json!("v");
        c["status"]["phase"] = json!("Bound");
    });
    assert_eq!(world.schedule(mounting("p", "data")).as_deref(), Ok("n2"));
    let mut stuck = mounting("q", "data");
    stuck["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "n1"});
    let told = world.schedule(stuck).expect_err("elsewhere");
    assert!(
        told.contains("1 node(s) didn't match PersistentVolume's node affinity"),
        "{told}"
    );
}

#[test]
fn claims_that_wait_get_a_volume_each() {
    let mut world = world();
    class(&mut world, "WaitForFirstConsumer", "kubernetes.io/no-provisioner");
    volume(&mut world, "v1", "n1", |_| {});
    volume(&mut world, "v2", "n2", |_| {});
    (0..3).for_each(|n| claim(&mut world, &format!("data{n}"), |_| {}));
    let mut nodes: Vec<_> = (0..2)
        .map(|n| {
            world
                .schedule(mounting(&format!("p{n}"), &format!("data{n}")))
                .expect("a volume")
        })
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["n1", "n2"]);
    assert!(
        world.schedule(mounting("p2", "data2")).is_err(),
        "both volumes are promised"
    );
}

#[test]
fn a_provisioner_is_told_the_node() {
    let mut world = world();
    class(&mut world, "WaitForFirstConsumer", "rancher.io/local-path");
    claim(&mut world, "data", |_| {});
    assert!(world.schedule(mounting("p", "data")).is_ok());
    claim(&mut world, "told", |c| {
        c["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!("n2");
    });
    assert_eq!(world.schedule(mounting("q", "told")).as_deref(), Ok("n2"));
}

#[test]
fn one_pod_only_means_one_pod() {
    let mut world = world();
    volume(&mut world, "v", "n1", |_| {});
    claim(&mut world, "data", |c| {
        c["spec"]["volumeName"] = json!("v");
        c["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
        c["status"]["phase"] = json!("Bound");
    });
    assert!(world.schedule(mounting("p", "data")).is_ok());
    let told = world.schedule(mounting("q", "data")).expect_err("taken");
    let words = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert!(told.contains(words), "{told}");
}

#[test]
fn limits_and_zones_of_drivers_hold() {
    let mut world = world();
    let limits =
        json!({"metadata": {"name": "n1"}, "spec": {"drivers": [{"name": "csi", "allocatable": {"count": 1}}]}});
    world.core.cluster.volumes.csi_nodes.set(None, Some(&take(limits)));
    for n in 0..2 {
        volume(&mut world, &format!("v{n}"), "n1", |v| {
            v["spec"]["csi"] = json!({"driver": "csi", "volumeHandle": n.to_string()})
        });
        claim(&mut world, &format!("data{n}"), |c| {
            c["spec"]["volumeName"] = json!(format!("v{n}"));
            c["status"]["phase"] = json!("Bound");
        });
    }
    assert!(world.schedule(mounting("p0", "data0")).is_ok());
    let told = world.schedule(mounting("p1", "data1")).expect_err("too many");
    assert!(told.contains("1 node(s) exceed max volume count"), "{told}");
    volume(&mut world, "v1", "n2", |v| {
        v["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "mars"});
        v["spec"]["nodeAffinity"] = json!({});
    });
    let zoned = node("n2", |n| {
        n["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("earth")
    });
    let before = Arc::new(serde_json::from_value(node("n2", |_| {})).expect("a Node"));
    world.core.node_changed(Some(&before), Some(&take(zoned)), world.now);
    let mut far = mounting("p2", "data1");
    far["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "n2"});
    let told = world.schedule(far).expect_err("far away");
    assert!(told.contains("1 node(s) had no available volume zone"), "{told}");
}
