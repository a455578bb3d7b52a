//! Tables of situations and what is planned in them.

use serde_json::json;

use super::*;

const T0: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(T0 + seconds).expect("a time")
}

/// A situation that tests build up and then plan from.
struct World {
    pod: serde_json::Value,
    runtime: PodRuntime,
    memory: Memory,
    now: i64,
}

impl World {
    fn new(spec: serde_json::Value) -> Self {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": spec });
        Self {
            pod,
            runtime: PodRuntime::default(),
            memory: Memory::default(),
            now: 100,
        }
    }

    fn plain() -> Self {
        Self::new(json!({ "restartPolicy": "Always", "containers": [{ "name": "a" }] }))
    }

    /// With volumes and a sandbox.
    fn up(mut self) -> Self {
        self.memory.volumes = VolumeState::Ready;
        self.sandbox("s0", 0, true)
    }

    fn sandbox(mut self, id: &str, attempt: u32, ready: bool) -> Self {
        let created_at = at(i64::from(attempt));
        self.runtime.sandboxes.insert(
            0,
            Sandbox {
                id: id.into(),
                attempt,
                ready,
                created_at,
                ips: vec![],
            },
        );
        self
    }

    fn instance(mut self, name: &str, attempt: u32, state: InstanceState, exit_code: i32) -> Self {
        let pod = self.decoded();
        let (_, container) = pod.container(name).expect("the container");
        let sandbox_id = self
            .runtime
            .sandboxes
            .first()
            .map(|sandbox| sandbox.id.clone())
            .unwrap_or_default();
        self.runtime.upsert(Instance {
            id: format!("{name}{attempt}"),
            sandbox_id,
            name: name.into(),
            attempt,
            state,
            created_at: at(i64::from(attempt)),
            started_at: None,
            finished_at: (state == InstanceState::Exited).then(|| at(99)),
            exit_code,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            hash: config::hash(container),
            resources: String::new(),
            log_path: String::new(),
            termination: None,
            user: None,
        });
        self
    }

    fn running(self, name: &str) -> Self {
        self.instance(name, 0, InstanceState::Running, 0)
    }

    fn exited(self, name: &str, code: i32) -> Self {
        self.instance(name, 0, InstanceState::Exited, code)
    }

    fn started(mut self, name: &str) -> Self {
        let probed = Probed {
            instance: format!("{name}0"),
            started: true,
            ..Default::default()
        };
        self.memory.containers.entry(name.into()).or_default().probed = probed;
        self
    }

    fn deleted(mut self, grace_s: i64) -> Self {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(self.now + grace_s));
        self.pod["metadata"]["deletionTimestamp"] = serde_json::to_value(time).expect("a time");
        self.pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
        self
    }

    fn under_way(mut self, key: &str) -> Self {
        self.memory.under_way.insert(key.into());
        self
    }

    fn decoded(&self) -> Pod {
        let mut pod = serde_json::from_value(self.pod.clone()).expect("a pod");
        super::super::podinfo::adopt_ephemeral(&mut pod);
        pod
    }

    fn plan(&self) -> Plan {
        let pod = self.decoded();
        plan(Input {
            pod: &pod,
            runtime: &self.runtime,
            memory: &self.memory,
            now: at(self.now),
        })
    }

    fn check(&self, expected: &[&str]) {
        let actions: Vec<String> = self.plan().actions.iter().map(words).collect();
        assert_eq!(actions, expected);
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::Start { name, attempt } => format!("start {name} {attempt}"),
        Action::Kill { id, grace_s, .. } => format!("kill {id} {grace_s}"),
        Action::Fail { reason, .. } => format!("fail {reason}"),
        other => other.key(),
    }
}

#[test]
fn a_new_pod_gets_volumes_and_sandbox_at_once_and_then_its_container() {
    World::plain().check(&["volumes", "sandbox 0"]);
    World::plain().under_way("volumes").under_way("sandbox").check(&[]);
    World::plain().sandbox("s0", 0, true).under_way("volumes").check(&[]);
    World::plain().up().check(&["start a 0"]);
    World::plain().up().under_way("start").check(&[]);
    World::plain().up().running("a").check(&[]);
}

#[test]
fn containers_start_one_after_the_other_in_order() {
    let two = || World::new(json!({ "containers": [{ "name": "a" }, { "name": "b" }] })).up();
    two().check(&["start a 0"]);
    two().running("a").check(&["start b 0"]);
    let mut waits = two();
    waits.memory.containers.entry("a".into()).or_default().retry_at = Some(at(200));
    waits.check(&["start b 0"]);
    assert_eq!(waits.plan().wake_at, Some(at(200)));
}

#[test]
fn init_containers_run_to_their_end_before_the_others() {
    let pod = |policy: &str| {
        World::new(
            json!({ "restartPolicy": policy, "initContainers": [{ "name": "i" }, { "name": "j" }],
            "containers": [{ "name": "a" }] }),
        )
        .up()
    };
    pod("Always").check(&["start i 0"]);
    pod("Always").running("i").check(&[]);
    pod("Always").exited("i", 0).check(&["start j 0"]);
    pod("Always").exited("i", 0).exited("j", 0).check(&["start a 0"]);
    pod("Always").exited("i", 1).check(&["start i 1"]);
    pod("Never").exited("i", 1).check(&["stop s0"]);
    assert!(pod("Never").exited("i", 1).plan().finished);
    // Later, what the init containers left is of no interest.
    pod("Always").running("a").check(&[]);
}

#[test]
fn sidecars_must_have_started_before_the_next_and_end_last() {
    let pod = || {
        World::new(json!({ "restartPolicy": "Never",
            "initContainers": [{ "name": "s", "restartPolicy": "Always" }, { "name": "t", "restartPolicy": "Always" }],
            "containers": [{ "name": "a" }] }))
        .up()
    };
    pod().check(&["start s 0"]);
    pod().running("s").check(&[]);
    pod().running("s").started("s").check(&["start t 0"]);
    let all = || pod().running("s").started("s").running("t").started("t");
    all().check(&["start a 0"]);
    pod()
        .exited("s", 0)
        .running("t")
        .started("t")
        .running("a")
        .check(&["start s 1"]);
    all().running("a").deleted(30).check(&["kill a0 30"]);
    all().exited("a", 0).check(&["kill t0 30"]);
    pod().running("s").exited("t", 0).exited("a", 0).check(&["kill s0 30"]);
}

#[test]
fn restart_policies() {
    let cases = [
        ("Always", 0, "start a 1"),
        ("Always", 1, "start a 1"),
        ("OnFailure", 0, "stop s0"),
        ("OnFailure", 1, "start a 1"),
        ("Never", 0, "stop s0"),
        ("Never", 1, "stop s0"),
    ];
    for (policy, code, expected) in cases {
        let world = World::new(json!({ "restartPolicy": policy, "containers": [{ "name": "a" }] })).up();
        world.exited("a", code).check(&[expected]);
    }
    let rule = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "restartPolicy": "Never", "restartPolicyRules": rule }] });
    World::new(spec.clone()).up().exited("a", 42).check(&["start a 1"]);
    World::new(spec).up().exited("a", 1).check(&["stop s0"]);
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut world = World::plain().up().exited("a", 1);
    let backoff = Backoff::next(None, at(80), at(80));
    world.memory.containers.entry("a".into()).or_default().backoff = Some(backoff);
    world.check(&[]);
    let plan = world.plan();
    assert_eq!(plan.wake_at, Some(at(109)));
    let message = "back-off 10s restarting failed container=a pod=p_n(u)";
    assert_eq!(
        plan.waiting["a"],
        Waiting {
            reason: "CrashLoopBackOff".into(),
            message: message.into()
        }
    );
    world.now = 109;
    world.check(&["start a 1"]);
}

#[test]
fn a_dead_sandbox_is_replaced_and_everything_starts_anew() {
    let spec =
        json!({ "restartPolicy": "Always", "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] });
    let world = || {
        let mut world = World::new(spec.clone());
        world.memory.volumes = VolumeState::Ready;
        world.sandbox("s0", 0, false)
    };
    world().exited("i", 0).running("a").check(&["kill a0 30"]);
    world().exited("i", 0).exited("a", 137).check(&["sandbox 1"]);
    world()
        .exited("i", 0)
        .exited("a", 137)
        .sandbox("s1", 1, true)
        .check(&["start i 1"]);
    // A Pod that must not run again does not get a sandbox for it.
    let mut never = World::new(json!({ "restartPolicy": "Never", "containers": [{ "name": "a" }] }));
    never.memory.volumes = VolumeState::Ready;
    never.sandbox("s0", 0, false).exited("a", 137).check(&["tear down"]);
}

#[test]
fn a_container_deleted_behind_our_back_comes_back_with_its_count() {
    let mut world = World::plain().up();
    world.pod["status"] = json!({ "containerStatuses": [{ "name": "a", "containerID": "containerd://x", "restartCount": 3,
        "image": "", "imageID": "", "ready": true }] });
    world.check(&["start a 4"]);
}

#[test]
fn unhealthy_and_changed_containers_are_killed() {
    let mut world = World::plain().up().running("a");
    world.memory.containers.entry("a".into()).or_default().probed = Probed {
        instance: "a0".into(),
        unhealthy: Some(("liveness", 5)),
        ..Default::default()
    };
    world.check(&["kill a0 5"]);
    world.memory.kills.insert("a0".into(), at(105));
    world.check(&[]);
    let mut changed = World::plain().up().running("a");
    changed.pod["spec"]["containers"][0]["image"] = json!("other");
    changed.check(&["kill a0 30"]);
}

#[test]
fn deletion_goes_to_the_end_step_by_step() {
    World::plain().up().running("a").deleted(7).check(&["kill a0 7"]);
    World::plain().up().exited("a", 0).deleted(7).check(&["stop s0"]);
    let stopped = || World::plain().sandbox("s0", 0, false).exited("a", 0).deleted(7);
    stopped().check(&["tear down"]);
    let mut gone = stopped();
    gone.memory.volumes = VolumeState::Gone;
    gone.check(&["delete"]);
    gone.memory.gone = true;
    gone.check(&["forget"]);
    // A start under way is waited for, and nothing new begins.
    World::plain().up().under_way("start").deleted(7).check(&[]);
    World::plain().under_way("sandbox").deleted(7).check(&[]);
}

#[test]
fn a_shorter_grace_period_overtakes_a_kill_under_way() {
    let mut world = World::plain().up().running("a").deleted(30);
    world.memory.kills.insert("a0".into(), at(130));
    world.memory.under_way.insert("kill a0 30".into());
    world.check(&[]);
    world.deleted(1).check(&["kill a0 1"]);
}

#[test]
fn the_active_deadline_fails_the_pod() {
    let mut world = World::new(json!({ "activeDeadlineSeconds": 60, "containers": [{ "name": "a" }] }))
        .up()
        .running("a");
    world.memory.started_at = Some(at(50));
    world.check(&[]);
    assert_eq!(world.plan().wake_at, Some(at(110)));
    world.now = 110;
    world.check(&["fail DeadlineExceeded"]);
    world.memory.failed = Some(Refusal {
        reason: "DeadlineExceeded".into(),
        message: String::new(),
    });
    world.check(&["kill a0 30"]);
}

#[test]
fn one_ended_instance_is_kept_and_the_rest_removed() {
    let world = World::plain().up();
    let world = world
        .instance("a", 0, InstanceState::Exited, 1)
        .instance("a", 1, InstanceState::Exited, 1);
    world.instance("a", 2, InstanceState::Running, 0).check(&["remove a0"]);
    World::plain()
        .up()
        .instance("a", 0, InstanceState::Created, 0)
        .check(&["remove a0", "start a 1"]);
}

#[test]
fn a_second_plan_of_a_settled_pod_is_empty() {
    for world in [
        World::plain().up().running("a"),
        World::plain()
            .up()
            .running("a")
            .instance("a", 1, InstanceState::Running, 0),
    ] {
        assert_eq!(world.plan().actions, []);
        assert_eq!(world.plan().wake_at, None);
    }
}

#[test]
fn ephemeral_containers_start_at_once_and_only_once() {
    let spec = json!({ "restartPolicy": "Always", "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }],
        "ephemeralContainers": [{ "name": "e" }] });
    let world = || World::new(spec.clone()).up();
    // It is there to find out why others do not start, so it waits for none of them.
    world().check(&["start e 0"]);
    world().running("i").check(&["start e 0"]);
    world().running("e").check(&["start i 0"]);
    world().exited("i", 0).running("a").exited("e", 1).check(&[]);
    let over = World::new(json!({ "restartPolicy": "Never", "containers": [{ "name": "a" }],
        "ephemeralContainers": [{ "name": "e" }] }));
    over.up().exited("a", 0).running("e").check(&["kill e0 30"]);
}
