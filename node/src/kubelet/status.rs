//! From what is observed and remembered of a Pod to the status that the API is told. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::config;
use super::plan::{Memory, Plan, restarts};
use super::podinfo::{Part, PodInfo};
use super::resources;
use super::runtime::{Instance, InstanceState, PodRuntime};

/// What a status is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The Pod as wanted, with the status the API has.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub runtime: &'a PodRuntime,
    /// What the worker remembers.
    pub memory: &'a Memory,
    /// The newest plan.
    pub plan: &'a Plan,
    /// The Pod's addresses, remembered beyond its sandbox.
    pub pod_ips: &'a [String],
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The time.
    pub now: Timestamp,
}

/// The Pod's status.
#[must_use]
pub fn build(facts: Facts<'_>) -> PodStatus {
    let Facts {
        pod,
        memory,
        pod_ips,
        host_ips,
        ..
    } = facts;
    let old = pod.status.clone().unwrap_or_default();
    let of_part = |wanted: fn(Part) -> bool| -> Vec<ContainerStatus> {
        pod.parts()
            .filter(|(part, _)| wanted(*part))
            .map(|(part, c)| container_status(facts, part, c))
            .collect()
    };
    let init = of_part(|part| matches!(part, Part::Init | Part::Sidecar));
    let ephemeral = of_part(|part| part == Part::Ephemeral);
    let main = of_part(|part| part == Part::Main);
    let phase = phase(facts, &init, &main);
    let (reason, message) = match &memory.failed {
        Some(failed) if memory.refused => {
            return PodStatus {
                message: Some(format!("Pod was rejected: {}", failed.message)),
                observed_generation: pod.metadata.generation,
                phase: Some("Failed".to_owned()),
                qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
                reason: Some(failed.reason.to_string()),
                start_time: old.start_time.clone().or_else(|| memory.started_at.map(Time)),
                ..old
            };
        }
        Some(failed) => (Some(failed.reason.to_string()), Some(failed.message.clone())),
        None => (old.reason.clone(), old.message.clone()),
    };
    let on_host = pod.on_host_network();
    let ips: Vec<String> = if on_host && memory.started_at.is_some() {
        host_ips.to_vec()
    } else {
        pod_ips.to_vec()
    };
    let conditions = conditions(facts, &phase, &init, &main);
    PodStatus {
        conditions: Some(conditions),
        container_statuses: Some(main),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: host_ips.first().cloned(),
        host_ips: Some(host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        message,
        observed_generation: pod.metadata.generation,
        phase: Some(phase),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
        qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
        reason,
        start_time: old.start_time.clone().or_else(|| memory.started_at.map(Time)),
        ..old
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..Default::default()
    }
}

fn terminated(instance: &Instance) -> ContainerState {
    let reason = match (instance.reason.as_str(), instance.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (given, _) => given,
    };
    let state = ContainerStateTerminated {
        container_id: Some(container_id(instance)),
        exit_code: instance.exit_code,
        finished_at: instance.finished_at.map(Time),
        message: (!instance.message.is_empty()).then(|| instance.message.clone()),
        reason: Some(reason.to_owned()),
        signal: None,
        started_at: instance.started_at.map(Time),
    };
    ContainerState {
        terminated: Some(state),
        ..Default::default()
    }
}

fn container_id(instance: &Instance) -> String {
    format!("containerd://{}", instance.id)
}

fn container_status(facts: Facts<'_>, part: Part, container: &Container) -> ContainerStatus {
    let Facts {
        pod,
        runtime,
        memory,
        plan,
        ..
    } = facts;
    let name = &container.name;
    let latest = runtime
        .latest(name)
        .filter(|instance| instance.state != InstanceState::Created);
    let remembered = memory.containers.get(name);
    let reported = pod.reported(name);
    let kept_waiting = plan
        .waiting
        .get(name)
        .or_else(|| remembered.and_then(|memory| memory.waiting.as_ref()));
    let held = kept_waiting.map(|held| waiting(&held.reason, &held.message));
    let reported_last = || reported.and_then(|status| status.last_state.clone());
    let (state, last_state) = match latest {
        Some(instance) if instance.state == InstanceState::Running => {
            let running = ContainerStateRunning {
                started_at: instance.started_at.map(Time),
            };
            let last = runtime.previous(instance).map(terminated).or_else(reported_last);
            (
                ContainerState {
                    running: Some(running),
                    ..Default::default()
                },
                last,
            )
        }
        Some(instance) if instance.state == InstanceState::Exited => match held {
            Some(held) if !plan.finished && restarts(pod, part, container, instance.exit_code) => {
                (held, Some(terminated(instance)))
            }
            _ => (
                terminated(instance),
                runtime.previous(instance).map(terminated).or_else(reported_last),
            ),
        },
        _ => (held.unwrap_or_else(|| absent(facts, part, reported)), reported_last()),
    };
    let running = state.running.is_some();
    let probed = latest
        .and_then(|i| remembered.filter(|memory| memory.probed.instance == i.id))
        .map(|m| &m.probed);
    let started = running && probed.is_some_and(|probed| probed.started);
    let ready = match part {
        // An init container is ready when it is done.
        Part::Init => state.terminated.as_ref().is_some_and(|state| state.exit_code == 0),
        // Nothing waits for an ephemeral one, so nothing says that it is ready.
        Part::Ephemeral => false,
        _ => running && started && probed.is_some_and(|probed| probed.ready),
    };
    let keep = |read: fn(&ContainerStatus) -> &String| reported.map(read).cloned().unwrap_or_default();
    let restart_count = latest.map(|i| i32::try_from(i.attempt).unwrap_or(i32::MAX));
    // What runs has what it was made with, whatever is wanted by now.
    let made_with = latest.and_then(|instance| serde_json::from_str(&instance.resources).ok());
    let resources: Option<ResourceRequirements> = made_with
        .or_else(|| container.resources.clone())
        .filter(|r| r.limits.is_some() || r.requests.is_some());
    ContainerStatus {
        allocated_resources: resources
            .as_ref()
            .and_then(|r| r.requests.clone())
            .filter(|requests| !requests.is_empty()),
        container_id: latest
            .map(container_id)
            .or_else(|| reported.and_then(|status| status.container_id.clone())),
        image: match latest {
            Some(instance) if !instance.image.is_empty() && !instance.image.starts_with("sha256:") => {
                instance.image.clone()
            }
            _ => container.image.clone().unwrap_or_default(),
        },
        image_id: latest.map_or_else(|| keep(|status| &status.image_id), |instance| instance.image_id.clone()),
        last_state: Some(last_state.unwrap_or_default()),
        name: name.clone(),
        ready,
        resources: Some(resources.unwrap_or_default()),
        restart_count: restart_count.unwrap_or_else(|| reported.map_or(0, |status| status.restart_count)),
        started: Some(started),
        state: Some(state),
        user: latest
            .and_then(|instance| instance.user.clone())
            .map(|(uid, gid, groups)| ContainerUser {
                linux: Some(LinuxContainerUser {
                    gid,
                    supplemental_groups: Some(groups),
                    uid,
                }),
            }),
        volume_mounts: volume_mounts(container),
        ..Default::default()
    }
}

/// The state of a container that the runtime does not know.
fn absent(facts: Facts<'_>, part: Part, reported: Option<&ContainerStatus>) -> ContainerState {
    let Facts { pod, runtime, plan, .. } = facts;
    if let Some(state) = reported.and_then(|status| status.state.as_ref()) {
        if state.terminated.is_some() {
            return state.clone();
        }
        if plan.finished && state.running.is_some() {
            let state = ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..Default::default()
            };
            return ContainerState {
                terminated: Some(state),
                ..Default::default()
            };
        }
    }
    let init_under_way = pod.parts().any(|(p, c)| {
        p == Part::Init
            && runtime
                .latest(&c.name)
                .is_none_or(|i| i.state != InstanceState::Exited || i.exit_code != 0)
    });
    let has_init = pod.spec().init_containers.iter().flatten().next().is_some();
    let initializing = has_init && (matches!(part, Part::Init | Part::Sidecar) || init_under_way);
    waiting(
        if initializing {
            "PodInitializing"
        } else {
            "ContainerCreating"
        },
        "",
    )
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        mount_path: mount.mount_path.clone(),
        name: mount.name.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..Default::default()
    };
    Some(mounts.iter().map(status).collect())
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// How a container that has ended did so: its state now, or the last one while it waits to run
/// again.
fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref()?;
    match (&now.terminated, &now.waiting) {
        (Some(ended), _) => Some(ended),
        (None, Some(_)) => status.last_state.as_ref()?.terminated.as_ref(),
        (None, None) => None,
    }
}

/// Names of init containers that the others still wait for.
fn uninitialized(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus]) -> Vec<String> {
    if main.iter().any(|status| is_running(status) || ended(status).is_some()) {
        return vec![];
    }
    let done = |status: &&ContainerStatus| match pod.container(&status.name) {
        Some((Part::Sidecar, _)) => status.started == Some(true),
        _ => status
            .state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .is_some_and(|ended| ended.exit_code == 0),
    };
    init.iter()
        .filter(|status| !done(status))
        .map(|status| status.name.clone())
        .collect()
}

fn phase(facts: Facts<'_>, init: &[ContainerStatus], main: &[ContainerStatus]) -> String {
    let Facts { pod, memory, plan, .. } = facts;
    if pod.is_terminal() {
        return pod
            .status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default();
    }
    let alive = init.iter().chain(main).any(is_running);
    if memory.failed.is_some() && !alive {
        return "Failed".to_owned();
    }
    let ever = |status: &ContainerStatus| is_running(status) || ended(status).is_some();
    let init_failed = |status: &ContainerStatus| {
        let end = ended(status).filter(|end| end.exit_code != 0);
        let part = pod.container(&status.name);
        end.zip(part)
            .is_some_and(|(end, (part, c))| part == Part::Init && !restarts(pod, part, c, end.exit_code))
    };
    if !main.iter().any(ever) {
        let failed = !alive && init.iter().any(init_failed);
        return if failed { "Failed" } else { "Pending" }.to_owned();
    }
    if alive {
        return if main.iter().all(ever) { "Running" } else { "Pending" }.to_owned();
    }
    if !main.iter().all(|status| ended(status).is_some()) {
        return "Pending".to_owned();
    }
    let over = main.iter().all(|status| {
        let (part, container) = pod.container(&status.name).expect("statuses are made from containers");
        ended(status).is_some_and(|end| !restarts(pod, part, container, end.exit_code))
    });
    // A Pod that is being deleted ends like one that ran to its end.
    let deleted = plan.finished && pod.deletion().is_some();
    if !over && !deleted {
        return "Running".to_owned();
    }
    let succeeded = main
        .iter()
        .all(|status| ended(status).is_some_and(|end| end.exit_code == 0));
    if succeeded { "Succeeded" } else { "Failed" }.to_owned()
}

fn conditions(facts: Facts<'_>, phase: &str, init: &[ContainerStatus], main: &[ContainerStatus]) -> Vec<PodCondition> {
    let Facts { pod, runtime, now, .. } = facts;
    let old = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let uninitialized = uninitialized(pod, init, main);
    let initialized = if uninitialized.is_empty() || over == Some("PodCompleted") {
        Verdict::yes(over.filter(|reason| *reason == "PodCompleted"))
    } else {
        Verdict::no(
            "ContainersNotInitialized",
            format!("containers with incomplete status: {}", list(&uninitialized)),
        )
    };
    let sidecars = init
        .iter()
        .filter(|s| matches!(pod.container(&s.name), Some((Part::Sidecar, _))));
    let unready: Vec<String> = sidecars
        .chain(main)
        .filter(|s| !s.ready)
        .map(|s| s.name.clone())
        .collect();
    let containers = match over {
        Some(reason) => Verdict {
            status: false,
            reason: Some(reason.to_owned()),
            message: None,
        },
        None if unready.is_empty() => Verdict::yes(None),
        None => Verdict::no(
            "ContainersNotReady",
            format!("containers with unready status: {}", list(&unready)),
        ),
    };
    let ready = if containers.status {
        gates(pod, &old)
    } else {
        containers.clone()
    };
    let sandbox = Verdict {
        status: runtime.ready_sandbox().is_some(),
        reason: None,
        message: None,
    };
    let mut verdicts: BTreeMap<&str, Verdict> = BTreeMap::from([
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
    ]);
    let outgrown = pod.parts().any(|(_, container)| {
        let running = runtime
            .latest(&container.name)
            .filter(|i| i.state == InstanceState::Running);
        running.is_some_and(|i| !i.resources.is_empty() && i.resources != config::resources_text(container))
    });
    if outgrown {
        let resize = Verdict {
            status: true,
            reason: Some("Infeasible".to_owned()),
            message: Some(NO_RESIZE.to_owned()),
        };
        verdicts.insert(RESIZE, resize);
    }
    if !old.iter().any(|condition| condition.type_ == "PodScheduled") {
        verdicts.insert("PodScheduled", Verdict::yes(None));
    }
    let order = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        RESIZE,
    ];
    let mut conditions: Vec<PodCondition> = Vec::new();
    for type_ in order {
        let before = old.iter().find(|condition| condition.type_ == type_);
        match (verdicts.remove(type_), before) {
            (Some(verdict), before) => conditions.push(verdict.into_condition(type_, before, pod, now)),
            (None, Some(before)) if type_ != RESIZE => conditions.push(before.clone()),
            (None, _) => {}
        }
    }
    conditions.extend(
        old.into_iter()
            .filter(|condition| !order.contains(&condition.type_.as_str())),
    );
    conditions
}

/// Condition of a Pod whose containers do not have the resources that are wanted by now.
const RESIZE: &str = "PodResizePending";
const NO_RESIZE: &str =
    "In-place resize is not supported by this node; containers get what is wanted when they start anew";

fn list(names: &[String]) -> String {
    format!("[{}]", names.join(" "))
}

/// Whether the conditions that others set allow the Pod to be ready.
fn gates(pod: &Pod, conditions: &[PodCondition]) -> Verdict {
    let mut messages = Vec::new();
    for gate in pod.spec().readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match conditions.iter().find(|condition| condition.type_ == *type_) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate \"{type_}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => messages.push(format!(
                "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        Verdict::yes(None)
    } else {
        Verdict::no("ReadinessGatesNotReady", messages.join(", "))
    }
}

#[derive(Clone, Debug)]
struct Verdict {
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn yes(reason: Option<&str>) -> Self {
        Self {
            status: true,
            reason: reason.map(str::to_owned),
            message: None,
        }
    }

    fn no(reason: &str, message: String) -> Self {
        Self {
            status: false,
            reason: Some(reason.to_owned()),
            message: Some(message),
        }
    }

    fn into_condition(self, type_: &str, before: Option<&PodCondition>, pod: &Pod, now: Timestamp) -> PodCondition {
        let status = if self.status { "True" } else { "False" };
        let same = before.filter(|before| before.status == status);
        PodCondition {
            last_probe_time: None,
            last_transition_time: same
                .and_then(|before| before.last_transition_time.clone())
                .or(Some(Time(now))),
            message: self.message,
            observed_generation: pod.metadata.generation,
            reason: self.reason,
            status: status.to_owned(),
            type_: type_.to_owned(),
        }
    }
}

/// The strategic merge patch that brings `old` to `new`; `None` when there is nothing to write.
#[must_use]
pub fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (old, new) = (object(old), object(new));
    let mut changes = Map::new();
    for (field, value) in &new {
        if old.get(field) == Some(value) {
            continue;
        }
        let value = match field.as_str() {
            "conditions" => changed_conditions(old.get(field), value),
            "podIPs" | "hostIPs" if old.contains_key(field) => replacing(value),
            _ => value.clone(),
        };
        changes.insert(field.clone(), value);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        changes.insert(field.clone(), Value::Null);
    }
    (!changes.is_empty()).then(|| json!({ "metadata": { "uid": uid }, "status": changes }))
}

fn object(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Conditions merge by their type, so that those of others are left alone.
fn changed_conditions(old: Option<&Value>, new: &Value) -> Value {
    let old: &[Value] = old.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let null_absent = |condition: &Value| {
        let mut condition = condition.clone();
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
        condition
    };
    let new: &[Value] = new.as_array().map_or(&[], Vec::as_slice);
    let changed = new.iter().filter(|condition| !old.contains(condition)).map(null_absent);
    let gone = old
        .iter()
        .filter(|before| new.iter().all(|now| now["type"] != before["type"]));
    changed
        .chain(gone.map(|before| json!({ "$patch": "delete", "type": before["type"] })))
        .collect()
}

/// Addresses merge by themselves, which would keep the old ones.
fn replacing(list: &Value) -> Value {
    let items = list.as_array().cloned().unwrap_or_default();
    std::iter::once(json!({ "$patch": "replace" })).chain(items).collect()
}

#[cfg(test)]
mod tests;
