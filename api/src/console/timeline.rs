//! Events in time: how many there were when, and what happened to which object.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::relations::{self, Reference};
use crate::view::{self, int, text};

/// What an Event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Namespace of the object; empty for what has none.
    pub namespace: Box<str>,
    /// The object.
    pub about: Reference,
    /// Why, in a word.
    pub reason: Box<str>,
    /// What.
    pub message: Box<str>,
    /// When first, in seconds.
    pub from: i64,
    /// When last, in seconds.
    pub at: i64,
    /// How often.
    pub count: i64,
    /// Whether it is a warning.
    pub warning: bool,
}

impl Happening {
    /// Reads an Event of either API group.
    pub fn read(event: &Value) -> Self {
        let time = |paths: &[&str]| {
            let found = paths.iter().find_map(|path| view::time(event, path));
            found.map(Timestamp::as_second)
        };
        let from = time(&[
            "/firstTimestamp",
            "/deprecatedFirstTimestamp",
            "/eventTime",
            "/metadata/creationTimestamp",
        ]);
        let from = from.unwrap_or(0);
        let at = time(&["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp"]);
        let count = [
            int(event, "/series/count"),
            int(event, "/count"),
            int(event, "/deprecatedCount"),
            1,
        ];
        let object = if event.get("regarding").is_some() {
            "/regarding"
        } else {
            "/involvedObject"
        };
        let namespace = text(event, &format!("{object}/namespace"));
        Self {
            namespace: namespace.into(),
            about: relations::about(event).unwrap_or_else(|| Reference {
                group: String::new(),
                kind: String::new(),
                name: String::new(),
            }),
            reason: text(event, "/reason").into(),
            message: view::text_or(event, "/message", text(event, "/note")).into(),
            from,
            at: at.unwrap_or(from).max(from),
            count: count.into_iter().find(|count| *count > 0).unwrap_or(1),
            warning: text(event, "/type") == "Warning",
        }
    }

    /// Whether a text, in small letters, is found in what it says.
    pub fn says(&self, wanted: &str) -> bool {
        let parts = [
            &*self.about.kind,
            &*self.about.name,
            &*self.namespace,
            &*self.reason,
            &*self.message,
        ];
        wanted.is_empty() || parts.iter().any(|part| part.to_lowercase().contains(wanted))
    }
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane<'a> {
    /// Its events, latest first.
    pub events: Vec<&'a Happening>,
    /// Whether any is a warning.
    pub warning: bool,
}

/// Events of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline<'a> {
    /// How many were normal and how many were warnings, part by part of the span.
    pub parts: Vec<(usize, usize)>,
    /// By object: those with warnings first, then the latest.
    pub lanes: Vec<Lane<'a>>,
    /// Objects that have no lane for want of room.
    pub hidden: usize,
}

/// The events that lie between two moments, cut into so many parts, with so many lanes at most.
pub fn timeline<'a>(
    all: impl IntoIterator<Item = &'a Happening>,
    (from, to): (i64, i64),
    parts: usize,
    lanes: usize,
) -> Timeline<'a> {
    let mut timeline = Timeline {
        parts: vec![(0, 0); parts],
        ..Timeline::default()
    };
    let mut objects: BTreeMap<(&str, &Reference), Vec<&Happening>> = BTreeMap::new();
    for event in all.into_iter().filter(|e| e.at >= from && e.from <= to) {
        let mut count = |moment: i64| {
            let part = share(moment, (from, to)) as usize * parts / 1000;
            let slot = &mut timeline.parts[part.min(parts - 1)];
            *(if event.warning { &mut slot.1 } else { &mut slot.0 }) += 1;
        };
        count(event.at);
        if event.from < event.at && event.from >= from {
            count(event.from);
        }
        objects.entry((&event.namespace, &event.about)).or_default().push(event);
    }
    let mut all: Vec<Lane<'_>> = objects
        .into_values()
        .map(|mut events| {
            events.sort_by_key(|event| std::cmp::Reverse(event.at));
            let warning = events.iter().any(|event| event.warning);
            Lane { events, warning }
        })
        .collect();
    all.sort_by_key(|lane| std::cmp::Reverse((lane.warning, lane.events.first().map_or(0, |e| e.at))));
    timeline.hidden = all.len().saturating_sub(lanes);
    all.truncate(lanes);
    timeline.lanes = all;
    timeline
}

/// Where a moment lies in a span, in thousandths of it.
pub fn share(moment: i64, (from, to): (i64, i64)) -> i64 {
    ((moment - from) * 1000 / (to - from).max(1)).clamp(0, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, kind: &str, from: &str, to: &str) -> Happening {
        Happening::read(&json!({"type": kind, "reason": "R", "message": "says", "count": 3,
            "firstTimestamp": format!("1970-01-01T00:{from}:00Z"), "lastTimestamp": format!("1970-01-01T00:{to}:00Z"),
            "involvedObject": {"kind": "Pod", "name": name, "namespace": "d", "apiVersion": "v1"}}))
    }

    #[test]
    fn events_lie_in_lanes_by_object() {
        let all = [
            event("a", "Normal", "01", "09"),
            event("a", "Normal", "05", "05"),
            event("b", "Warning", "02", "02"),
            event("c", "Normal", "00", "00"),
            event("d", "Normal", "08", "08"),
        ];
        let timeline = timeline(&all, (60, 600), 3, 2);
        let lane = |lane: &Lane<'_>| {
            let marks = lane.events.iter().map(|e| format!("{}-{}", e.from, e.at));
            format!("{} {}", lane.events[0].about.name, marks.collect::<Vec<_>>().join(" "))
        };
        let lanes = timeline.lanes.iter().map(lane).collect::<Vec<_>>().join("; ");
        insta::assert_snapshot!(format!("{:?} {lanes} +{}", timeline.parts, timeline.hidden), @"[(1, 1), (1, 0), (2, 0)] b 120-120; a 60-540 300-300 +1");
        assert!(all[0].says("pod") && !all[0].says("nothing"));
    }

    #[test]
    fn both_kinds_of_events_are_read() {
        let event = json!({"type": "Warning", "reason": "Failed", "note": "no", "eventTime": "1970-01-01T00:00:05.5Z",
            "series": {"count": 4, "lastObservedTime": "1970-01-01T00:00:09Z"}, "regarding": {"kind": "Node", "name": "n"}});
        let read = Happening::read(&event);
        assert_eq!((read.from, read.at, read.count, read.warning), (5, 9, 4, true));
        assert_eq!((&*read.message, &*read.about.kind), ("no", "Node"));
    }
}
