//! Spreading, affinity between Pods, default constraints.

use super::*;

fn labeled(mut pod: Value, labels: Value) -> Value {
    pod["metadata"]["labels"] = labels;
    pod
}

fn zone(name: &str, zone: &str) -> Value {
    node(name, |n| {
        n["metadata"]["labels"]["zone"] = json!(zone);
        n["status"]["allocatable"] = json!({"cpu": "64", "memory": "64Gi", "pods": "110"});
    })
}

fn four() -> Vec<Value> {
    vec![zone("a1", "a"), zone("a2", "a"), zone("b1", "b"), zone("c1", "c")]
}

fn spread(skew: i64, more: Value) -> Value {
    let mut constraint = json!({"topologyKey": "zone", "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    let more = more.as_object().expect("an object").clone();
    constraint.as_object_mut().expect("an object").extend(more);
    constraint
}

fn web(name: &str, spec: impl FnOnce(&mut Value)) -> Value {
    labeled(pod(name, |s| spec(s)), json!({"app": "web"}))
}

#[test]
fn zones_differ_by_no_more_than_the_skew() {
    let mut world = World::new(&four());
    let mut zones: Vec<_> = (0..9)
        .map(|n| {
            let pod = web(&format!("p{n}"), |s| {
                s["topologySpreadConstraints"] = json!([spread(1, json!({}))])
            });
            world.schedule(pod).expect("room").remove(0)
        })
        .collect();
    for three in zones.chunks_mut(3) {
        three.sort_unstable();
        assert_eq!(three, ['a', 'b', 'c']);
    }
}

#[test]
fn verdicts_of_spreading_are_upstreams() {
    let check = |constraint: Value, node: &str, expect: &str| {
        let mut world = World::new(&four());
        for n in 0..2 {
            world
                .schedule(web(&format!("p{n}"), |s| s["nodeSelector"] = json!({"zone": "a"})))
                .expect("room");
        }
        let pod = web("next", |s| {
            s["topologySpreadConstraints"] = json!([constraint]);
            s["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [node]}]}]}}});
        });
        let told = world.schedule(pod);
        match expect {
            "" => assert!(told.is_ok(), "{told:?}"),
            expect => assert!(told.clone().expect_err("rejected").contains(expect), "{told:?}"),
        }
    };
    // Only zone a comes into question, so that there is nothing to compare it with.
    check(spread(1, json!({})), "a", "");
    let ignore = json!({"nodeAffinityPolicy": "Ignore"});
    check(
        spread(1, ignore.clone()),
        "a",
        "2 node(s) didn't match pod topology spread constraints.",
    );
    check(spread(3, ignore), "a", "");
    let more = json!({"minDomains": 2});
    check(
        spread(1, more),
        "a",
        "2 node(s) didn't match pod topology spread constraints.",
    );
    let rack = json!({"topologyKey": "rack"});
    let expect = "node(s) didn't match pod topology spread constraints (missing required label)";
    check(spread(1, rack), "b", expect);
    // Pods of another revision do not count.
    let keys = json!({"matchLabelKeys": ["revision"], "nodeAffinityPolicy": "Ignore"});
    check(
        spread(1, keys),
        "a",
        "2 node(s) didn't match pod topology spread constraints.",
    );
}

#[test]
fn tainted_zones_count_unless_left_out() {
    let check = |policy: &str, fits: bool| {
        let tainted = |n: &mut Value| {
            n["metadata"]["labels"]["zone"] = json!("b");
            n["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        };
        let mut world = World::new(&[zone("a1", "a"), node("b1", tainted)]);
        let constraint = spread(1, json!({"nodeTaintsPolicy": policy}));
        let next = |name: &str| web(name, |s| s["topologySpreadConstraints"] = json!([constraint]));
        assert_eq!(world.schedule(next("p1")).as_deref(), Ok("a1"));
        assert_eq!(world.schedule(next("p2")).is_ok(), fits, "{policy}");
    };
    check("Ignore", false);
    check("Honor", true);
}

#[test]
fn pods_of_one_owner_are_spread_without_asking() {
    let mut world = World::new(&four());
    let set = json!({"metadata": {"name": "web", "namespace": "default"},
                     "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    let set = Arc::new(serde_json::from_value(set).expect("a ReplicaSet"));
    world.core.cluster.groups.replica_sets.set(None, Some(&set));
    let mut nodes: Vec<_> = (0..4)
        .map(|n| {
            let mut pod = web(&format!("p{n}"), cpu("10m"));
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]);
            world.schedule(pod).expect("room")
        })
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["a1", "a2", "b1", "c1"]);
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn affinity(kind: &str, term: Value) -> impl FnOnce(&mut Value) {
    let kind = kind.to_owned();
    move |spec| spec["affinity"] = json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

#[test]
fn pods_go_where_those_are_that_they_need() {
    let mut world = World::new(&four());
    let near = |name: &str, app: &str| {
        labeled(
            pod(name, affinity("podAffinity", term("zone", app))),
            json!({"app": "web"}),
        )
    };
    let refused = world.schedule(near("p0", "db")).expect_err("there is no database");
    assert!(
        refused.starts_with("0/4 nodes are available: 4 node(s) didn't match pod affinity rules."),
        "{refused}"
    );
    let first = world
        .schedule(near("p1", "web"))
        .expect("the first of its own kind is let in");
    let second = world.schedule(near("p2", "web")).expect("room");
    assert_eq!(first[..1], second[..1]);
    let db = labeled(
        pod("db", |s| s["nodeSelector"] = json!({"zone": "c"})),
        json!({"app": "db"}),
    );
    assert_eq!(world.schedule(db).as_deref(), Ok("c1"));
    assert_eq!(world.schedule(near("p3", "db")).as_deref(), Ok("c1"));
}

#[test]
fn pods_keep_off_whom_they_or_who_does_not_want_them() {
    let mut world = World::new(&four());
    let alone = |name: &str| {
        labeled(
            pod(name, affinity("podAntiAffinity", term("zone", "web"))),
            json!({"app": "web"}),
        )
    };
    let mut zones: Vec<_> = (0..3)
        .map(|n| world.schedule(alone(&format!("p{n}"))).expect("room").remove(0))
        .collect();
    zones.sort_unstable();
    assert_eq!(zones, ['a', 'b', 'c']);
    let refused = world.schedule(alone("p3")).expect_err("all zones are taken");
    assert!(
        refused.contains("4 node(s) didn't match pod anti-affinity rules"),
        "{refused}"
    );
    // It has no wish of its own, but those that run have.
    let refused = world.schedule(web("p4", |_| {})).expect_err("nobody wants it");
    assert!(
        refused.contains("4 node(s) didn't satisfy existing pods anti-affinity rules"),
        "{refused}"
    );
    assert!(world.schedule(pod("p5", |_| {})).is_ok(), "nobody minds it");
}

#[test]
fn namespaces_are_chosen_by_their_labels() {
    let mut world = World::new(&four());
    for (name, team) in [("default", "x"), ("other", "y")] {
        let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
        let namespace = Arc::new(serde_json::from_value(namespace).expect("a namespace"));
        world.core.namespace_changed(None, Some(&namespace), world.now);
    }
    let mut db = labeled(
        pod("db", |s| s["nodeSelector"] = json!({"zone": "b"})),
        json!({"app": "db"}),
    );
    db["metadata"]["namespace"] = json!("other");
    world.schedule(db).expect("room");
    let mut check = |name: &str, more: Value, expect: bool| {
        let mut term = term("zone", "db");
        term.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let told = world.schedule(pod(name, affinity("podAffinity", term)));
        assert_eq!(told.is_ok(), expect, "{name}: {told:?}");
    };
    check("own", json!({}), false);
    check("named", json!({"namespaces": ["other"]}), true);
    check(
        "selected",
        json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}),
        true,
    );
    check(
        "unselected",
        json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}),
        false,
    );
    check("all", json!({"namespaceSelector": {}}), true);
}

#[test]
fn wishes_draw_and_repel() {
    let wish = |kind: &str, weight: i64, app: &str| {
        let term = json!({"weight": weight, "podAffinityTerm": term("zone", app)});
        let kind = kind.to_owned();
        move |s: &mut Value| s["affinity"] = json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})
    };
    let mut world = World::new(&[zone("a1", "a"), zone("b1", "b")]);
    let db = labeled(
        pod("db", |s| s["nodeSelector"] = json!({"zone": "b"})),
        json!({"app": "db"}),
    );
    world.schedule(db).expect("room");
    for n in 0..3 {
        let near = pod(&format!("near{n}"), wish("podAffinity", 100, "db"));
        assert_eq!(world.schedule(near).as_deref(), Ok("b1"));
        let far = pod(&format!("far{n}"), wish("podAntiAffinity", 100, "db"));
        assert_eq!(world.schedule(far).as_deref(), Ok("a1"));
    }
}

#[test]
fn what_is_counted_follows_what_comes_and_goes() {
    let mut world = World::new(&[zone("a1", "a"), zone("b1", "b")]);
    let next = |name: &str| web(name, |s| s["topologySpreadConstraints"] = json!([spread(1, json!({}))]));
    let gone = world.schedule(next("p1")).expect("room");
    let other = world.schedule(next("p2")).expect("room");
    world.remove("p1");
    assert_eq!(world.schedule(next("p3")), Ok(gone));
    // A zone that comes is empty.
    let c1 = Arc::new(serde_json::from_value(zone("c1", "c")).expect("a Node"));
    world.core.node_changed(None, Some(&c1), world.now);
    assert_eq!(world.schedule(next("p4")).as_deref(), Ok("c1"));
    assert!(world.schedule(next("p5")).is_ok());
    assert_ne!(other, "c1");
}
