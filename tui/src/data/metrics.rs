//! What was measured, joined to the rows of Pods and nodes.
//!
//! The source of measurements lies beside the source of the rows: same kind and namespace, in the group of
//! the metrics. It is read in turns ([`crate::tasks::metrics`]), and only where the server serves it.

use std::collections::HashMap;
use std::sync::Arc;

use mizzen_api::console::metrics::{self, Measure, Used};
use mizzen_api::resource::{Registry, Resource};

use super::{Row, Source};

/// The source of measurements for the rows of a source, when the server has any.
pub fn beside(source: &Source, registry: &Registry) -> Option<Source> {
    let measured = source.group.is_empty() && matches!(source.plural.as_str(), "pods" | "nodes");
    let served = || registry.by_path(metrics::GROUP, metrics::VERSION, &source.plural);
    (measured && served().is_some()).then(|| Source {
        group: metrics::GROUP.to_owned(),
        version: metrics::VERSION.to_owned(),
        plural: source.plural.clone(),
        namespace: source.namespace.clone(),
        ..Source::default()
    })
}

/// Whether a source is one of measurements.
pub fn is_measured(source: &Source) -> bool {
    source.group == metrics::GROUP
}

/// Whether measurements of a source are about the rows of another.
pub(super) fn concerns(measures: &Source, rows: &Source) -> bool {
    rows.group.is_empty()
        && rows.plural == measures.plural
        && (measures.namespace.is_empty() || measures.namespace == rows.namespace)
}

/// The measurements of one source.
#[derive(Debug, Default)]
pub struct Measures {
    all: HashMap<Box<str>, ByName>,
    round: u32,
}

/// The measurements of a namespace, each with how often all were read when it was.
type ByName = HashMap<Box<str>, (u32, Measure)>;

impl Measures {
    /// What was measured of an object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Measure> {
        self.all.get(namespace)?.get(name).map(|(_, measure)| measure)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Measure> {
        self.all.values().flat_map(HashMap::values).map(|(_, measure)| measure)
    }

    pub(super) fn put(&mut self, measure: Measure) {
        let names = self.all.entry(measure.namespace.clone()).or_default();
        names.insert(measure.name.clone(), (self.round, measure));
    }

    /// A round is complete: what it did not name is not measured any more.
    pub(super) fn end(&mut self) {
        let round = self.round;
        for names in self.all.values_mut() {
            names.retain(|_, (read, _)| *read == round);
        }
        self.all.retain(|_, names| !names.is_empty());
        self.round += 1;
    }
}

/// The row with what was measured of it; `None` when that changes nothing.
pub(super) fn joined(row: &Arc<Row>, resource: &Resource, used: Option<Used>) -> Option<Arc<Row>> {
    if row.used == used {
        return None;
    }
    let mut row = Row::clone(row);
    row.measure(resource, used);
    Some(Arc::new(row))
}
