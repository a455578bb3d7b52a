//! What `/metrics` says, under upstream's names where the meaning is the same.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::request::RequestInfo;
use crate::cache::Cache;

/// Upper bounds of the duration histogram in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    verb: Box<str>,
    group: Box<str>,
    version: Box<str>,
    resource: Box<str>,
    subresource: Box<str>,
    scope: &'static str,
}

#[derive(Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: HashMap<(Labels, u16), u64>,
    durations: HashMap<Labels, Durations>,
}

/// Counters of the API server.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    reading: Arc<AtomicI64>,
    changing: Arc<AtomicI64>,
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request that is being worked on.
    pub(super) fn in_flight(&self, reading: bool) -> InFlight {
        let counter = if reading { &self.reading } else { &self.changing };
        counter.fetch_add(1, Ordering::Relaxed);
        InFlight(counter.clone())
    }

    /// Counts an answered request.
    pub(super) fn record(&self, info: &RequestInfo, code: u16, elapsed: Duration) {
        let attributes = &info.attributes;
        // Paths that lead nowhere must not fill the memory with names that clients make up.
        let known = info.is_resource && code != 404 && code != 403 && code != 401;
        let text = |text: &str| -> Box<str> { if known { text.into() } else { "".into() } };
        let labels = Labels {
            verb: attributes.verb.to_uppercase().into(),
            group: text(&attributes.group),
            version: text(&attributes.version),
            resource: text(&attributes.resource),
            subresource: text(&attributes.subresource),
            scope: match (known, &*attributes.name, &*attributes.namespace) {
                (false, ..) => "",
                (_, "", "") => "cluster",
                (_, "", _) => "namespace",
                _ => "resource",
            },
        };
        let seconds = elapsed.as_secs_f64();
        let mut counts = self.counts.lock();
        *counts.requests.entry((labels.clone(), code)).or_default() += 1;
        if info.is_long_running() {
            return;
        }
        let durations = counts.durations.entry(labels).or_default();
        durations.count += 1;
        durations.sum += seconds;
        for (bucket, bound) in durations.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// The text for a scraper.
    pub(super) fn render(&self, cache: &Cache) -> String {
        let mut out = String::with_capacity(16 * 1024);
        self.render_requests(&mut out).expect("a String takes it");
        self.render_state(cache, &mut out).expect("a String takes it");
        out
    }

    fn render_requests(&self, out: &mut String) -> std::fmt::Result {
        let counts = self.counts.lock();
        head(
            out,
            "apiserver_request_total",
            "counter",
            "Requests by verb, resource and code.",
        )?;
        for ((labels, code), count) in &counts.requests {
            writeln!(
                out,
                "apiserver_request_total{{{},code=\"{code}\"}} {count}",
                show(labels)
            )?;
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "Time to answer, without watches and other streams.",
        )?;
        for (labels, durations) in &counts.durations {
            let labels = show(labels);
            for (bound, count) in BUCKETS.iter().zip(durations.buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", durations.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", durations.sum)?;
            writeln!(out, "{name}_count{{{labels}}} {}", durations.count)?;
        }
        let name = "apiserver_current_inflight_requests";
        head(out, name, "gauge", "Requests being worked on.")?;
        writeln!(
            out,
            "{name}{{request_kind=\"readOnly\"}} {}",
            self.reading.load(Ordering::Relaxed)
        )?;
        writeln!(
            out,
            "{name}{{request_kind=\"mutating\"}} {}",
            self.changing.load(Ordering::Relaxed)
        )
    }

    fn render_state(&self, cache: &Cache, out: &mut String) -> std::fmt::Result {
        head(out, "apiserver_storage_objects", "gauge", "Objects by resource.")?;
        for (prefix, count) in cache.sizes() {
            let resource = prefix.trim_start_matches(crate::cache::ROOT).trim_end_matches('/');
            writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}")?;
        }
        head(
            out,
            "apiserver_watch_cache_resource_version",
            "gauge",
            "Revision of the watch cache.",
        )?;
        writeln!(out, "apiserver_watch_cache_resource_version {}", cache.revision())?;
        render_process(out)
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn show(labels: &Labels) -> String {
    let Labels {
        verb,
        group,
        version,
        resource,
        subresource,
        scope,
    } = labels;
    format!(
        "verb=\"{verb}\",group=\"{group}\",version=\"{version}\",resource=\"{resource}\",subresource=\"{subresource}\",\
         scope=\"{scope}\""
    )
}

/// What every process tells about itself.
fn render_process(out: &mut String) -> std::fmt::Result {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything: count from after it.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .map(|field| field.parse().unwrap_or_default())
                .collect()
        })
        .unwrap_or_default();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    const TICKS: f64 = 100.0;
    const PAGE: u64 = 4096;
    let cpu = (field(11) + field(12)) as f64 / TICKS;
    let files = std::fs::read_dir("/proc/self/fd")
        .map(Iterator::count)
        .unwrap_or_default();
    head(out, "process_cpu_seconds_total", "counter", "User and system time.")?;
    writeln!(out, "process_cpu_seconds_total {cpu}")?;
    head(out, "process_resident_memory_bytes", "gauge", "Resident memory.")?;
    writeln!(out, "process_resident_memory_bytes {}", field(21) * PAGE)?;
    head(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.")?;
    writeln!(out, "process_virtual_memory_bytes {}", field(20))?;
    head(out, "process_open_fds", "gauge", "Open files.")?;
    writeln!(out, "process_open_fds {files}")
}
