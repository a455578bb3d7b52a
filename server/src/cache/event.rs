//! One change, and the frames in which watchers get it: made once per form, shared by reference.

use std::sync::Arc;

use bytes::Bytes;
use mizzen_api::resource::Text;
use parking_lot::Mutex;

use super::{Entry, Filter};
use crate::store::Revision;

/// What an event is to a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The object came to be, or into the selection.
    Added,
    /// It changed.
    Modified,
    /// It went away, or out of the selection.
    Deleted,
}

impl EventKind {
    /// `type` of the watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// The form in which an object is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// As it is.
    Object,
    /// As `PartialObjectMetadata`.
    Metadata,
    /// As a `Table` with no object, with its metadata, or with the object in the row.
    Table(Include),
}

/// What a row of a `Table` has in its `object` field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are upstream's and say it all")]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: Revision,
    /// The object after it; `None` when it was deleted.
    pub current: Option<Arc<Entry>>,
    /// The object before it; `None` when it was created.
    pub previous: Option<Arc<Entry>>,
    /// `None` once they are no longer kept.
    frames: Mutex<Option<Vec<(FrameKey, Bytes)>>>,
}

/// Which frame of an event: what it is to the watcher, in which form, in which version of the API.
pub type FrameKey = (EventKind, View, Text);

impl Event {
    pub(super) fn new(revision: Revision, current: Option<Arc<Entry>>, previous: Option<Arc<Entry>>) -> Self {
        Self {
            revision,
            current,
            previous,
            frames: Mutex::new(Some(Vec::new())),
        }
    }

    /// Key of the object.
    pub fn key(&self) -> &Arc<str> {
        &self.subject().key
    }

    /// The object as it is, or as it last was.
    pub fn subject(&self) -> &Arc<Entry> {
        self.current
            .as_ref()
            .or(self.previous.as_ref())
            .expect("an event has a before or an after")
    }

    /// What the event is to a watcher with this filter; `None` when nothing.
    pub fn kind_for(&self, filter: &Filter) -> Option<EventKind> {
        let before = self.previous.as_ref().is_some_and(|entry| filter.matches(entry));
        let after = self.current.as_ref().is_some_and(|entry| filter.matches(entry));
        match (before, after) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }

    /// JSON of the object to send: of a deletion the last state, at the revision of the deletion.
    pub fn json(&self, kind: EventKind) -> Bytes {
        match (kind, &self.current, &self.previous) {
            (EventKind::Deleted, _, Some(previous)) => {
                mizzen_api::object::replace_revision(&previous.json, self.revision)
            }
            _ => self.subject().json.clone(),
        }
    }

    /// The frame for this kind, form and version: made by the first watcher that needs it, as long as frames are kept.
    pub fn frame(&self, key: FrameKey, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let mut frames = self.frames.lock();
        let Some(kept) = &mut *frames else {
            drop(frames);
            return make(self);
        };
        if let Some((_, frame)) = kept.iter().find(|(k, _)| *k == key) {
            return frame.clone();
        }
        let frame = make(self);
        kept.push((key, frame.clone()));
        frame
    }

    /// Keeps no frames from now on: those who watch have had theirs, and they outweigh the object.
    pub(super) fn settle(&self) {
        *self.frames.lock() = None;
    }
}
