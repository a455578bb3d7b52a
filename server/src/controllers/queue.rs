//! The work queue of a controller: each key once, never twice at a time, later after a failure.
//!
//! A key added while it is being worked on is worked on again afterwards. Failures push a key back by
//! a pause that doubles; other keys are not held up. A key rests a multiple of the time that its work took, so that
//! a parent of many children looks at several changes at once when there is much to do, and at each when there is
//! not. Timers exist only for keys that wait for one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mizzen_api::client::reflector::Key;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First pause after a failure, and the longest (upstream's rate limiter).
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1000);
/// How many times as long as its work took a key rests, and how long at most.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_millis(500);
/// So many keys may be remembered as resting before those that had their rest are forgotten.
const RESTING: usize = 256;

/// Handle to a queue; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Key>,
    /// Keys in `ready`, and keys to be put there when their work is done.
    dirty: HashSet<Key>,
    working: HashSet<Key>,
    /// Until when keys rest that were worked on.
    resting: HashMap<Key, Instant>,
    /// Waiting keys by due time; the number tells apart keys due at one instant.
    waiting: BTreeMap<(Instant, u64), Key>,
    due: HashMap<Key, (Instant, u64)>,
    failures: HashMap<Key, u32>,
    sequence: u64,
    added: u64,
}

impl State {
    fn add(&mut self, key: Key, now: Instant) {
        match self.resting.get(&key) {
            Some(until) if *until > now => return self.add_at(key.clone(), *until),
            _ => self.resting.remove(&key),
        };
        if let Some(at) = self.due.remove(&key) {
            self.waiting.remove(&at);
        }
        if !self.dirty.insert(key.clone()) {
            return;
        }
        self.added += 1;
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: Key, at: Instant) {
        if self.dirty.contains(&key) {
            return;
        }
        if let Some(known) = self.due.get(&key) {
            if known.0 <= at {
                return;
            }
            self.waiting.remove(known);
        }
        self.sequence += 1;
        let at = (at, self.sequence);
        self.due.insert(key.clone(), at);
        self.waiting.insert(at, key);
    }

    /// Moves due keys to `ready`; says when the next one is due.
    fn wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some((&at, _)) = self.waiting.first_key_value() {
            if at.0 > now {
                return Some(at.0);
            }
            if let Some(key) = self.waiting.remove(&at) {
                self.due.remove(&key);
                self.add(key, now);
            }
        }
        None
    }

    fn rest(&mut self, key: &Key, took: Duration, now: Instant) {
        if self.resting.len() >= RESTING {
            self.resting.retain(|_, until| *until > now);
        }
        let until = now + took.saturating_mul(REST).min(LONGEST_REST);
        self.resting.insert(key.clone(), until);
        if self.dirty.remove(key) {
            self.add_at(key.clone(), until);
        }
    }
}

impl Queue {
    /// Has a key worked on soon.
    pub fn add(&self, key: Key) {
        self.inner.state.lock().add(key, Instant::now());
        self.inner.changed.notify_one();
    }

    /// Has a key worked on after a pause, unless it is worked on earlier anyway.
    pub fn add_after(&self, key: Key, pause: Duration) {
        self.inner.state.lock().add_at(key, Instant::now() + pause);
        self.inner.changed.notify_one();
    }

    /// The next key; the work lasts until the returned guard is dropped.
    pub async fn next(&self) -> Work {
        loop {
            let due = {
                let mut state = self.inner.state.lock();
                let due = state.wake(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    return Work {
                        queue: self.clone(),
                        key,
                        began: Instant::now(),
                    };
                }
                due
            };
            match due {
                None => self.inner.changed.notified().await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.inner.changed.notified()).await;
                }
            }
        }
    }

    /// Keys waiting to be worked on now, and how many were ever added.
    pub fn depth(&self) -> (usize, u64) {
        let state = self.inner.state.lock();
        (state.ready.len(), state.added)
    }
}

/// A key being worked on.
#[derive(Debug)]
pub struct Work {
    queue: Queue,
    /// The key.
    pub key: Key,
    began: Instant,
}

impl Work {
    /// The work succeeded: earlier failures are forgotten.
    pub fn succeed(self) {
        self.queue.inner.state.lock().failures.remove(&self.key);
    }

    /// The work failed: the key comes back after a pause, which is returned.
    pub fn fail(self) -> Duration {
        let mut state = self.queue.inner.state.lock();
        let failures = state.failures.entry(self.key.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
        *failures += 1;
        state.add_at(self.key.clone(), Instant::now() + pause);
        pause
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.queue.inner.state.lock();
        state.working.remove(&self.key);
        state.rest(&self.key, now - self.began, now);
        drop(state);
        self.queue.inner.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time_and_again_if_added_meanwhile() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        let a = queue.next().await;
        assert_eq!(a.key, key("a"));
        queue.add(key("a"));
        let b = queue.next().await;
        assert_eq!(b.key, key("b"));
        b.succeed();
        assert!(
            tokio::time::timeout(Duration::from_secs(1), queue.next())
                .await
                .is_err()
        );
        a.succeed();
        assert_eq!(queue.next().await.key, key("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_rests_in_proportion_to_its_work() {
        let queue = Queue::default();
        for (took_ms, rest_ms) in [(0, 0), (10, 40), (100, 400), (60_000, 500)] {
            queue.add(key("a"));
            let work = queue.next().await;
            tokio::time::advance(Duration::from_millis(took_ms)).await;
            queue.add(key("a"));
            work.succeed();
            let ended = Instant::now();
            queue.add(key("b"));
            assert_eq!(queue.next().await.key, key("b"), "others need not wait");
            assert_eq!(ended.elapsed(), Duration::ZERO);
            queue.add(key("a"));
            let again = queue.next().await;
            assert_eq!(
                (again.key.clone(), ended.elapsed()),
                (key("a"), Duration::from_millis(rest_ms))
            );
            again.succeed();
            tokio::time::advance(LONGEST_REST).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_pause_longer_and_longer() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            pauses.push(queue.next().await.fail().as_millis());
        }
        assert_eq!(pauses, [5, 10, 20, 40]);
        queue.next().await.succeed();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(queue.next().await.key, key("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
