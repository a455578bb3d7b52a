//! How the cluster is: nodes, workloads, and the warnings as they come.

use std::collections::BTreeMap;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::console::rows::Row;
use mizzen_api::resource::builtin;
use mizzen_api::table::Severity;
use mizzen_api::view::text;
use serde_json::Value;

use super::live::{self, Change, Health, Source};
use super::state::{app, href, t};
use super::table::collection;
use crate::text::Text;

const KINDS: &[&str] = &[
    "nodes",
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
];
/// Warnings that are kept.
const WARNINGS: usize = 100;

/// The page.
#[component]
pub fn Overview() -> impl IntoView {
    view! {
        <section class="page scroll" aria-labelledby="title">
            <div class="toolbar"><h1 id="title">{t(Text::Overview)}</h1></div>
            <div class="tiles">{KINDS.iter().map(|name| view! { <Tile name=*name /> }).collect::<Vec<_>>()}</div>
            <h2>{t(Text::Warnings)}</h2>
            <Warnings />
        </section>
    }
    .into_any()
}

/// How many objects of a kind are well.
#[component]
fn Tile(name: &'static str) -> impl IntoView {
    let app = app();
    let Some(resource) = builtin().resolve(name).cloned() else {
        return ().into_any();
    };
    let worst = RwSignal::new(BTreeMap::<(String, String), Severity>::new());
    let health = RwSignal::new(Health::Loading);
    let path = collection(&resource, "");
    let watched = resource.clone();
    Effect::new(move || {
        if app.epoch.get() == 0 {
            return;
        }
        let watched = watched.clone();
        let source = Source {
            path: path.clone(),
            fields: String::new(),
        };
        live::follow(app, source, health, move |change| {
            let _ = worst.try_update(|worst| match change {
                Change::Put(objects) => {
                    for object in &objects {
                        let row = Row::new(&watched, object, Timestamp::now());
                        worst.insert((row.namespace.to_string(), row.name.to_string()), row.severity());
                    }
                }
                Change::Remove(namespace, name) => {
                    worst.remove(&(namespace, name));
                }
            });
        });
    });
    let bad = move || worst.with(|all| all.values().filter(|s| **s >= Severity::Warning).count());
    let all = move || worst.with(BTreeMap::len);
    let link = href(&Locator::table(name));
    view! {
        <a class="tile" href=link class:sev-failure=move || { bad() > 0 }>
            <strong>{resource.plural.clone().into_owned()}</strong>
            {move || match health.get() {
                Health::Forbidden(_) => view! { <span>{t(Text::Forbidden)}</span> }.into_any(),
                Health::Loading => view! { <span>{t(Text::Loading)}</span> }.into_any(),
                _ => view! {
                    <span class="number">{all}</span>
                    <span class="bar" aria-hidden="true"><span style:width=move || format!("{}%", 100 * (all() - bad().min(all())) / all().max(1))></span></span>
                    <span>{move || all() - bad().min(all())}" "{t(Text::Healthy)}{move || (bad() > 0).then(|| view! { ", ✖ "{bad}" "{t(Text::Troubled)} })}</span>
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
                Change::Remove(..) => {}
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
