//! The planning core of a Pod worker: from the Pod as wanted, the runtime as observed, what the
//! worker remembers and the clock, to what is to be done now, and when to look again. Pure.
//!
//! Entry point: [`plan`]. The plan is made anew after everything that happens; what is already
//! under way is in [`Memory`] and not planned twice. Losing the memory loses no Pod.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::admission::Refusal;
use super::backoff::Backoff;
use super::config;
use super::podinfo::{Part, PodInfo};
use super::runtime::{Instance, InstanceState, PodRuntime, Sandbox};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the volumes.
    PrepareVolumes,
    /// Make a sandbox.
    CreateSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Stop a sandbox and what runs in it.
    StopSandbox {
        /// The sandbox.
        id: String,
    },
    /// Remove a stopped sandbox.
    RemoveSandbox {
        /// The sandbox.
        id: String,
    },
    /// Pull if needed, make, start a container.
    Start {
        /// The container.
        name: String,
        /// How often it was restarted.
        attempt: u32,
    },
    /// End a running container: hook, signal, force.
    Kill {
        /// The runtime's id.
        id: String,
        /// The container.
        name: String,
        /// How long it may take.
        grace_s: i64,
        /// The Event's message.
        message: String,
    },
    /// Remove an ended container.
    Remove {
        /// The runtime's id.
        id: String,
    },
    /// Give up on the Pod.
    Fail {
        /// The status' reason.
        reason: &'static str,
        /// The status' message.
        message: &'static str,
    },
    /// Unmount and remove what the Pod has on disk.
    TearDown,
    /// Tell the API that the Pod is gone.
    DeleteObject,
    /// Remove the last traces and end the worker.
    Forget,
}

impl Action {
    /// Two actions with one key are the same, as long as the first is under way.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::PrepareVolumes => "volumes".to_owned(),
            Self::CreateSandbox { .. } => "sandbox".to_owned(),
            Self::StopSandbox { id } => format!("stop {id}"),
            Self::RemoveSandbox { id } | Self::Remove { id } => format!("remove {id}"),
            Self::Start { .. } => "start".to_owned(),
            Self::Kill { id, grace_s, .. } => format!("kill {id} {grace_s}"),
            Self::Fail { .. } => "fail".to_owned(),
            Self::TearDown => "tear down".to_owned(),
            Self::DeleteObject => "delete".to_owned(),
            Self::Forget => "forget".to_owned(),
        }
    }
}

/// Why a container is not running, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// One word.
    pub reason: String,
    /// The rest.
    pub message: String,
}

/// What the worker remembers of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerMemory {
    /// The pause after its next failure.
    pub backoff: Option<Backoff>,
    /// The pause after the next failed pull of its image.
    pub pull_backoff: Option<Backoff>,
    /// Why the last try to start it failed before there was an instance.
    pub waiting: Option<Waiting>,
    /// When to try again.
    pub retry_at: Option<Timestamp>,
    /// The highest attempt that was ever made.
    pub attempts: Option<u32>,
    /// What the probes found, and of which instance.
    pub probed: Probed,
}

/// What a container's probes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The instance that was probed.
    pub instance: String,
    /// Whether it has started up.
    pub started: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it has to be killed (`liveness` or `startup`), and in how many seconds.
    pub unhealthy: Option<(&'static str, i64)>,
}

/// Whether a Pod's volumes can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VolumeState {
    /// Not made in this life of the worker.
    #[default]
    Unmade,
    /// Made.
    Ready,
    /// Could not be made; try again then, or when an object changes.
    Failed {
        /// Then.
        retry_at: Timestamp,
    },
    /// Removed.
    Gone,
}

/// What the worker remembers of its Pod.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The keys of actions that are under way.
    pub under_way: HashSet<String>,
    /// Until when each container that is being killed may take.
    pub kills: HashMap<String, Timestamp>,
    /// The volumes.
    pub volumes: VolumeState,
    /// When to try again to make a sandbox.
    pub sandbox_retry_at: Option<Timestamp>,
    /// Failures of sandboxes in a row.
    pub sandbox_failures: u32,
    /// The containers.
    pub containers: HashMap<String, ContainerMemory>,
    /// Why the kubelet gave up on the Pod.
    pub failed: Option<Refusal>,
    /// Whether it never took it.
    pub refused: bool,
    /// Whether the API has let go of the object.
    pub gone: bool,
    /// Since when the Pod is here.
    pub started_at: Option<Timestamp>,
    /// What is in the way of deleting the object; try again then.
    pub delete_retry_at: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All of it, at the same time.
    pub actions: Vec<Action>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Containers that are kept waiting by the plan itself.
    pub waiting: BTreeMap<String, Waiting>,
    /// Whether everything the Pod will ever run has ended.
    pub finished: bool,
}

/// What there is to plan from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The Pod as wanted.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub runtime: &'a PodRuntime,
    /// What the worker remembers.
    pub memory: &'a Memory,
    /// The time.
    pub now: Timestamp,
}

/// Plans what to do for a Pod.
#[must_use]
pub fn plan(input: Input<'_>) -> Plan {
    let mut planner = Planner {
        input,
        plan: Plan::default(),
    };
    planner.decide();
    planner.plan
}

/// Whether the container is to run again after it ended with `exit_code`.
#[must_use]
pub fn restarts(pod: &Pod, part: Part, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|&code| code == exit_code);
        if listed == (codes.operator == "In") {
            return rule.action == "Restart";
        }
    }
    let of_pod = pod.spec().restart_policy.as_deref();
    // An init container that succeeded is done, whatever the Pod's policy.
    let policy = match (part, container.restart_policy.as_deref().or(of_pod)) {
        (Part::Ephemeral, _) => "Never",
        (Part::Init, Some("Never")) => "Never",
        (Part::Init, _) => "OnFailure",
        (_, policy) => policy.unwrap_or("Always"),
    };
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

struct Planner<'a> {
    input: Input<'a>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn decide(&mut self) {
        let Input { pod, memory, .. } = self.input;
        self.remove_leftovers();
        if memory.gone || pod.deletion().is_some() || memory.failed.is_some() || pod.is_terminal() {
            self.plan.finished = true;
            self.end(pod.grace_s());
        } else if !self.deadline_passed() {
            self.run();
        }
    }

    fn act(&mut self, action: Action) {
        if !self.input.memory.under_way.contains(&action.key()) {
            self.plan.actions.push(action);
        }
    }

    fn is_under_way(&self, prefix: &str) -> bool {
        self.input.memory.under_way.iter().any(|key| key.starts_with(prefix))
    }

    fn wake(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |old| old.min(at)));
    }

    /// True when `at` is in the future, which the plan then waits for.
    fn waits_for(&mut self, at: Option<Timestamp>) -> bool {
        match at {
            Some(at) if at > self.input.now => {
                self.wake(at);
                true
            }
            _ => false,
        }
    }

    fn remembered(&self, name: &str) -> Option<&'a ContainerMemory> {
        self.input.memory.containers.get(name)
    }

    /// Of each container one ended instance is kept, for its logs and its last state.
    fn remove_leftovers(&mut self) {
        let runtime = self.input.runtime;
        let mut kept = HashSet::new();
        for instance in &runtime.instances {
            let stale = match instance.state {
                InstanceState::Running => false,
                InstanceState::Created => !self.is_under_way("start"),
                InstanceState::Exited | InstanceState::Unknown => !kept.insert(instance.name.as_str()),
            };
            if stale {
                self.act(Action::Remove {
                    id: instance.id.clone(),
                });
            }
        }
        for sandbox in runtime.sandboxes.iter().skip(1) {
            if sandbox.ready {
                self.act(Action::StopSandbox { id: sandbox.id.clone() });
            } else if runtime
                .instances
                .iter()
                .all(|instance| instance.sandbox_id != sandbox.id)
            {
                self.act(Action::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
    }

    fn deadline_passed(&mut self) -> bool {
        let Input { pod, memory, now, .. } = self.input;
        let (Some(seconds), Some(since)) = (pod.spec().active_deadline_seconds, memory.started_at) else {
            return false;
        };
        let deadline = since + SignedDuration::from_secs(seconds);
        if deadline > now {
            self.wake(deadline);
            return false;
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.act(Action::Fail {
            reason: "DeadlineExceeded",
            message,
        });
        true
    }

    // ---- Ending.

    /// Ends the Pod step by step: containers, sandbox, disk, object.
    fn end(&mut self, grace_s: i64) {
        let Input {
            pod,
            runtime,
            memory,
            now,
        } = self.input;
        let grace_s = match pod.deletion() {
            // Deletion times are whole seconds, so one is given back.
            Some(at) => grace_s.min(at.duration_since(now).as_secs() + 1).max(1),
            None => grace_s,
        };
        if self.is_under_way("sandbox") || self.kill_all(grace_s) || self.is_under_way("start") {
            return;
        }
        if let Some(sandbox) = runtime.sandboxes.iter().find(|sandbox| sandbox.ready) {
            self.act(Action::StopSandbox { id: sandbox.id.clone() });
            return;
        }
        if memory.volumes != VolumeState::Gone {
            if !self.is_under_way("volumes") {
                self.act(Action::TearDown);
            }
            return;
        }
        if memory.gone {
            self.act(Action::Forget);
        } else if pod.deletion().is_some() && !self.waits_for(memory.delete_retry_at) {
            self.act(Action::DeleteObject);
        }
    }

    /// Kills what runs: ordinary containers together, then the sidecars from last to first.
    /// True while something still runs.
    fn kill_all(&mut self, grace_s: i64) -> bool {
        let Input { pod, runtime, .. } = self.input;
        let alive: Vec<&Instance> = runtime
            .instances
            .iter()
            .filter(|i| i.state == InstanceState::Running)
            .collect();
        let sidecars: Vec<&str> = pod
            .parts()
            .filter(|(part, _)| *part == Part::Sidecar)
            .map(|(_, c)| c.name.as_str())
            .collect();
        let (side, main): (Vec<&Instance>, Vec<&Instance>) = alive
            .iter()
            .partition(|instance| sidecars.contains(&instance.name.as_str()));
        let last_sidecar = sidecars
            .iter()
            .rev()
            .find_map(|name| side.iter().find(|instance| instance.name == *name));
        let now_due: Vec<&Instance> = if main.is_empty() {
            last_sidecar.copied().into_iter().collect()
        } else {
            main
        };
        for instance in now_due {
            let message = format!("Stopping container {}", instance.name);
            self.kill(instance, grace_s, message);
        }
        !alive.is_empty()
    }

    fn kill(&mut self, instance: &Instance, grace_s: i64, message: String) {
        let Input { memory, now, .. } = self.input;
        let until = now + SignedDuration::from_secs(grace_s);
        // A second, shorter grace period overtakes the first; otherwise one kill is enough.
        if memory
            .kills
            .get(&instance.id)
            .is_some_and(|&earlier| earlier <= until + SignedDuration::from_secs(1))
        {
            return;
        }
        self.act(Action::Kill {
            id: instance.id.clone(),
            name: instance.name.clone(),
            grace_s,
            message,
        });
    }

    // ---- Running.

    fn run(&mut self) {
        let Input { runtime, memory, .. } = self.input;
        let outcome = self.outcome();
        if outcome.is_some() {
            self.finish();
            return;
        }
        let volumes_ready = self.want_volumes();
        let Some(sandbox) = runtime.ready_sandbox() else {
            self.want_sandbox();
            return;
        };
        if memory.under_way.contains("sandbox") {
            return;
        }
        if self.stop_unhealthy(sandbox) && volumes_ready {
            self.start_next();
        }
    }

    fn want_volumes(&mut self) -> bool {
        let retry_at = match self.input.memory.volumes {
            VolumeState::Ready => return true,
            VolumeState::Failed { retry_at } => Some(retry_at),
            VolumeState::Unmade | VolumeState::Gone => None,
        };
        if !self.waits_for(retry_at) {
            self.act(Action::PrepareVolumes);
        }
        false
    }

    fn want_sandbox(&mut self) {
        let Input {
            pod, runtime, memory, ..
        } = self.input;
        if self.waits_for(memory.sandbox_retry_at) {
            return;
        }
        if runtime.any_running() {
            // Their sandbox died under them.
            for instance in runtime.instances.iter().filter(|i| i.state == InstanceState::Running) {
                self.kill(instance, pod.grace_s(), format!("Stopping container {}", instance.name));
            }
            return;
        }
        let attempt = runtime.sandboxes.first().map_or(0, |sandbox| sandbox.attempt + 1);
        self.act(Action::CreateSandbox { attempt });
    }

    /// Whether the Pod has run everything it ever will: `Some(true)` if it succeeded.
    fn outcome(&self) -> Option<bool> {
        let Input { pod, runtime, .. } = self.input;
        let mut succeeded = true;
        let started_main = pod
            .parts()
            .any(|(part, c)| part == Part::Main && runtime.latest(&c.name).is_some());
        for (part, container) in pod.parts() {
            let ended = runtime
                .latest(&container.name)
                .filter(|i| i.state == InstanceState::Exited);
            match part {
                Part::Sidecar | Part::Ephemeral => {}
                Part::Init => {
                    let failed =
                        ended.is_some_and(|i| i.exit_code != 0 && !restarts(pod, part, container, i.exit_code));
                    if failed && !started_main {
                        return Some(false);
                    }
                }
                Part::Main => {
                    let ended = ended?;
                    if restarts(pod, part, container, ended.exit_code) {
                        return None;
                    }
                    succeeded &= ended.exit_code == 0;
                }
            }
        }
        Some(succeeded)
    }

    fn finish(&mut self) {
        let Input {
            pod, runtime, memory, ..
        } = self.input;
        if self.is_under_way("start") || self.is_under_way("sandbox") || self.kill_all(pod.grace_s()) {
            return;
        }
        self.plan.finished = true;
        if let Some(sandbox) = runtime.sandboxes.iter().find(|sandbox| sandbox.ready) {
            self.act(Action::StopSandbox { id: sandbox.id.clone() });
        } else if memory.volumes != VolumeState::Gone && !self.is_under_way("volumes") {
            self.act(Action::TearDown);
        }
    }

    /// Kills containers whose probes failed or whose image changed. False when nothing may start
    /// yet.
    fn stop_unhealthy(&mut self, sandbox: &Sandbox) -> bool {
        let Input { pod, runtime, .. } = self.input;
        for (part, container) in pod.parts() {
            let Some(instance) = runtime.latest(&container.name) else {
                continue;
            };
            if instance.state != InstanceState::Running {
                continue;
            }
            let name = &container.name;
            let unhealthy = self
                .remembered(name)
                .filter(|memory| memory.probed.instance == instance.id)
                .and_then(|memory| memory.probed.unhealthy);
            if instance.sandbox_id != sandbox.id {
                self.kill(instance, pod.grace_s(), format!("Stopping container {name}"));
            } else if let Some((probe, grace_s)) = unhealthy {
                self.kill(
                    instance,
                    grace_s,
                    format!("Container {name} failed {probe} probe, will be restarted"),
                );
            } else if part != Part::Init && !instance.hash.is_empty() && instance.hash != config::hash(container) {
                let message = format!("Container {name} definition changed, will be restarted");
                self.kill(instance, pod.grace_s(), message);
            }
        }
        true
    }

    /// Starts the next container whose turn it is: one at a time, in order.
    fn start_next(&mut self) {
        let Input { pod, runtime, .. } = self.input;
        if self.is_under_way("start") {
            return;
        }
        // Ephemeral containers wait for nobody: they are there to find out why others do not start.
        for (part, container) in pod.parts().filter(|(part, _)| *part == Part::Ephemeral) {
            if !self.ever_ran(&container.name) && self.start(part, container) {
                return;
            }
        }
        let main_began = pod
            .parts()
            .any(|(part, c)| part == Part::Main && runtime.current(&c.name).is_some());
        for (part, container) in pod.parts().filter(|(part, _)| *part != Part::Ephemeral) {
            let current = runtime.current(&container.name);
            let go_on = match (part, current) {
                (Part::Init, _) if main_began => true,
                (Part::Init, Some(i)) if i.state == InstanceState::Exited && i.exit_code == 0 => true,
                (Part::Init, Some(i)) if i.state == InstanceState::Running => false,
                (Part::Init, _) => {
                    self.start(part, container);
                    false
                }
                (_, Some(i)) if i.state == InstanceState::Running => {
                    part == Part::Main || main_began || self.has_started(i)
                }
                _ => {
                    let starting = self.start(part, container);
                    !starting && (part == Part::Main || main_began)
                }
            };
            if !go_on {
                return;
            }
        }
    }

    /// Whether there ever was an instance of the container, as far as anybody knows.
    fn ever_ran(&self, name: &str) -> bool {
        self.next_attempt(name) > 0
    }

    fn has_started(&self, instance: &Instance) -> bool {
        self.remembered(&instance.name)
            .is_some_and(|m| m.probed.instance == instance.id && m.probed.started)
    }

    /// Starts a container unless it has ended for good or has to wait. True when it starts.
    fn start(&mut self, part: Part, container: &Container) -> bool {
        let Input { pod, runtime, now, .. } = self.input;
        let name = &container.name;
        let memory = self.remembered(name);
        let ended = runtime.latest(name).filter(|i| i.state == InstanceState::Exited);
        if let Some(ended) = ended {
            let here = runtime.current(name).is_some();
            if here && !restarts(pod, part, container, ended.exit_code) {
                return false;
            }
            let (backoff, failed_at) = (
                memory.and_then(|m| m.backoff),
                ended.finished_at.unwrap_or(ended.created_at),
            );
            if let Some((backoff, until)) = backoff.and_then(|b| Some((b, b.wait(failed_at, now)?))) {
                self.wake(until);
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}_{}({})",
                    backoff.words(),
                    pod.name(),
                    pod.namespace(),
                    pod.uid()
                );
                self.plan.waiting.insert(
                    name.clone(),
                    Waiting {
                        reason: "CrashLoopBackOff".to_owned(),
                        message,
                    },
                );
                return false;
            }
        }
        if self.waits_for(memory.and_then(|memory| memory.retry_at)) {
            return false;
        }
        let attempt = self.next_attempt(name);
        self.act(Action::Start {
            name: name.clone(),
            attempt,
        });
        true
    }

    /// One more than the highest attempt that the runtime, the worker or the API know of.
    fn next_attempt(&self, name: &str) -> u32 {
        let Input { pod, runtime, .. } = self.input;
        let in_runtime = runtime.latest(name).map(|instance| instance.attempt);
        let remembered = self.remembered(name).and_then(|memory| memory.attempts);
        let reported = pod
            .reported(name)
            .filter(|status| status.container_id.as_deref().is_some_and(|id| !id.is_empty()));
        let reported = reported.and_then(|status| u32::try_from(status.restart_count).ok());
        [in_runtime, remembered, reported]
            .into_iter()
            .flatten()
            .max()
            .map_or(0, |attempt| attempt + 1)
    }
}

#[cfg(test)]
mod tests;
