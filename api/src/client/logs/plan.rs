//! Which logs to open when: what Pods look like and how logs ended goes in, what to do comes out.
//!
//! A log ends when its container does, or when the connection breaks; the Pod's status tells which of the two some
//! time before or after. So a log that ended while its container was said to run is tried again after a pause, unless
//! the status says meanwhile that the container ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Containers, Source};
use crate::client::pods::Pod;

/// Index of a source.
pub(super) type Id = usize;
/// Logs that are kept open at once.
pub(super) const OPEN_MAX: usize = 128;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A source that was not known before.
    Announce(Id),
    /// Open its log, from where it was read to.
    Open(Id),
    /// Say so to the reader.
    Note(Id, String),
    /// Call [`Plan::retry`] after a while.
    Retry(Id, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The container has not run yet.
    Waiting,
    Open,
    /// Its log was read to the end.
    Ended,
    /// Its log ended, but the container may still run.
    Broken,
    /// The Pod is gone.
    Gone,
    /// There are too many.
    LeftOut,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    state: State,
    /// The instance whose log was opened last.
    opened: Option<String>,
    /// The instance that has a log now.
    latest: Option<String>,
    running: bool,
    pause: Duration,
}

/// All sources and what became of them.
#[derive(Debug)]
pub(super) struct Plan {
    containers: Containers,
    entries: Vec<Entry>,
    /// By the Pod's identity and the container's name.
    known: HashMap<(Box<str>, Box<str>), Id>,
}

impl Plan {
    pub(super) fn new(containers: Containers) -> Self {
        Self {
            containers,
            entries: Vec::new(),
            known: HashMap::new(),
        }
    }

    pub(super) fn source(&self, id: Id) -> &Source {
        &self.entries[id].source
    }

    /// Takes in the Pods as they are now.
    pub(super) fn observe(&mut self, pods: &[Arc<Pod>]) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut present = vec![false; self.entries.len()];
        for pod in pods {
            for name in self.containers_of(pod) {
                let id = self.entry(pod, &name, &mut actions);
                if let Some(present) = present.get_mut(id) {
                    *present = true;
                }
                self.observe_container(id, pod, &name, &mut actions);
            }
        }
        for id in present
            .iter()
            .enumerate()
            .filter(|(_, present)| !**present)
            .map(|(id, _)| id)
        {
            let entry = &mut self.entries[id];
            if !matches!(entry.state, State::Gone | State::LeftOut) {
                // What is open goes on to its end.
                if entry.state != State::Open {
                    entry.state = State::Gone;
                }
                if entry.running || entry.latest.is_none() {
                    actions.push(Action::Note(id, "pod is gone".to_owned()));
                }
                (entry.running, entry.latest) = (false, entry.opened.clone().or(Some(String::new())));
            }
        }
        actions
    }

    fn containers_of(&self, pod: &Pod) -> Vec<Box<str>> {
        match &self.containers {
            Containers::All => pod.spec.all().map(|c| c.name.clone()).collect(),
            Containers::Default => pod.default_container().map(Box::from).into_iter().collect(),
            Containers::Named(name) => {
                let named = pod.spec.all().filter(|c| *c.name == **name);
                named.map(|c| c.name.clone()).collect()
            }
        }
    }

    fn entry(&mut self, pod: &Pod, container: &str, actions: &mut Vec<Action>) -> Id {
        let key = (pod.metadata.uid.clone(), container.into());
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id = self.entries.len();
        let open = |entry: &&Entry| !matches!(entry.state, State::Gone | State::LeftOut);
        let state = match self.entries.iter().filter(open).count() < OPEN_MAX {
            true => State::Waiting,
            false => State::LeftOut,
        };
        self.entries.push(Entry {
            source: Source {
                namespace: pod.metadata.namespace.to_string(),
                pod: pod.metadata.name.to_string(),
                container: container.to_owned(),
            },
            state,
            opened: None,
            latest: None,
            running: false,
            pause: RETRY_FIRST,
        });
        self.known.insert(key, id);
        actions.push(Action::Announce(id));
        if state == State::LeftOut {
            let text = format!("left out: {OPEN_MAX} logs are open already");
            actions.push(Action::Note(id, text));
        }
        id
    }

    fn observe_container(&mut self, id: Id, pod: &Pod, name: &str, actions: &mut Vec<Action>) {
        let entry = &mut self.entries[id];
        let status = pod.container(name);
        let was_running = entry.running;
        entry.running = status.is_some_and(|s| s.running());
        entry.latest = status.and_then(|s| s.instance().map(str::to_owned));
        let restarts = status.map_or(0, |s| s.restart_count);
        if was_running
            && !entry.running
            && let Some(code) = status.and_then(|s| s.exit_code())
        {
            actions.push(Action::Note(id, format!("container ended with exit code {code}")));
        }
        match entry.state {
            State::Waiting if entry.latest.is_some() => self.open(id, actions),
            State::Ended | State::Broken if entry.latest.is_some() && entry.latest != entry.opened => {
                if entry.opened.is_some() {
                    actions.push(Action::Note(
                        id,
                        format!("container started again (restart {restarts})"),
                    ));
                }
                self.open(id, actions);
            }
            State::Broken if !entry.running => entry.state = State::Ended,
            _ => {}
        }
    }

    fn open(&mut self, id: Id, actions: &mut Vec<Action>) {
        let entry = &mut self.entries[id];
        entry.state = State::Open;
        entry.opened.clone_from(&entry.latest);
        actions.push(Action::Open(id));
    }

    /// A log was read to its end, or broke. `read` tells whether anything had come.
    pub(super) fn ended(&mut self, id: Id, error: Option<&str>, read: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        let entry = &mut self.entries[id];
        if read {
            entry.pause = RETRY_FIRST;
        }
        if let Some(error) = error {
            actions.push(Action::Note(id, format!("log broke off: {error}")));
        }
        if entry.latest.is_some() && entry.latest != entry.opened {
            actions.push(Action::Note(id, "container started again".to_owned()));
            self.open(id, &mut actions);
        } else if entry.running {
            entry.state = State::Broken;
            actions.push(Action::Retry(id, entry.pause));
            entry.pause = (entry.pause * 2).min(RETRY_LONGEST);
        } else {
            entry.state = State::Ended;
        }
        actions
    }

    /// The pause after a break is over.
    pub(super) fn retry(&mut self, id: Id) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.entries[id].state == State::Broken {
            self.open(id, &mut actions);
        }
        actions
    }

    /// The sources whose log is to be open.
    pub(super) fn open_sources(&self) -> Vec<Id> {
        let open = |id: &Id| self.entries[*id].state == State::Open;
        (0..self.entries.len()).filter(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, state: Value, id: &str, restarts: u32) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "containerID": id, "restartCount": restarts, "state": state}]}});
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn words(plan: &Plan, actions: &[Action]) -> String {
        let word = |action: &Action| match action {
            Action::Announce(id) => format!("new {}", plan.source(*id).pod),
            Action::Open(id) => format!("open {}", plan.source(*id).pod),
            Action::Note(id, text) => format!("{}: {text}", plan.source(*id).pod),
            Action::Retry(id, pause) => format!("retry {} in {} ms", plan.source(*id).pod, pause.as_millis()),
        };
        actions.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_container_is_followed_over_restarts() {
        let mut plan = Plan::new(Containers::Default);
        let mut see = |pods: &[Arc<Pod>]| {
            let actions = plan.observe(pods);
            words(&plan, &actions)
        };
        insta::assert_snapshot!(see(&[pod("a", json!({"waiting": {}}), "", 0)]), @"new a");
        insta::assert_snapshot!(see(&[pod("a", json!({"running": {}}), "1", 0)]), @"open a");
        insta::assert_snapshot!(see(&[pod("a", json!({"terminated": {"exitCode": 3, "containerID": "1"}}), "1", 0)]), @"a: container ended with exit code 3");
        let actions = plan.ended(0, None, true);
        insta::assert_snapshot!(words(&plan, &actions), @"");
        let actions = plan.observe(&[pod("a", json!({"waiting": {}}), "1", 0)]);
        insta::assert_snapshot!(words(&plan, &actions), @"");
        let actions = plan.observe(&[pod("a", json!({"running": {}}), "2", 1)]);
        insta::assert_snapshot!(words(&plan, &actions), @"a: container started again (restart 1), open a");
        // The log ends after the status told of the next instance.
        let actions = plan.observe(&[pod("a", json!({"running": {}}), "3", 2)]);
        insta::assert_snapshot!(words(&plan, &actions), @"");
        let actions = plan.ended(0, None, true);
        insta::assert_snapshot!(words(&plan, &actions), @"a: container started again, open a");
    }

    #[test]
    fn a_broken_log_is_tried_again_until_the_container_ends() {
        let mut plan = Plan::new(Containers::Default);
        plan.observe(&[pod("a", json!({"running": {}}), "1", 0)]);
        let actions = plan.ended(0, Some("connection reset"), true);
        insta::assert_snapshot!(words(&plan, &actions), @"a: log broke off: connection reset, retry a in 500 ms");
        let actions = plan.retry(0);
        insta::assert_snapshot!(words(&plan, &actions), @"open a");
    }

    #[test]
    fn retries_grow_longer_and_stop_with_the_container() {
        let mut plan = Plan::new(Containers::Default);
        plan.observe(&[pod("a", json!({"running": {}}), "1", 0)]);
        let _ = plan.ended(0, None, false);
        let actions = plan.retry(0);
        insta::assert_snapshot!(words(&plan, &actions), @"open a");
        let actions = plan.ended(0, None, false);
        insta::assert_snapshot!(words(&plan, &actions), @"retry a in 1000 ms");
        plan.observe(&[pod("a", json!({"terminated": {"containerID": "1"}}), "1", 0)]);
        let actions = plan.retry(0);
        insta::assert_snapshot!(words(&plan, &actions), @"");
    }

    #[test]
    fn pods_of_a_workload_come_and_go() {
        let mut plan = Plan::new(Containers::All);
        let (a, b) = (
            pod("a", json!({"running": {}}), "1", 0),
            pod("b", json!({"running": {}}), "2", 0),
        );
        let actions = plan.observe(&[a]);
        insta::assert_snapshot!(words(&plan, &actions), @"new a, open a");
        let actions = plan.observe(&[b]);
        insta::assert_snapshot!(words(&plan, &actions), @"new b, open b, a: pod is gone");
        let actions = plan.ended(0, None, true);
        insta::assert_snapshot!(words(&plan, &actions), @"");
        assert_eq!(plan.open_sources(), [1]);
    }
}
