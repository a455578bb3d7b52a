//! Probes: asked on their own timers, judged by thresholds, told to the Pod's worker.
//!
//! Entry point: [`start`]. Tasks: one per probe of a running container, ended when the returned
//! [`Running`] is dropped. Channel: [`Found`] to the worker, only when a verdict changes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use mizzen_api::client::events::Severity;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::events::Events;
use super::handler::{self, Answer, Question, Target};
use super::podinfo::PodInfo;

/// A change of what a container's probes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The container.
    pub name: String,
    /// The runtime's id of the instance that was asked.
    pub instance: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// A probe's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has started up.
    Started,
    /// It is ready, or no longer.
    Ready(bool),
    /// It has to be restarted: the probe's name and the grace period in seconds.
    Unhealthy(&'static str, i64),
}

/// The probes of one container; dropping it ends them.
pub struct Running {
    _tasks: JoinSet<()>,
}

/// What the probes of a container start from.
pub struct Start {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// The container that is asked.
    pub target: Target,
    /// When it started.
    pub started_at: Timestamp,
    /// Whether it has started up already (we adopted it).
    pub started: bool,
    /// Whether it was ready.
    pub ready: bool,
    /// Where problems are told.
    pub events: Events,
    /// The worker.
    pub out: mpsc::UnboundedSender<Found>,
}

/// Starts the container's probes.
#[must_use]
pub fn start(start: Start) -> Running {
    let mut tasks = JoinSet::new();
    tasks.spawn(run(Arc::new(start)));
    Running { _tasks: tasks }
}

/// The startup probe to its end, then the other two side by side.
async fn run(start: Arc<Start>) {
    let container = Arc::clone(&start.target.container);
    if let Some(probe) = container.startup_probe.clone().filter(|_| !start.started) {
        let mut watch = Watch::new(&start, &container, "Startup", &probe, None);
        match watch.until_change().await {
            true => watch.tell(Verdict::Started),
            false => return watch.tell(Verdict::Unhealthy("startup", watch.grace_s())),
        }
    }
    let readiness = async {
        let Some(probe) = container.readiness_probe.clone() else {
            return;
        };
        let mut watch = Watch::new(&start, &container, "Readiness", &probe, Some(start.ready));
        loop {
            let ready = watch.until_change().await;
            watch.tell(Verdict::Ready(ready));
        }
    };
    let liveness = async {
        let Some(probe) = container.liveness_probe.clone() else {
            return;
        };
        let mut watch = Watch::new(&start, &container, "Liveness", &probe, Some(true));
        while watch.until_change().await {}
        watch.tell(Verdict::Unhealthy("liveness", watch.grace_s()));
    };
    tokio::join!(readiness, liveness);
}

/// Counts answers in a row. Pure.
#[derive(Clone, Copy, Debug)]
struct Judge {
    verdict: Option<bool>,
    last: Option<bool>,
    in_a_row: i32,
    success_threshold: i32,
    failure_threshold: i32,
}

impl Judge {
    fn new(probe: &Probe, verdict: Option<bool>) -> Self {
        Self {
            verdict,
            last: None,
            in_a_row: 0,
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }

    /// The new verdict, if this answer changes it.
    fn hear(&mut self, good: bool) -> Option<bool> {
        self.in_a_row = if self.last == Some(good) { self.in_a_row + 1 } else { 1 };
        self.last = Some(good);
        let threshold = if good {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.in_a_row < threshold || self.verdict == Some(good) {
            return None;
        }
        self.verdict = Some(good);
        Some(good)
    }
}

struct Watch<'a> {
    start: &'a Start,
    container: &'a Container,
    kind: &'static str,
    probe: Probe,
    judge: Judge,
    next: tokio::time::Instant,
}

impl<'a> Watch<'a> {
    fn new(
        start: &'a Start,
        container: &'a Container,
        kind: &'static str,
        probe: &Probe,
        verdict: Option<bool>,
    ) -> Self {
        let delay = seconds(probe.initial_delay_seconds.unwrap_or(0));
        let age = Duration::try_from(Timestamp::now().duration_since(start.started_at)).unwrap_or_default();
        let next = tokio::time::Instant::now() + delay.saturating_sub(age);
        Self {
            start,
            container,
            kind,
            probe: probe.clone(),
            judge: Judge::new(probe, verdict),
            next,
        }
    }

    /// Asks until the verdict changes.
    async fn until_change(&mut self) -> bool {
        let timeout = seconds(self.probe.timeout_seconds.unwrap_or(1).max(1));
        let period = seconds(self.probe.period_seconds.unwrap_or(10).max(1));
        let Some(question) = Question::of_probe(&self.probe) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep_until(self.next).await;
            let answer = handler::ask(&self.start.target, &question, timeout).await;
            // A slow answer must not make the next ones come in a burst.
            self.next = (self.next + period).max(tokio::time::Instant::now());
            let good = self.complain(&answer);
            if let Some(verdict) = good.and_then(|good| self.judge.hear(good)) {
                return verdict;
            }
        }
    }

    /// Tells of a bad answer; `None` when there was no answer to count.
    fn complain(&self, answer: &Answer) -> Option<bool> {
        let (good, message) = match answer {
            Answer::Good => return Some(true),
            Answer::Bad(output) => (Some(false), format!("{} probe failed: {output}", self.kind)),
            Answer::Unasked(error) => (
                None,
                format!("{} probe errored and resulted in unknown state: {error}", self.kind),
            ),
        };
        self.start
            .events
            .container(&self.start.pod, self.container, Severity::Warning, "Unhealthy", message);
        good
    }

    fn grace_s(&self) -> i64 {
        self.probe
            .termination_grace_period_seconds
            .unwrap_or_else(|| self.start.pod.grace_s())
    }

    fn tell(&self, verdict: Verdict) {
        let found = Found {
            name: self.container.name.clone(),
            instance: self.start.target.id.clone(),
            verdict,
        };
        // A worker that is gone needs no news.
        let _ = self.start.out.send(found);
    }
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let probe = Probe {
            success_threshold: Some(2),
            failure_threshold: Some(3),
            ..Default::default()
        };
        let mut judge = Judge::new(&probe, Some(false));
        let mut verdicts = Vec::new();
        for good in [true, false, true, true, true, false, false, true, false, false, false] {
            verdicts.push(judge.hear(good));
        }
        let expected = [
            None,
            None,
            None,
            Some(true),
            None,
            None,
            None,
            None,
            None,
            None,
            Some(false),
        ];
        assert_eq!(verdicts, expected);
    }
}
