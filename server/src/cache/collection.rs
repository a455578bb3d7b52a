//! One resource in the cache: its objects, its recent events, and who watches it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Delivery, Watchers};
use super::filter::Filter;
use super::project::Layout;
use super::{Entries, Event};
use crate::store::{self, Change, Revision};

/// Events that are kept however old or large they are.
const WINDOW_MIN_EVENTS: usize = 100;
/// At most this many events are kept.
const WINDOW_MAX_EVENTS: usize = 10_000;
/// Older events go (when newer ones come) unless there are few of them.
const WINDOW_AGE: Duration = Duration::from_secs(300);
/// Bytes of objects that the window may hold beyond the current state.
const WINDOW_MAX_BYTES: usize = 4 << 20;
/// So long, and of so many events at most, frames are kept for further watchers.
const FRAMES_AGE: Duration = Duration::from_secs(1);
const FRAMES_MAX_EVENTS: usize = 1_000;

/// Objects, event window and watchers of one resource.
pub(super) struct Collection {
    pub(super) entries: Entries,
    pub(super) watchers: Watchers,
    pub(super) last_change: Revision,
    window: VecDeque<(Instant, Arc<Event>)>,
    window_bytes: usize,
    /// So many of the window's last events keep their frames.
    fresh: usize,
    /// Every event after this revision is in the window.
    complete_after: Revision,
}

impl Collection {
    /// An empty collection whose events are all known after `revision`.
    pub(super) fn new(revision: Revision) -> Self {
        Self {
            entries: Entries::new(),
            watchers: Watchers::default(),
            last_change: revision,
            window: VecDeque::new(),
            window_bytes: 0,
            fresh: 0,
            complete_after: revision,
        }
    }

    /// Takes in a change: updates the objects and the window, and tells the watchers.
    pub(super) fn apply(&mut self, change: store::Event, layout: &Layout) {
        self.apply_at(change, layout, Instant::now());
    }

    fn apply_at(&mut self, change: store::Event, layout: &Layout, now: Instant) {
        let key = change.record.key.clone();
        let revision = change.record.mod_revision;
        let (current, previous) = match change.change {
            Change::Put => {
                let Some(entry) = layout.entry(&change.record).map(Arc::new) else {
                    return;
                };
                (Some(entry.clone()), self.entries.insert(key, entry))
            }
            Change::Delete => (None, self.entries.remove(&key)),
        };
        if current.is_none() && previous.is_none() {
            return;
        }
        self.last_change = revision;
        let event = Arc::new(Event::new(revision, current, previous));
        self.watchers.dispatch(&event);
        self.remember(event, now);
    }

    fn remember(&mut self, event: Arc<Event>, now: Instant) {
        self.window_bytes += weight(&event);
        self.window.push_back((now, event));
        self.fresh += 1;
        self.settle(now);
        while self.window.len() > WINDOW_MIN_EVENTS && self.overfull(now) {
            let Some((_, oldest)) = self.window.pop_front() else {
                break;
            };
            self.window_bytes -= weight(&oldest);
            self.fresh = self.fresh.min(self.window.len());
            self.complete_after = oldest.revision;
        }
    }

    fn settle(&mut self, now: Instant) {
        let stale = |(at, _): &(Instant, _)| now.duration_since(*at) > FRAMES_AGE;
        while let Some(oldest) = self.window.get(self.window.len() - self.fresh)
            && (self.fresh > FRAMES_MAX_EVENTS || stale(oldest))
        {
            oldest.1.settle();
            self.fresh -= 1;
        }
    }

    fn overfull(&self, now: Instant) -> bool {
        let aged = self
            .window
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > WINDOW_AGE);
        aged || self.window.len() > WINDOW_MAX_EVENTS || self.window_bytes > WINDOW_MAX_BYTES
    }

    /// What a watcher with this filter missed after `since`; the oldest revision it could resume from
    /// when the window does not reach back that far.
    pub(super) fn events_since(&self, since: Revision, filter: &Filter) -> Result<Vec<Delivery>, Revision> {
        if since < self.complete_after {
            return Err(self.complete_after);
        }
        let first = self.window.partition_point(|(_, event)| event.revision <= since);
        let missed = self.window.range(first..);
        Ok(missed
            .filter_map(|(_, event)| {
                let kind = event.kind_for(filter)?;
                Some(Delivery::Event(kind, event.clone()))
            })
            .collect())
    }

    /// The objects as they were at `revision`; `None` when the window does not reach back that far.
    pub(super) fn entries_at(&self, revision: Revision) -> Option<Entries> {
        if revision < self.complete_after {
            return None;
        }
        let mut entries = self.entries.clone();
        for (_, event) in self.window.iter().rev().take_while(|(_, e)| e.revision > revision) {
            match &event.previous {
                Some(previous) => entries.insert(previous.key.clone(), previous.clone()),
                None => entries.remove(event.key()),
            };
        }
        Some(entries)
    }
}

/// What the window pays for an event: the state that nobody else holds any more.
fn weight(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |entry| entry.json.len()) + 256
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mizzen_api::object::encode;
    use mizzen_api::resource::builtin;
    use serde_json::json;

    use super::*;
    use crate::cache::{Event, EventKind, View, object_key};
    use crate::store::Record;

    fn change(revision: Revision) -> store::Event {
        let pods = builtin().by_path("", "v1", "pods").expect("a row");
        let name = revision.to_string();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let record = Record {
            key: object_key(pods, "n", &name).into(),
            value: encode(pod.as_object().expect("an object")),
            create_revision: revision,
            mod_revision: revision,
        };
        store::Event {
            change: Change::Put,
            record,
            previous: None,
        }
    }

    /// Whether a frame that was made is there for the next watcher.
    fn keeps_frames(event: &Event) -> bool {
        let key = || (EventKind::Added, View::Object, "v1".into());
        event.frame(key(), |_| Bytes::from_static(b"first"));
        event.frame(key(), |_| Bytes::from_static(b"second")) == "first"
    }

    #[test]
    fn only_recent_events_keep_frames() {
        let mut layout = Layout::default();
        builtin().iter().for_each(|resource| layout.add(resource));
        let (mut pods, many) = (Collection::new(0), FRAMES_MAX_EVENTS as u64 * 2);
        let began = Instant::now();
        (1..=many).for_each(|revision| pods.apply_at(change(revision), &layout, began));
        let all = pods.events_since(0, &Filter::default()).expect("all are in the window");
        let kept = all.iter().filter(|delivery| match delivery {
            Delivery::Event(_, event) => keeps_frames(event),
            Delivery::Bookmark(_) => unreachable!("only events were missed"),
        });
        assert_eq!((all.len() as u64, kept.count()), (many, FRAMES_MAX_EVENTS));
        // Time alone does it too, when the next event comes.
        pods.apply_at(change(many + 1), &layout, began + FRAMES_AGE * 2);
        assert_eq!(pods.fresh, 1);
    }
}
