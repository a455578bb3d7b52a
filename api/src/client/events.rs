//! The Event recorder: what components tell people about objects.
//!
//! A [`Recorder`] is a cheap handle; [`channel`] gives the first one and the [`Writer`] that does the
//! I/O. Facts are queued and written one after the other by the single task that runs [`Writer::run`];
//! when the queue is full a fact is dropped, because no component may wait for its Events.
//!
//! Two styles, as upstream's components use them: [`Recorder::event`] writes core/v1 Events (kubelet,
//! controllers), where repeats raise `count`, more than ten similar messages collapse into one and a
//! source that floods an object is cut off; [`Recorder::note`] writes events.k8s.io/v1 Events
//! (scheduler), where repeats become a `series`. Both are decided by the pure [`Correlator`].

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::rest::{self, Gvr, Rest};

/// How many facts wait for the writer before further ones are dropped (upstream's queue length).
const QUEUE: usize = 1000;
/// How many different things are remembered to recognise repeats (upstream's cache size).
const REMEMBERED: usize = 4096;
/// Different messages of one kind about one object before they are combined.
const SIMILAR_LIMIT: usize = 10;
/// Age after which similar messages no longer count.
const SIMILAR_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Facts that one source may say about one object at once, and how often it earns another.
const BURST: f64 = 25.0;
const SECONDS_PER_TOKEN: f64 = 300.0;
/// A series that was quiet this long has ended; its last count is written then.
const SERIES_QUIET: SignedDuration = SignedDuration::from_mins(6);
/// A series that goes on is written again this often.
const SERIES_REFRESH: SignedDuration = SignedDuration::from_mins(30);

/// Whether a fact is routine or a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `type: Normal`.
    Normal,
    /// `type: Warning`.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Who reports: the component and, for node components, its host.
#[derive(Debug, PartialEq, Eq)]
struct Reporter {
    component: Box<str>,
    host: Box<str>,
}

/// Something worth telling, on its way to the writer.
#[derive(Clone, Debug)]
pub struct Fact {
    reporter: Arc<Reporter>,
    regarding: ObjectReference,
    related: Option<ObjectReference>,
    severity: Severity,
    reason: Box<str>,
    /// Set for events.k8s.io style only.
    action: Option<&'static str>,
    message: String,
}

/// A component's handle to record Events with.
#[derive(Clone, Debug)]
pub struct Recorder {
    reporter: Arc<Reporter>,
    facts: mpsc::Sender<Fact>,
}

impl Recorder {
    /// The same queue under another component name.
    pub fn named(&self, component: &str, host: &str) -> Self {
        Self {
            reporter: Arc::new(Reporter {
                component: component.into(),
                host: host.into(),
            }),
            facts: self.facts.clone(),
        }
    }

    /// Records a core/v1 Event.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        severity: Severity,
        reason: impl Into<Box<str>>,
        message: impl Into<String>,
    ) {
        self.send(Fact {
            reporter: self.reporter.clone(),
            regarding: regarding.clone(),
            related: None,
            severity,
            reason: reason.into(),
            action: None,
            message: message.into(),
        });
    }

    /// Records an events.k8s.io/v1 Event.
    pub fn note(
        &self,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
        severity: Severity,
        (reason, action): (&str, &'static str),
        note: impl Into<String>,
    ) {
        self.send(Fact {
            reporter: self.reporter.clone(),
            regarding: regarding.clone(),
            related: related.cloned(),
            severity,
            reason: reason.into(),
            action: Some(action),
            message: note.into(),
        });
    }

    fn send(&self, fact: Fact) {
        if let Err(error) = self.facts.try_send(fact) {
            tracing::debug!(%error, "an Event was dropped");
        }
    }
}

/// A recorder for `component` on `host` (empty for components without one), and the writer to run.
pub fn channel(client: Client, component: &'static str, host: &str) -> (Recorder, Writer) {
    let (facts, queue) = mpsc::channel(QUEUE);
    let recorder = Recorder {
        reporter: Arc::new(Reporter {
            component: component.into(),
            host: host.into(),
        }),
        facts,
    };
    let writer = Writer {
        rest: Rest::new(client, component),
        queue,
        correlator: Correlator::default(),
    };
    (recorder, writer)
}

/// Writes recorded facts; ends when all recorders are gone.
#[derive(Debug)]
pub struct Writer {
    rest: Rest,
    queue: mpsc::Receiver<Fact>,
    correlator: Correlator,
}

impl Writer {
    /// Writes until every [`Recorder`] is dropped. Cancel by dropping the future.
    pub async fn run(mut self) {
        loop {
            // Whoever has facts waiting does not look through all series for one that is due.
            let Some(fact) = (match self.queue.try_recv() {
                Ok(fact) => Some(fact),
                Err(_) => self.next().await,
            }) else {
                return;
            };
            if let Some(write) = self.correlator.observe(fact, Timestamp::now()) {
                self.write(write).await;
            }
        }
    }

    /// Waits for a fact, and meanwhile finishes series that went quiet; `None` when all recorders are gone.
    async fn next(&mut self) -> Option<Fact> {
        loop {
            let Some(due) = self.correlator.next_due() else {
                return self.queue.recv().await;
            };
            let wait = due.duration_since(Timestamp::now()).try_into().unwrap_or_default();
            if let Ok(fact) = tokio::time::timeout(wait, self.queue.recv()).await {
                return fact;
            }
            for write in self.correlator.finish_series(Timestamp::now()) {
                self.write(write).await;
            }
        }
    }

    /// Patches a known Event, creates it when it is new or expired meanwhile.
    async fn write(&self, write: Write) {
        let at = if write.series { EVENTS } else { CORE_EVENTS };
        let target = (write.namespace.as_str(), write.name.as_str());
        if let Some(patch) = &write.patch {
            let params = PatchParams::default();
            match self
                .rest
                .patch::<serde::de::IgnoredAny>(&at, target, "", &params, &Patch::Merge(patch))
                .await
            {
                Err(error) if rest::is_not_found(&error) => {}
                Err(error) => return report(&error),
                Ok(_) => return,
            }
        }
        if let Err(error) = self
            .rest
            .create::<serde::de::IgnoredAny>(&at, &write.namespace, &write.object)
            .await
        {
            report(&error);
        }
    }
}

const CORE_EVENTS: Gvr<'static> = Gvr::new("", "v1", "events");
const EVENTS: Gvr<'static> = Gvr::new("events.k8s.io", "v1", "events");

fn report(error: &kube::Error) {
    // A namespace that is going away refuses Events; nobody would read them.
    if !rest::is_namespace_terminating(error) {
        tracing::warn!(error = %rest::message(error), "an Event could not be written");
    }
}

/// One write that the correlator decided on.
#[derive(Debug)]
pub struct Write {
    series: bool,
    namespace: String,
    name: String,
    object: Value,
    patch: Option<Value>,
}

/// Recognises repeats. Pure: time comes in, writes come out.
#[derive(Debug, Default)]
pub struct Correlator {
    seen: HashMap<String, Seen>,
    similar: HashMap<String, Similar>,
    budgets: HashMap<String, (f64, Timestamp)>,
    series: HashMap<String, Series>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    first: Timestamp,
    count: i64,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Series {
    object: Value,
    namespace: String,
    name: String,
    count: i64,
    last: Timestamp,
    written: Timestamp,
}

impl Correlator {
    /// What to write for a fact, if anything.
    pub fn observe(&mut self, fact: Fact, now: Timestamp) -> Option<Write> {
        match fact.action {
            Some(action) => self.observe_series(&fact, action, now),
            None => self.observe_core(fact, now),
        }
    }

    fn observe_core(&mut self, mut fact: Fact, now: Timestamp) -> Option<Write> {
        let about = format!(
            "{}\0{}\0{}",
            fact.reporter.component,
            fact.reporter.host,
            identity(&fact.regarding)
        );
        let group = format!("{about}\0{}\0{}", fact.severity.as_str(), fact.reason);
        let key = if self.is_one_of_many(&group, &fact.message, now) {
            fact.message = format!("(combined from similar events): {}", fact.message);
            group
        } else {
            format!("{group}\0{}", fact.message)
        };
        if !self.has_budget(&about, now) {
            return None;
        }
        trim(&mut self.seen);
        let seen = self.seen.entry(key).or_insert_with(|| Seen {
            name: event_name(&fact.regarding, now),
            first: now,
            count: 0,
        });
        seen.count += 1;
        let object = core_object(&fact, seen, now);
        Some(Write {
            series: false,
            namespace: event_namespace(&fact.regarding),
            name: seen.name.clone(),
            patch: (seen.count > 1)
                .then(|| json!({"count": seen.count, "lastTimestamp": seconds(now), "message": fact.message})),
            object,
        })
    }

    /// Whether more different messages of this group came lately than are written one by one.
    fn is_one_of_many(&mut self, group: &str, message: &str, now: Timestamp) -> bool {
        trim(&mut self.similar);
        let similar = self.similar.entry(group.to_owned()).or_insert_with(|| Similar {
            messages: HashSet::new(),
            last: now,
        });
        if now.duration_since(similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < SIMILAR_LIMIT {
            similar.messages.insert(message.to_owned());
            return false;
        }
        !similar.messages.contains(message)
    }

    fn has_budget(&mut self, about: &str, now: Timestamp) -> bool {
        trim(&mut self.budgets);
        let (tokens, at) = self.budgets.entry(about.to_owned()).or_insert((BURST, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() / SECONDS_PER_TOKEN).min(BURST);
        *at = now;
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }

    fn observe_series(&mut self, fact: &Fact, action: &str, now: Timestamp) -> Option<Write> {
        let key = format!(
            "{}\0{}\0{}\0{action}\0{}\0{}",
            fact.reporter.component,
            fact.severity.as_str(),
            fact.reason,
            identity(&fact.regarding),
            fact.related.as_ref().map(identity).unwrap_or_default(),
        );
        if let Some(series) = self.series.get_mut(&key) {
            series.count += 1;
            series.last = now;
            // Only the second sighting is written at once: it turns the Event into a series.
            return (series.count == 2).then(|| series.write(now));
        }
        let series = Series {
            object: series_object(fact, action, now),
            namespace: event_namespace(&fact.regarding),
            name: event_name(&fact.regarding, now),
            count: 1,
            last: now,
            written: now,
        };
        let write = Write {
            series: true,
            namespace: series.namespace.clone(),
            name: series.name.clone(),
            object: with_name(&series.object, &series.namespace, &series.name),
            patch: None,
        };
        if self.series.len() < REMEMBERED {
            self.series.insert(key, series);
        }
        Some(write)
    }

    /// When [`Correlator::finish_series`] has something to do.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.series.values().map(Series::due).min()
    }

    /// Forgets series that went quiet, and brings the counts of all due ones up to date.
    pub fn finish_series(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        self.series.retain(|_, series| {
            if series.due() > now {
                return true;
            }
            if series.count > 2 {
                writes.push(series.write(now));
            }
            series.written = now;
            now.duration_since(series.last) < SERIES_QUIET
        });
        writes
    }
}

impl Series {
    fn due(&self) -> Timestamp {
        (self.last + SERIES_QUIET).min(self.written + SERIES_REFRESH)
    }

    fn write(&mut self, now: Timestamp) -> Write {
        self.written = now;
        let series = json!({"count": self.count, "lastObservedTime": micros(self.last)});
        let mut object = with_name(&self.object, &self.namespace, &self.name);
        object["series"] = series.clone();
        Write {
            series: true,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            object,
            patch: Some(json!({"series": series})),
        }
    }
}

/// Keeps a memory of repeats bounded: losing one only means that a repeat becomes a new Event.
fn trim<T>(map: &mut HashMap<String, T>) {
    if map.len() >= REMEMBERED {
        map.clear();
    }
}

fn identity(reference: &ObjectReference) -> String {
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        part(&reference.kind),
        part(&reference.namespace),
        part(&reference.name),
        part(&reference.uid),
        part(&reference.api_version),
        part(&reference.field_path),
    ]
    .join("\0")
}

fn event_namespace(reference: &ObjectReference) -> String {
    match reference.namespace.as_deref() {
        None | Some("") => "default".to_owned(),
        Some(namespace) => namespace.to_owned(),
    }
}

fn event_name(reference: &ObjectReference, now: Timestamp) -> String {
    format!(
        "{}.{:x}",
        reference.name.as_deref().unwrap_or_default(),
        now.as_nanosecond()
    )
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn with_name(object: &Value, namespace: &str, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"] = json!({"name": name, "namespace": namespace});
    object
}

fn core_object(fact: &Fact, seen: &Seen, now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": seen.name, "namespace": event_namespace(&fact.regarding)},
        "involvedObject": fact.regarding,
        "reason": fact.reason,
        "message": fact.message,
        "source": source(&fact.reporter),
        "firstTimestamp": seconds(seen.first),
        "lastTimestamp": seconds(now),
        "count": seen.count,
        "type": fact.severity.as_str(),
        "reportingComponent": fact.reporter.component,
        "reportingInstance": fact.reporter.host,
    })
}

fn source(reporter: &Reporter) -> Value {
    match &*reporter.host {
        "" => json!({"component": reporter.component}),
        host => json!({"component": reporter.component, "host": host}),
    }
}

fn series_object(fact: &Fact, action: &str, now: Timestamp) -> Value {
    let mut object = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "eventTime": micros(now),
        "reportingController": fact.reporter.component,
        "reportingInstance": format!("{}-{}", fact.reporter.component, fact.reporter.host),
        "action": action,
        "reason": fact.reason,
        "regarding": fact.regarding,
        "note": fact.message,
        "type": fact.severity.as_str(),
    });
    if let Some(related) = &fact.related {
        object["related"] = json!(related);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(action: Option<&'static str>, message: &str) -> Fact {
        Fact {
            reporter: Arc::new(Reporter {
                component: "kubelet".into(),
                host: "n1".into(),
            }),
            regarding: ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some("default".into()),
                name: Some("web".into()),
                ..Default::default()
            },
            related: None,
            severity: Severity::Warning,
            reason: "BackOff".into(),
            action,
            message: message.into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    #[test]
    fn a_repeat_raises_the_count_of_the_first() {
        let mut correlator = Correlator::default();
        let first = correlator.observe(fact(None, "a"), at(0)).expect("written");
        let second = correlator.observe(fact(None, "a"), at(5)).expect("written");
        assert!(first.patch.is_none());
        assert_eq!(first.name, second.name);
        assert_eq!(
            second.patch,
            Some(json!({"count": 2, "lastTimestamp": "2027-01-15T08:00:05Z", "message": "a"}))
        );
    }

    #[test]
    fn the_eleventh_similar_message_is_combined() {
        let mut correlator = Correlator::default();
        for n in 0..10 {
            let write = correlator.observe(fact(None, &n.to_string()), at(n)).expect("written");
            assert_eq!(write.object["message"], n.to_string());
        }
        let write = correlator.observe(fact(None, "eleventh"), at(11)).expect("written");
        assert_eq!(write.object["message"], "(combined from similar events): eleventh");
    }

    #[test]
    fn a_flood_is_cut_off_and_slowly_allowed_again() {
        let mut correlator = Correlator::default();
        let written = (0..100)
            .filter_map(|_| correlator.observe(fact(None, "a"), at(0)))
            .count();
        assert_eq!(written, 25);
        assert!(correlator.observe(fact(None, "a"), at(299)).is_none());
        assert!(correlator.observe(fact(None, "a"), at(301)).is_some());
    }

    #[test]
    fn repeats_become_a_series_that_ends_when_quiet() {
        let mut correlator = Correlator::default();
        assert!(correlator.observe(fact(Some("Scheduling"), "a"), at(0)).is_some());
        let second = correlator
            .observe(fact(Some("Scheduling"), "b"), at(1))
            .expect("written");
        assert_eq!(
            second.patch,
            Some(json!({"series": {"count": 2, "lastObservedTime": "2027-01-15T08:00:01.000000Z"}}))
        );
        assert!(correlator.observe(fact(Some("Scheduling"), "a"), at(2)).is_none());
        assert_eq!(correlator.next_due(), Some(at(2 + 360)));
        assert!(correlator.finish_series(at(100)).is_empty());
        let last = correlator.finish_series(at(362));
        assert_eq!(last.len(), 1);
        assert_eq!(correlator.next_due(), None);
    }
}
