//! Tables of situations and the status that the API is told.

use super::*;
use crate::kubelet::plan::{ContainerMemory, Probed, Waiting};
use crate::kubelet::runtime::Sandbox;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

#[derive(Default)]
struct World {
    pod: Pod,
    runtime: PodRuntime,
    memory: Memory,
    plan: Plan,
}

impl World {
    fn new(spec: Value) -> Self {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": spec });
        let sandbox = Sandbox {
            id: "s".into(),
            attempt: 0,
            ready: true,
            created_at: at(0),
            ips: vec![],
        };
        let runtime = PodRuntime {
            sandboxes: vec![sandbox],
            instances: vec![],
        };
        Self {
            pod: serde_json::from_value(pod).expect("a pod"),
            runtime,
            ..Default::default()
        }
    }

    fn instance(mut self, name: &str, attempt: u32, state: InstanceState, exit_code: i32) -> Self {
        let id = format!("{name}{attempt}");
        let probed = Probed {
            instance: id.clone(),
            started: true,
            ready: true,
            unhealthy: None,
        };
        self.memory.containers.insert(
            name.into(),
            ContainerMemory {
                probed,
                ..Default::default()
            },
        );
        self.runtime.upsert(Instance {
            id,
            sandbox_id: "s".into(),
            name: name.into(),
            attempt,
            state,
            created_at: at(i64::from(attempt)),
            started_at: Some(at(1)),
            finished_at: None,
            exit_code,
            reason: String::new(),
            message: String::new(),
            image: "docker.io/library/x:1".into(),
            image_id: "sha256:1".into(),
            hash: String::new(),
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

    fn status(&self) -> PodStatus {
        build(Facts {
            pod: &self.pod,
            runtime: &self.runtime,
            memory: &self.memory,
            plan: &self.plan,
            pod_ips: &["10.42.0.5".to_owned()],
            host_ips: &["192.0.2.1".to_owned()],
            now: at(50),
        })
    }

    /// Phase, the conditions that hold, and each container's state and readiness.
    fn check(&self, expected: &str) {
        let status = self.status();
        let conditions: Vec<&str> = (status.conditions.iter().flatten())
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.type_.as_str())
            .collect();
        let all = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten();
        let containers: Vec<String> = all
            .map(|status| {
                let state = status.state.clone().unwrap_or_default();
                let word = match (state.waiting, state.terminated) {
                    (Some(waiting), _) => waiting.reason.unwrap_or_default(),
                    (_, Some(ended)) => format!("{}={}", ended.reason.unwrap_or_default(), ended.exit_code),
                    _ => "running".to_owned(),
                };
                format!("{}:{word}{}", status.name, if status.ready { "+" } else { "" })
            })
            .collect();
        let phase = status.phase.unwrap_or_default();
        assert_eq!(
            format!("{phase} [{}] {}", conditions.join(" "), containers.join(" ")),
            expected
        );
    }
}

fn pod(policy: &str) -> World {
    World::new(json!({ "restartPolicy": policy, "containers": [{ "name": "a", "image": "x:1" }] }))
}

#[test]
fn phases_and_conditions() {
    pod("Always").check("Pending [PodReadyToStartContainers Initialized PodScheduled] a:ContainerCreating");
    pod("Always")
        .running("a")
        .check("Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled] a:running+");
    pod("Never")
        .exited("a", 0)
        .check("Succeeded [PodReadyToStartContainers Initialized PodScheduled] a:Completed=0");
    pod("Never")
        .exited("a", 3)
        .check("Failed [PodReadyToStartContainers Initialized PodScheduled] a:Error=3");
    pod("Always")
        .exited("a", 3)
        .check("Running [PodReadyToStartContainers Initialized PodScheduled] a:Error=3");
    let mut crashing = pod("Always").exited("a", 3);
    let held = Waiting {
        reason: "CrashLoopBackOff".into(),
        message: "back-off".into(),
    };
    crashing.plan.waiting.insert("a".into(), held);
    crashing.check("Running [PodReadyToStartContainers Initialized PodScheduled] a:CrashLoopBackOff");
    let last = crashing.status().container_statuses.expect("statuses")[0]
        .last_state
        .clone()
        .expect("a last state");
    assert_eq!(last.terminated.expect("an end").exit_code, 3);
}

#[test]
fn init_containers_and_sidecars() {
    let world = || {
        World::new(json!({ "restartPolicy": "Never",
            "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }], "containers": [{ "name": "a" }] }))
    };
    let base = "[PodReadyToStartContainers PodScheduled]";
    world().check(&format!(
        "Pending {base} i:PodInitializing s:PodInitializing a:PodInitializing"
    ));
    world()
        .running("i")
        .check(&format!("Pending {base} i:running s:PodInitializing a:PodInitializing"));
    world()
        .exited("i", 1)
        .check(&format!("Failed {base} i:Error=1 s:PodInitializing a:PodInitializing"));
    let ready = "Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]";
    world()
        .exited("i", 0)
        .running("s")
        .running("a")
        .check(&format!("{ready} i:Completed=0+ s:running+ a:running+"));
    // As long as a sidecar runs, the Pod does.
    let ending = world().exited("i", 0).running("s").exited("a", 0);
    ending
        .check("Running [PodReadyToStartContainers Initialized PodScheduled] i:Completed=0+ s:running+ a:Completed=0");
}

#[test]
fn readiness_gates_hold_ready_back() {
    let mut world =
        World::new(json!({ "readinessGates": [{ "conditionType": "g" }], "containers": [{ "name": "a" }] }));
    world = world.running("a");
    let ready = |world: &World| {
        let conditions = world.status().conditions.unwrap_or_default();
        conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")
            .expect("Ready")
    };
    assert_eq!(ready(&world).reason.as_deref(), Some("ReadinessGatesNotReady"));
    world.pod.status = serde_json::from_value(json!({ "conditions": [{ "type": "g", "status": "True" }] })).ok();
    assert_eq!(ready(&world).status, "True");
}

#[test]
fn what_runs_has_what_it_was_made_with() {
    let asks = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let mut world = World::new(json!({ "containers": [{ "name": "a", "resources": asks("2") }] })).running("a");
    let pending = "PodResizePending";
    let told = |world: &World| {
        let status = world.status();
        let pending = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == pending);
        let resources = status.container_statuses.expect("statuses")[0].resources.clone();
        (pending, serde_json::to_value(resources).expect("json"))
    };
    assert_eq!(told(&world), (false, asks("2")), "made before anybody wrote it down");
    world.runtime.instances[0].resources = asks("1").to_string();
    assert_eq!(told(&world), (true, asks("1")));
    let before = world.status();
    world.pod.status = Some(before.clone());
    world.runtime.instances[0].resources = asks("2").to_string();
    assert_eq!(told(&world), (false, asks("2")));
    let change = patch("u", &before, &world.status()).expect("a patch");
    assert_eq!(
        change["status"]["conditions"],
        json!([{ "$patch": "delete", "type": pending }])
    );
}

#[test]
fn a_patch_has_only_what_changed() {
    let world = pod("Always").running("a");
    let old = PodStatus::default();
    let new = world.status();
    assert_eq!(patch("u", &new, &new), None);
    let first = patch("u", &old, &new).expect("a patch");
    assert_eq!(first["metadata"]["uid"], "u");
    assert_eq!(first["status"]["podIPs"], json!([{ "ip": "10.42.0.5" }]));
    let mut moved = new.clone();
    moved.pod_ips = Some(vec![PodIP { ip: "10.42.0.6".into() }]);
    moved.conditions.as_mut().expect("conditions")[1].status = "False".into();
    let second = patch("u", &new, &moved).expect("a patch");
    assert_eq!(
        second["status"]["podIPs"],
        json!([{ "$patch": "replace" }, { "ip": "10.42.0.6" }])
    );
    assert_eq!(second["status"]["conditions"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["status"].as_object().map(Map::len), Some(2));
}
