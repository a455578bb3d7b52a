//! Making room for more important Pods.

use super::*;

fn important(name: &str, priority: i32, amount: &str) -> Value {
    let mut pod = pod(name, cpu(amount));
    pod["spec"]["priority"] = json!(priority);
    pod
}

/// What a Pod that finds no room brings about: node and victims.
fn preempt(world: &mut World, pod: Value) -> Result<(String, Vec<String>), String> {
    let failure: Box<Failure> = world.reject(pod);
    let Some(nomination) = failure.nomination else {
        return Err(failure.to_string());
    };
    let mut victims: Vec<_> = nomination.victims.iter().map(|v| v.metadata.name.to_string()).collect();
    victims.sort();
    Ok((nomination.node.to_string(), victims))
}

fn expect(node: &str, victims: &[&str]) -> Result<(String, Vec<String>), String> {
    Ok((node.into(), victims.iter().map(|v| (*v).to_owned()).collect()))
}

/// Puts a running Pod on a node.
fn place(world: &mut World, mut pod: Value, node: &str) {
    pod["spec"]["nodeName"] = json!(node);
    let pod = Arc::new(serde_json::from_value(pod).expect("a Pod"));
    world.core.pod_changed(None, Some(&pod), world.now);
}

#[test]
fn the_least_is_lost() {
    let nodes = [node("n1", |_| {}), node("n2", |_| {}), node("n3", |_| {})];
    let check =
        |running: &[(&str, &str, i32, &str)], wanted: Value, expected: Result<(String, Vec<String>), String>| {
            let mut world = World::new(&nodes);
            for (name, on, priority, amount) in running {
                place(&mut world, important(name, *priority, amount), on);
            }
            assert_eq!(preempt(&mut world, wanted), expected);
        };
    let full = [("a", "n1", 5, "4"), ("b", "n2", 3, "4"), ("c", "n3", 4, "4")];
    check(&full, important("p", 10, "1"), expect("n2", &["b"]));
    // As many as possible are spared, the more important first.
    let two = [
        ("a", "n1", 9, "4"),
        ("b", "n2", 9, "4"),
        ("c", "n3", 1, "2"),
        ("d", "n3", 2, "2"),
    ];
    check(&two, important("p", 10, "2"), expect("n3", &["c"]));
    check(&two, important("p", 10, "4"), expect("n3", &["c", "d"]));
    // Of equals, fewer.
    let fewer = [
        ("a", "n1", 1, "2"),
        ("b", "n1", 1, "2"),
        ("c", "n2", 1, "4"),
        ("d", "n3", 9, "4"),
    ];
    check(&fewer, important("p", 10, "4"), expect("n2", &["c"]));
    check(
        &full,
        important("p", 3, "1"),
        Err(
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: \
             0/3 nodes are available: 3 No preemption victims found for incoming pod."
                .into(),
        ),
    );
}

#[test]
fn budgets_are_respected_where_possible() {
    let mut world = World::new(&[node("n1", |_| {}), node("n2", |_| {})]);
    let mut guarded = important("a", 1, "4");
    guarded["metadata"]["labels"] = json!({"app": "db"});
    place(&mut world, guarded, "n1");
    place(&mut world, important("b", 5, "4"), "n2");
    let budget = json!({"metadata": {"name": "db", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}}, "status": {"disruptionsAllowed": 0}});
    let budget = Arc::new(serde_json::from_value(budget).expect("a budget"));
    world.core.cluster.budgets.set(None, Some(&budget));
    assert_eq!(preempt(&mut world, important("p", 10, "4")), expect("n2", &["b"]));
    // Where nothing else is possible, the budget gives way.
    place(&mut world, important("c", 50, "1"), "n2");
    assert_eq!(preempt(&mut world, important("q", 20, "4")), expect("n1", &["a"]));
}

#[test]
fn the_room_is_kept_for_whom_it_was_made() {
    let mut world = World::new(&[node("n1", |_| {})]);
    place(&mut world, important("a", 1, "4"), "n1");
    assert_eq!(preempt(&mut world, important("p", 10, "4")), expect("n1", &["a"]));
    // While the victim goes, nobody else is sent away, and the less important do not slip in.
    world.remove("a");
    let refused = world.reject(important("q", 5, "4"));
    assert!(refused.to_string().contains("1 Insufficient cpu"), "{refused}");
    let later = world.core.queue.next_due().expect("a backoff");
    assert!(matches!(world.core.step(later), Some(Decision::Bind(pod, _)) if &*pod.metadata.name == "p"));
}

#[test]
fn nobody_is_sent_away_twice_or_in_vain() {
    let mut world = World::new(&[node("n1", |_| {}), node("n2", |_| {})]);
    place(&mut world, important("a", 1, "4"), "n1");
    place(&mut world, important("b", 2, "4"), "n2");
    let wanted = important("p", 10, "4");
    assert_eq!(preempt(&mut world, wanted.clone()), expect("n1", &["a"]));
    world.now += std::time::Duration::from_mins(10);
    let Some(Decision::Reject(_, failure)) = world.core.step(world.now) else {
        panic!("a rejection")
    };
    assert!(failure.nomination.is_none());
    let words = "preemption: not eligible due to a terminating pod on the nominated node.";
    assert!(failure.to_string().ends_with(words), "{failure}");
    // No victim would help against a label.
    let mut lost = important("q", 10, "1");
    lost["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    let words = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert!(preempt(&mut world, lost).expect_err("in vain").ends_with(words));
}

#[test]
fn those_who_keep_others_away_can_be_sent_away() {
    let mut world = World::new(&[node("n1", |_| {})]);
    let mut lonely = important("a", 1, "1");
    lonely["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}});
    place(&mut world, lonely, "n1");
    assert_eq!(preempt(&mut world, important("p", 10, "1")), expect("n1", &["a"]));
}
