//! Where Pods wait to be scheduled: active (next by priority), backing off, unschedulable, or gated.
//!
//! A Pod that could not be scheduled waits as unschedulable until an event comes of which one of the
//! plugins that rejected it says that it may help, or, lest a hint was wrong, for five minutes. It then
//! goes on at once, or after its backoff, which doubles with every attempt. Pure: time comes in.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::framework::Event;
use super::pod::Pod;
use super::profiles::Profiles;

/// Shortest and longest pause between attempts, unless configured (upstream's).
pub const BACKOFF: Duration = Duration::from_secs(1);
/// See [`BACKOFF`].
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// How long a Pod is unschedulable before it is tried without any reason.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where a Pod waits; the payload is its place in the order there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active(Reverse<i64>, u64),
    Backoff(Instant, u64),
    Unschedulable(Instant, u64),
    Gated,
    /// Out of the queue, being scheduled or bound.
    InFlight,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    place: Place,
    attempts: u32,
    /// When the backoff after the last attempt ends.
    ready_at: Instant,
    rejected_by: Vec<&'static str>,
    /// Kinds of events that may help, as bits.
    events: u16,
    sequence: u64,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    /// Shortest and longest pause between attempts.
    pauses: (Duration, Duration),
    pods: HashMap<Box<str>, Waiting>,
    active: BTreeSet<(Reverse<i64>, u64, Box<str>)>,
    backoff: BTreeSet<(Instant, u64, Box<str>)>,
    unschedulable: BTreeSet<(Instant, u64, Box<str>)>,
    sequence: u64,
    /// By kind of event: how many unschedulable Pods it may help.
    hopes: [usize; 16],
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(BACKOFF, LONGEST_BACKOFF)
    }
}

/// How many Pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Next to be scheduled.
    pub active: usize,
    /// Waiting for their backoff.
    pub backoff: usize,
    /// Waiting for something to change.
    pub unschedulable: usize,
}

impl Queue {
    /// An empty queue with these pauses between attempts.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            pauses: (shortest, longest),
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            sequence: 0,
            hopes: [0; 16],
        }
    }

    /// A Pod without a node came or changed.
    pub fn set(&mut self, pod: Arc<Pod>, profiles: &Profiles, now: Instant) {
        let uid = pod.metadata.uid.clone();
        let gated = profiles.of(&pod).held_back(&pod).is_some();
        let Some(waiting) = self.pods.get_mut(&uid) else {
            self.sequence += 1;
            let waiting = Waiting {
                pod,
                place: Place::Gated,
                attempts: 0,
                ready_at: now,
                rejected_by: Vec::new(),
                events: u16::MAX,
                sequence: self.sequence,
            };
            self.pods.insert(uid.clone(), waiting);
            if !gated {
                self.activate(&uid, profiles);
            }
            return;
        };
        let changed = waiting.pod.metadata.generation != pod.metadata.generation
            || waiting.pod.metadata.labels != pod.metadata.labels;
        waiting.pod = pod;
        match waiting.place {
            Place::Gated if !gated => self.activate(&uid, profiles),
            Place::Unschedulable(..) if changed => self.consider(&uid, profiles, &Event::Updated, now),
            Place::Active(..) if changed => self.activate(&uid, profiles),
            _ => {}
        }
    }

    /// A Pod is gone, bound, or no longer to be scheduled.
    pub fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.remove(uid) {
            self.leave(waiting.place, waiting.events, uid);
        }
    }

    /// The Pod to schedule next.
    pub fn pop(&mut self, profiles: &Profiles, now: Instant) -> Option<Arc<Pod>> {
        self.wake(profiles, now);
        let (_, _, uid) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&uid)?;
        waiting.place = Place::InFlight;
        waiting.attempts += 1;
        Some(waiting.pod.clone())
    }

    /// A Pod could not be scheduled: it waits for an event.
    pub fn reject(&mut self, uid: &str, plugins: Vec<&'static str>, profiles: &Profiles, now: Instant) {
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.events = profiles.of(&waiting.pod).events(&plugins);
            waiting.rejected_by = plugins;
            waiting.ready_at = now + backoff(self.pauses, waiting.attempts);
            hope(&mut self.hopes, waiting.events, true);
            waiting.place = Place::Unschedulable(now + PATIENCE, sequence);
            self.unschedulable.insert((now + PATIENCE, sequence, uid.into()));
        }
    }

    /// Scheduling or binding failed for a reason that is not the Pod's: it is tried again later.
    pub fn retry(&mut self, uid: &str, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.ready_at = now + backoff(self.pauses, waiting.attempts);
            let place = (waiting.ready_at, waiting.sequence);
            waiting.place = Place::Backoff(place.0, place.1);
            self.backoff.insert((place.0, place.1, uid.into()));
        }
    }

    /// Something happened: whoever it may help is tried again.
    pub fn notify(&mut self, profiles: &Profiles, event: &Event<'_>, now: Instant) {
        let kind = event.bit().trailing_zeros() as usize;
        if self.hopes[kind] == 0 {
            return;
        }
        let uids: Vec<_> = self.unschedulable.iter().map(|(_, _, uid)| uid.clone()).collect();
        for uid in uids {
            self.consider(&uid, profiles, event, now);
        }
    }

    /// When [`Queue::pop`] may have something to give that it has not now.
    pub fn next_due(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, u64, Box<str>)>| set.first().map(|(at, _, _)| *at);
        [first(&self.backoff), first(&self.unschedulable)]
            .into_iter()
            .flatten()
            .min()
    }

    /// How many Pods wait where.
    pub fn depth(&self) -> Depth {
        Depth {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
        }
    }

    /// Moves Pods whose time has come.
    fn wake(&mut self, profiles: &Profiles, now: Instant) {
        loop {
            let first = [self.backoff.first(), self.unschedulable.first()];
            match first.into_iter().flatten().min() {
                Some((at, _, uid)) if *at <= now => {
                    let uid = uid.clone();
                    self.activate(&uid, profiles);
                }
                _ => return,
            }
        }
    }

    fn consider(&mut self, uid: &str, profiles: &Profiles, event: &Event<'_>, now: Instant) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let framework = profiles.of(&waiting.pod);
        if waiting.events & event.bit() == 0 || !framework.may_help(&waiting.rejected_by, &waiting.pod, event) {
            return;
        }
        if waiting.ready_at <= now {
            return self.activate(uid, profiles);
        }
        let (from, events, to) = (waiting.place, waiting.events, (waiting.ready_at, waiting.sequence));
        self.leave(from, events, uid);
        self.backoff.insert((to.0, to.1, uid.into()));
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.place = Place::Backoff(to.0, to.1);
        }
    }

    fn activate(&mut self, uid: &str, profiles: &Profiles) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        let key = Reverse(profiles.of(&waiting.pod).queue_key(&waiting.pod));
        let (from, events, sequence) = (waiting.place, waiting.events, waiting.sequence);
        waiting.place = Place::Active(key, sequence);
        self.leave(from, events, uid);
        self.active.insert((key, sequence, uid.into()));
    }

    fn leave(&mut self, place: Place, events: u16, uid: &str) {
        match place {
            Place::Active(key, sequence) => drop(self.active.remove(&(key, sequence, uid.into()))),
            Place::Backoff(at, sequence) => drop(self.backoff.remove(&(at, sequence, uid.into()))),
            Place::Unschedulable(at, sequence) => {
                self.unschedulable.remove(&(at, sequence, uid.into()));
                hope(&mut self.hopes, events, false);
            }
            Place::Gated | Place::InFlight => {}
        }
    }
}

fn backoff((shortest, longest): (Duration, Duration), attempts: u32) -> Duration {
    let doubled = shortest.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(longest)
}

/// Counts kinds of events in or out.
fn hope(hopes: &mut [usize; 16], events: u16, more: bool) {
    for (kind, count) in hopes.iter_mut().enumerate() {
        if events & (1 << kind) != 0 {
            *count = if more { *count + 1 } else { *count - 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(uid: &str, priority: i32, spec: Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"uid": uid, "name": uid, "generation": 1}, "spec": spec});
        pod["spec"]["priority"] = json!(priority);
        Arc::new(serde_json::from_value(pod).expect("a Pod"))
    }

    fn pop(queue: &mut Queue, profiles: &Profiles, now: Instant) -> Option<String> {
        queue.pop(profiles, now).map(|pod| pod.metadata.uid.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priority_goes_first_then_whoever_came_first() {
        let (mut queue, profiles, now) = (Queue::default(), Profiles::default(), Instant::now());
        for (uid, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            queue.set(pod(uid, priority, json!({})), &profiles, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, &profiles, now)).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_pod_waits_for_what_may_help_and_for_its_backoff() {
        let (mut queue, profiles, now) = (Queue::default(), Profiles::default(), Instant::now());
        queue.set(pod("a", 0, json!({})), &profiles, now);
        assert!(pop(&mut queue, &profiles, now).is_some());
        queue.reject("a", vec!["NodeName"], &profiles, now);
        let gone = pod("x", 0, json!({}));
        queue.notify(&profiles, &Event::PodRemoved(&gone), now);
        assert_eq!(
            queue.depth().unschedulable,
            1,
            "a Pod that leaves does not change a node's name"
        );
        let node = crate::scheduler::node::Node::default();
        queue.notify(&profiles, &Event::NodeAdded(&node), now);
        assert_eq!(queue.depth().backoff, 1);
        assert_eq!(queue.next_due(), Some(now + BACKOFF));
        assert_eq!(pop(&mut queue, &profiles, now), None);
        assert_eq!(pop(&mut queue, &profiles, now + BACKOFF).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unschedulable_pod_is_tried_again_in_the_end() {
        let (mut queue, profiles, now) = (Queue::default(), Profiles::default(), Instant::now());
        queue.set(pod("a", 0, json!({})), &profiles, now);
        queue.pop(&profiles, now);
        queue.reject("a", vec!["NodeName"], &profiles, now);
        assert_eq!(queue.next_due(), Some(now + PATIENCE));
        assert_eq!(pop(&mut queue, &profiles, now + PATIENCE).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gated_pod_waits_for_its_gates() {
        let (mut queue, profiles, now) = (Queue::default(), Profiles::default(), Instant::now());
        queue.set(pod("a", 0, json!({"schedulingGates": [{"name": "g"}]})), &profiles, now);
        assert_eq!(pop(&mut queue, &profiles, now), None);
        queue.set(pod("a", 0, json!({})), &profiles, now);
        assert_eq!(pop(&mut queue, &profiles, now).as_deref(), Some("a"));
        queue.remove("a");
        assert_eq!(queue.depth(), Depth::default());
    }
}
