//! How the cluster is: nodes, workloads, and the warnings as they come.

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::console::rows::Row;
use mizzen_api::console::summary::{self, OVERVIEW, Usage, Use};
use mizzen_api::resource::builtin;
use mizzen_api::table::Severity;
use mizzen_api::view::{self, text};
use serde_json::{Value, json};

use super::live::{self, Change, Gathered, Health, Source};
use super::state::{app, href, t};
use crate::text::Text;

/// Warnings that are kept.
const WARNINGS: usize = 100;

/// Sums are made anew this long after something changed, with what changed meanwhile.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(300);
/// Between two points of the charts, in seconds; measurements are not made more often.
const POINT: i64 = 15;
/// Points that are kept: an hour.
const POINTS: usize = 240;

/// What is kept of an object: how it fares and, of nodes and Pods, what it has or takes.
type Kept = (Severity, Value);

/// Shares of the nodes' capacity in percent, at a moment in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    at: i64,
    /// CPU, then memory: what is requested, and what is used where that is measured.
    shares: [(f64, Option<f64>); 2],
}

/// The page.
#[component]
pub fn Overview() -> impl IntoView {
    // Every kind is followed once, whoever reads it.
    let all: Vec<_> = OVERVIEW.iter().map(|name| (*name, gather(name, ""))).collect();
    let of = |wanted: &str| all.iter().find(|(name, _)| *name == wanted).map(|(_, all)| *all);
    let capacity = of("nodes")
        .zip(of("pods"))
        .map(|(nodes, pods)| view! { <Capacity nodes pods /> });
    let tiles: Vec<_> = all
        .iter()
        .map(|(name, all)| view! { <Tile name=*name all=*all /> })
        .collect();
    view! {
        <section class="page scroll" aria-labelledby="title">
            <div class="toolbar"><h1 id="title">{t(Text::Overview)}</h1></div>
            {capacity}
            <div class="tiles">{tiles}</div>
            <h2>{t(Text::Warnings)}</h2>
            <Warnings />
        </section>
    }
    .into_any()
}

/// Follows all objects of a kind.
pub fn gather(name: &str, namespace: &str) -> Gathered<Kept> {
    let resource = builtin().resolve(name).cloned();
    let source = resource.clone().map(|resource| Source {
        path: resource.path(namespace, ""),
        ..Source::default()
    });
    let counted = namespace.is_empty() && matches!(name, "nodes" | "pods");
    live::gather(
        move || source.clone(),
        move |object| {
            let severity = resource
                .as_ref()
                .map(|resource| Row::new(resource, &object, Timestamp::now()).severity());
            let amounts = if counted { amounts(&object) } else { Value::Null };
            (severity.unwrap_or_default(), amounts)
        },
    )
}

/// What of a node or a Pod says how much it has or takes.
fn amounts(object: &Value) -> Value {
    let mut small = json!({"status": {"phase": object["status"]["phase"], "allocatable": object["status"]["allocatable"]},
        "spec": {"nodeName": object["spec"]["nodeName"], "overhead": object["spec"]["overhead"]}});
    for field in ["containers", "initContainers"] {
        let one = |c: &Value| json!({"resources": c["resources"], "restartPolicy": c["restartPolicy"]});
        let containers = view::list(object, &format!("/spec/{field}")).iter().map(one);
        small["spec"][field] = containers.collect();
    }
    small
}

/// What the nodes have, and how much of it Pods ask for.
#[component]
fn Capacity(nodes: Gathered<Kept>, pods: Gathered<Kept>) -> impl IntoView {
    // Of each node, as it is measured; nothing where that is not served.
    let measured = RwSignal::new(Vec::<Value>::new());
    let path = Memo::new(move |_| live::measures(super::state::app(), "nodes", ""));
    live::poll(path, move |answer| {
        let _ = measured.try_set(view::list(answer, "/items").to_vec());
    });
    // Sums over all Pods are not made anew with every frame.
    let settled = live::settled(SETTLE, move || {
        nodes.track();
        pods.track();
    });
    let usage = Memo::new(move |_| {
        settled.track();
        let measured = measured.get();
        nodes.with_untracked(|nodes| {
            pods.with_untracked(|pods| {
                let (nodes, pods) = (nodes.values().map(|of| &of.1), pods.values().map(|of| &of.1));
                summary::usage(nodes, pods, &measured)
            })
        })
    });
    let used = move |of: fn(&Usage) -> &Use| {
        let known = move || measured.with(|measured| !measured.is_empty());
        let share = move || usage.with(|usage| of(usage).percent(of(usage).used).round());
        move || known().then(|| view! { <span data-used="">{t(Text::Used)}" "{share}" %"</span> })
    };
    let bar = move |name: &'static str,
                    label: Text,
                    share: fn(&Usage) -> f64,
                    words: fn(&Usage) -> String,
                    more: AnyView| {
        let percent = move || usage.with(share).round();
        view! {
            <div class="tile" data-use=name class:sev-failure=move || { percent() > 90.0 }>
                <strong>{t(label)}</strong>
                <span class="number">{percent}" %"</span>
                <span class="bar" aria-hidden="true"><span style:width=move || format!("{}%", percent().min(100.0))></span></span>
                <span>{move || usage.with(words)}</span>
                {more}
            </div>
        }
        .into_any()
    };
    let known = Memo::new(move |_| nodes.health.get() == Health::Live && nodes.with(|nodes| !nodes.is_empty()));
    remember(known, usage, measured);
    move || {
        known.get().then(|| {
            view! {
                <div class="tiles">
                    {bar("cpu", Text::CpuRequested, |u| u.cpu.percent(u.cpu.requested), |u| format!("{} / {}", u.cpu.requested, u.cpu.capacity), used(|u| &u.cpu).into_any())}
                    {bar("memory", Text::MemoryRequested, |u| u.memory.percent(u.memory.requested), |u| format!("{} / {}", u.memory.requested, u.memory.capacity), used(|u| &u.memory).into_any())}
                    {bar("pods", Text::Pods, |u| 100.0 * u.pods as f64 / u.pods_allowed.max(1) as f64, |u| format!("{} / {}", u.pods, u.pods_allowed), ().into_any())}
                </div>
                <div class="charts">{chart("cpu", 0)}{chart("memory", 1)}</div>
            }
        })
    }
}

/// Keeps what the page shows, for its charts.
fn remember(known: Memo<bool>, usage: Memo<Usage>, measured: RwSignal<Vec<Value>>) {
    let app = app();
    Effect::new(move || {
        let at = app.now.get();
        let due = app
            .points
            .with_untracked(|points| points.back().is_none_or(|last| last.at + POINT <= at));
        if !due || !known.get() {
            return;
        }
        let is_measured = measured.with_untracked(|measured| !measured.is_empty());
        let share = |of: &Use| (of.percent(of.requested), is_measured.then(|| of.percent(of.used)));
        let shares = usage.with_untracked(|usage| [share(&usage.cpu), share(&usage.memory)]);
        app.points.update(|points| {
            points.push_back(Point { at, shares });
            if points.len() > POINTS {
                points.pop_front();
            }
        });
    });
}

/// What is used and requested of the nodes, as it went on.
fn chart(name: &'static str, of: usize) -> AnyView {
    let app = app();
    let labels = [
        (Text::CpuUsed, Text::CpuRequested),
        (Text::MemoryUsed, Text::MemoryRequested),
    ][of];
    let path = move |value: fn(&(f64, Option<f64>)) -> Option<f64>| {
        move || {
            app.points.with(|points| {
                let (Some(first), Some(last)) = (points.front(), points.back()) else {
                    return String::new();
                };
                // At first a line grows from the left; a page that was left for a while has a gap.
                let span = (last.at - first.at).max(20 * POINT) as f64;
                let (mut path, mut before) = (String::new(), i64::MIN);
                for point in points {
                    let Some(share) = value(&point.shares[of]) else {
                        continue;
                    };
                    let joined = point.at.saturating_sub(before) <= 4 * POINT;
                    let (x, y) = (300.0 * (point.at - first.at) as f64 / span, 100.0 - share.min(100.0));
                    path.push_str(&format!("{}{x:.1} {y:.1}", if joined { 'L' } else { 'M' }));
                    before = point.at;
                }
                path
            })
        }
    };
    let words = move || {
        let (used, requested) = (t(labels.0)(), t(labels.1)());
        let last = app.points.with(|points| points.back().map(|point| point.shares[of]));
        let share = |share: f64| format!("{share:.0} %");
        match last {
            Some((asked, Some(now))) => format!("{used} {} · {requested} {}", share(now), share(asked)),
            Some((asked, None)) => format!("{requested} {}", share(asked)),
            None => requested.to_owned(),
        }
    };
    view! {
        <figure class="chart" data-chart=name>
            <svg viewBox="0 0 300 100" preserveAspectRatio="none" aria-hidden="true">
                <path class="limit" d="M0 0H300M0 50H300" />
                <path class="requested" d=path(|(requested, _)| Some(*requested)) />
                <path class="used" d=path(|(_, used)| *used) />
            </svg>
            <figcaption>{words}" ("{t(Text::OverTime)}")"</figcaption>
        </figure>
    }
    .into_any()
}

/// How the objects of a kind fare.
#[component]
pub fn Tile(
    name: &'static str,
    /// The objects.
    all: Gathered<Kept>,
    /// Only in this namespace.
    #[prop(optional, into)]
    namespace: String,
) -> impl IntoView {
    let fares = Memo::new(move |_| {
        all.with(|all| {
            let mut fares = summary::Health::default();
            all.values()
                .for_each(|(severity, _)| fares.change(None, Some(*severity)));
            fares
        })
    });
    let link = href(&Locator {
        namespaces: Some(namespace).filter(|name| !name.is_empty()).into_iter().collect(),
        ..Locator::table(name)
    });
    let short = name.split('.').next().unwrap_or(name);
    let bad = move || fares.with(|f| f.warning + f.failed);
    let parts = move || {
        let f = fares.get();
        let part = |count: usize, sign: &'static str, label: Text| {
            (count > 0).then(|| view! { <span>{format!("{sign} {count} ")}{t(label)}" "</span> })
        };
        view! {
            {part(f.ok, "✔", Text::Healthy)}{part(f.progressing, "◌", Text::Underway)}
            {part(f.warning, "▲", Text::Suspicious)}{part(f.failed, "✖", Text::Troubled)}
        }
    };
    view! {
        <a class="tile" href=link class:sev-failure=move || { bad() > 0 }>
            <strong>{short}</strong>
            {move || match all.health.get() {
                Health::Forbidden(_) => view! { <span>{t(Text::Forbidden)}</span> }.into_any(),
                Health::Loading => view! { <span>{t(Text::Loading)}</span> }.into_any(),
                _ => view! {
                    <span class="number">{move || fares.with(summary::Health::total)}</span>
                    <span class="bar" aria-hidden="true"><span style:width=move || format!("{}%", 100 * fares.with(|f| f.ok) / fares.with(summary::Health::total).max(1))></span></span>
                    <span>{parts}</span>
                }.into_any(),
            }}
        </a>
    }
    .into_any()
}

#[component]
fn Warnings() -> impl IntoView {
    let app = app();
    let events = RwSignal::new(Vec::<(String, Value)>::new());
    let health = RwSignal::new(Health::Loading);
    Effect::new(move || {
        if app.epoch.get() == 0 {
            return;
        }
        let source = Source {
            path: "/api/v1/events".to_owned(),
            fields: "type=Warning".to_owned(),
            ..Source::default()
        };
        live::follow(app, source, health, move |change| {
            let _ = events.try_update(|events| match change {
                Change::Put(objects) => {
                    for object in objects {
                        let uid = text(&object, "/metadata/uid").to_owned();
                        events.retain(|(other, _)| *other != uid);
                        events.insert(0, (uid, object));
                    }
                    events.truncate(WARNINGS);
                }
                Change::Rows(_) | Change::Remove(..) => {}
            });
        });
    });
    view! {
        {move || (events.with(Vec::is_empty) && health.get() == Health::Live).then(|| view! { <p>{t(Text::NothingWrong)}</p> })}
        <ul class="events">
            <For each=move || events.get() key=|(uid, event)| (uid.clone(), text(event, "/metadata/resourceVersion").to_owned()) children=move |(_, event)| {
                let about = &event["involvedObject"];
                let label = format!("{}/{}", text(about, "/kind"), text(about, "/name"));
                let kind = builtin().resolve(text(about, "/kind")).map(|r| r.qualified_name().into_owned()).unwrap_or_default();
                let link = href(&Locator::object(&kind, text(about, "/namespace"), text(about, "/name")));
                let (reason, message) = (text(&event, "/reason").to_owned(), text(&event, "/message").to_owned());
                view! { <li><span class="sev-warning">"▲ "{reason}</span>" "<a href=link>{label}</a>" "{message}</li> }
            } />
        </ul>
    }
    .into_any()
}
