//! How the cluster is: nodes, workloads, and the warnings as they come.

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::console::rows::Row;
use mizzen_api::console::summary::{self, OVERVIEW, Usage, Use};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::view::{self, text};
use serde_json::{Value, json};

use super::live::{self, Change, Gathered, Health, Source};
use super::state::{app, href, t};
use crate::text::Text;

/// Warnings that are kept.
const WARNINGS: usize = 100;

/// The page.
#[component]
pub fn Overview() -> impl IntoView {
    view! {
        <section class="page scroll" aria-labelledby="title">
            <div class="toolbar"><h1 id="title">{t(Text::Overview)}</h1></div>
            <Capacity />
            <div class="tiles">{OVERVIEW.iter().map(|name| view! { <Tile name=*name /> }).collect::<Vec<_>>()}</div>
            <h2>{t(Text::Warnings)}</h2>
            <Warnings />
        </section>
    }
    .into_any()
}

/// Follows all objects of a kind; what is kept of each is made by `keep`.
fn gather<T: Send + Sync + 'static>(name: &str, namespace: &str, keep: fn(&Resource, &Value) -> T) -> Gathered<T> {
    let resource = builtin().resolve(name).cloned();
    let source = resource.clone().map(|resource| Source {
        path: resource.path(namespace, ""),
        ..Source::default()
    });
    live::gather(
        move || source.clone(),
        move |object| keep(resource.as_ref().expect("what is followed is a kind"), &object),
    )
}

/// What of a node or a Pod says how much it has or takes.
fn amounts(_: &Resource, object: &Value) -> Value {
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
fn Capacity() -> impl IntoView {
    let nodes = gather("nodes", "", amounts);
    let pods = gather("pods", "", amounts);
    // Of each node, as it is measured; nothing where that is not served.
    let measured = RwSignal::new(Vec::<Value>::new());
    let path = Memo::new(move |_| live::measures(super::state::app(), "nodes", ""));
    live::poll(path, move |answer| {
        let _ = measured.try_set(view::list(answer, "/items").to_vec());
    });
    let usage = Memo::new(move |_| {
        nodes.with(|nodes| {
            pods.with(|pods| measured.with(|measured| summary::usage(nodes.values(), pods.values(), measured)))
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
    move || {
        known.get().then(|| {
            view! {
                <div class="tiles">
                    {bar("cpu", Text::CpuRequested, |u| u.cpu.percent(u.cpu.requested), |u| format!("{} / {}", u.cpu.requested, u.cpu.capacity), used(|u| &u.cpu).into_any())}
                    {bar("memory", Text::MemoryRequested, |u| u.memory.percent(u.memory.requested), |u| format!("{} / {}", u.memory.requested, u.memory.capacity), used(|u| &u.memory).into_any())}
                    {bar("pods", Text::Pods, |u| 100.0 * u.pods as f64 / u.pods_allowed.max(1) as f64, |u| format!("{} / {}", u.pods, u.pods_allowed), ().into_any())}
                </div>
            }
        })
    }
}

/// How the objects of a kind fare.
#[component]
pub fn Tile(
    name: &'static str,
    /// Only in this namespace.
    #[prop(optional, into)]
    namespace: String,
) -> impl IntoView {
    let all = gather(name, &namespace, |resource, object| {
        Row::new(resource, object, Timestamp::now()).severity()
    });
    let fares = Memo::new(move |_| {
        all.with(|all| {
            let mut fares = summary::Health::default();
            all.values().for_each(|severity| fares.change(None, Some(*severity)));
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
