//! The page of any object: what describe says, YAML to read and to edit, Events, related objects, logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use leptos::prelude::*;
use mizzen_api::console::locator::{Locator, Place};
use mizzen_api::describe::{self, Related};
use mizzen_api::relations::{self, Reference};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::view::{list, text};
use mizzen_api::yaml;
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;

use super::change::{Dialog, Editor};
use super::live::{self, Change, Health, Source, encode};
use super::state::{app, href, t};
use super::table::collection;
use super::transport::{Call, lines_of};
use crate::text::Text;

/// Lines of a log that are kept.
const LOG_LINES: usize = 100_000;
/// Lines of a log in the document.
const LOG_SHOWN: usize = 2_000;

/// The path of an object.
pub fn path_of(resource: &Resource, place: &Place) -> String {
    format!("{}/{}", collection(resource, &place.namespace), encode(&place.name))
}

/// A value as field selectors take it.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The page.
#[component]
pub fn ObjectPage(resource: Arc<Resource>, place: Place) -> impl IntoView {
    let app = app();
    let object = RwSignal::new(None::<Value>);
    let gone = RwSignal::new(false);
    let health = RwSignal::new(Health::Loading);
    let source = Source {
        path: collection(&resource, &place.namespace),
        fields: format!("metadata.name={}", escaped(&place.name)),
    };
    Effect::new(move || {
        if app.epoch.get() == 0 {
            return;
        }
        live::follow(app, source.clone(), health, move |change| match change {
            Change::Put(objects) => {
                if let Some(new) = objects.into_iter().next_back() {
                    let _ = gone.try_set(false);
                    let _ = object.try_set(Some(new));
                }
            }
            Change::Remove(..) => {
                let _ = gone.try_set(true);
            }
        });
    });
    let is_pod = resource.group.is_empty() && resource.plural == "pods";
    let scales = resource.subresource("scale").is_some();
    let restarts =
        resource.group == "apps" && matches!(&*resource.plural, "deployments" | "statefulsets" | "daemonsets");
    let tab = Memo::new(move |_| app.locator.with(|locator| locator.tab.clone()));
    let here = href(&Locator::object(
        &resource.qualified_name(),
        &place.namespace,
        &place.name,
    ));
    let tabs = [
        ("", Text::Describe),
        ("yaml", Text::Yaml),
        ("edit", Text::Edit),
        ("related", Text::Related),
    ];
    let tabs = tabs.into_iter().chain(is_pod.then_some(("logs", Text::Logs)));
    let tabs: Vec<_> = tabs
        .map(|(name, label)| {
            let link = match name {
                "" => here.clone(),
                name => format!("{here}?tab={name}"),
            };
            view! { <a href=link aria-current=move || (tab.get() == name).then_some("page")>{t(label)}</a> }
        })
        .collect();
    let title = match &*place.namespace {
        "" => place.name.clone(),
        namespace => format!("{namespace}/{}", place.name),
    };
    let back = href(&Locator {
        namespaces: app.locator.with_untracked(|locator| locator.namespaces.clone()),
        ..Locator::table(&resource.qualified_name())
    });
    let up = back.clone();
    let keys = window_event_listener(leptos::ev::keydown, move |event| {
        if super::frame::typing(&event) || event.ctrl_key() || event.meta_key() {
            return;
        }
        let to = match &*event.key() {
            "Escape" if app.dialog.with_untracked(Option::is_none) => {
                if let Ok(locator) = up.trim_start_matches("/dashboard/").parse() {
                    app.go(locator);
                }
                return;
            }
            "d" => "",
            "y" => "yaml",
            "e" => "edit",
            "l" if is_pod => "logs",
            _ => return,
        };
        event.prevent_default();
        app.adjust(|locator| to.clone_into(&mut locator.tab));
    });
    on_cleanup(move || keys.remove());
    let (deleted, scaled, restarted) = (resource.clone(), resource.clone(), resource.clone());
    let (delete_place, scale_place, restart_place) = (place.clone(), place.clone(), place.clone());
    let kind = resource.kind.clone().into_owned();
    let stored = StoredValue::new((resource, place));
    view! {
        <section class="page scroll" aria-labelledby="title">
            <div class="toolbar">
                <a href=back>{kind}</a><h1 id="title">{title}</h1>
                {move || match health.get() {
                    Health::Lost(_) => view! { <span class="sev-warning" role="alert">"▲ "{t(Text::Disconnected)}</span> }.into_any(),
                    Health::Live => view! { <span class="sev-ok">"● "{t(Text::Live)}</span> }.into_any(),
                    _ => ().into_any(),
                }}
                <span class="gap"></span>
                {scales.then(|| view! { <button on:click=move |_| {
                    let now = object.with_untracked(|o| o.as_ref().map_or(0, |o| mizzen_api::view::int(o, "/spec/replicas")));
                    app.dialog.set(Some(Dialog::Scale(scaled.clone(), scale_place.clone(), now)));
                }>{t(Text::Scale)}</button> })}
                {restarts.then(|| view! { <button on:click=move |_|
                    app.dialog.set(Some(Dialog::Restart(restarted.clone(), restart_place.clone())))>{t(Text::Restart)}</button> })}
                <button class="danger" on:click=move |_|
                    app.dialog.set(Some(Dialog::Delete(deleted.clone(), vec![delete_place.clone()])))>{t(Text::Delete)}</button>
            </div>
            <nav class="tabs" aria-label=t(Text::Describe)>{tabs}</nav>
            {move || gone.get().then(|| view! { <p class="wrong" role="alert">{t(Text::Gone)}</p> })}
            {move || match (health.get(), object.with(Option::is_some)) {
                (Health::Forbidden(message) | Health::Refused(message), _) =>
                    view! { <div class="empty" role="alert"><h2>{t(Text::Forbidden)}</h2><p>{message}</p></div> }.into_any(),
                (Health::Loading, false) => view! { <div class="empty" role="status">{t(Text::Loading)}</div> }.into_any(),
                (_, false) => view! { <div class="empty" role="alert">{t(Text::Gone)}</div> }.into_any(),
                (_, true) => {
                    let (resource, place) = stored.get_value();
                    match &*tab.get() {
                        "yaml" => view! { <pre class="text" tabindex="0">{move || object.with(|o| o.as_ref().map(yaml::to_string))}</pre> }.into_any(),
                        "edit" => view! { <Editor resource place /> }.into_any(),
                        "related" => view! { <RelatedObjects object place /> }.into_any(),
                        "logs" => view! { <Logs object place /> }.into_any(),
                        _ => view! { <Description resource object /> }.into_any(),
                    }
                }
            }}
        </section>
    }
    .into_any()
}

/// The text of describe, written anew whenever the object changes.
#[component]
fn Description(resource: Arc<Resource>, object: RwSignal<Option<Value>>) -> impl IntoView {
    let related = RwSignal::new(Related::new());
    let wanted = resource.clone();
    Effect::new(move || {
        let Some(current) = object.get() else { return };
        let wanted = wanted.clone();
        spawn_local(async move {
            let mut found: Related = BTreeMap::new();
            for need in describe::needs(&wanted, &current) {
                let Some(kind) = builtin().resolve(need.resource) else {
                    continue;
                };
                let path = collection(kind, if kind.namespaced() { &need.namespace } else { "" });
                let path = format!(
                    "{path}?labelSelector={}&fieldSelector={}",
                    encode(&need.labels),
                    encode(&need.fields)
                );
                if let Ok(items) = live::list_once(&path).await {
                    found.insert(need.resource, items);
                }
            }
            let _ = related.try_set(found);
        });
    });
    let described = move || {
        let now = Timestamp::now().to_zoned(TimeZone::fixed(Offset::UTC));
        object.with(|object| {
            let object = object.as_ref()?;
            Some(related.with(|related| describe::describe(&resource, object, related, &now)))
        })
    };
    view! {
        <Conditions object />
        <pre class="text" tabindex="0">{described}</pre>
    }
    .into_any()
}

#[component]
fn Conditions(object: RwSignal<Option<Value>>) -> impl IntoView {
    move || {
        object.with(|object| {
            let conditions = list(object.as_ref()?, "/status/conditions");
            (!conditions.is_empty()).then(|| {
                conditions
                    .iter()
                    .map(|condition| {
                        let kind = text(condition, "/type").to_owned();
                        let status = text(condition, "/status").to_owned();
                        let why = format!("{} {}", text(condition, "/reason"), text(condition, "/message"));
                        view! { <span class="chip" title=why>{kind}": "{status}</span> }
                    })
                    .collect::<Vec<_>>()
            })
        })
    }
}

#[component]
fn RelatedObjects(object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let link = move |reference: &Reference| {
        let name = match &*reference.group {
            "" => reference.kind.clone(),
            group => format!("{}.{group}", reference.kind),
        };
        let label = format!("{}/{}", reference.kind, reference.name);
        match builtin().resolve(&name) {
            Some(resource) => {
                let namespace = if resource.namespaced() { &*place.namespace } else { "" };
                let to = href(&Locator::object(&resource.qualified_name(), namespace, &reference.name));
                view! { <li><a href=to>{label}</a></li> }.into_any()
            }
            None => view! { <li>{label}</li> }.into_any(),
        }
    };
    let group = move |title: Text, references: Vec<Reference>| {
        let links: Vec<_> = references.iter().map(&link).collect();
        (!links.is_empty()).then(|| view! { <h2>{t(title)}</h2><ul>{links}</ul> })
    };
    move || {
        let (owners, uses, pods) = object.with(|object| {
            let object = object.as_ref();
            let pods = object
                .and_then(relations::pod_selector)
                .map(|selector| selector.to_string());
            (
                object.map(relations::owners).unwrap_or_default(),
                object.map(relations::uses).unwrap_or_default(),
                pods.filter(|selector| !selector.is_empty()),
            )
        });
        let pods = pods.map(|selector| {
            let namespace = object.with(|o| o.as_ref().map(|o| mizzen_api::view::namespace(o).to_owned()));
            let to = href(&Locator {
                namespaces: namespace.into_iter().collect(),
                filter: format!("-l {selector}"),
                ..Locator::table("pods")
            });
            view! { <h2>{t(Text::Pods)}</h2><ul><li><a href=to>{selector}</a></li></ul> }
        });
        view! { {group(Text::Owners, owners)}{group(Text::Uses, uses)}{pods} }.into_any()
    }
}

/// The log of a container, as it is written.
#[component]
fn Logs(object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let app = app();
    let names = Memo::new(move |_| {
        object.with(|object| {
            let all = |path| object.iter().flat_map(move |o| list(o, path));
            let names = all("/spec/containers").chain(all("/spec/initContainers"));
            names
                .map(|container| text(container, "/name").to_owned())
                .collect::<Vec<_>>()
        })
    });
    let container = RwSignal::new(names.with_untracked(|names| names.first().cloned().unwrap_or_default()));
    let lines = RwSignal::new(std::collections::VecDeque::<String>::new());
    let wrong = RwSignal::new(None::<String>);
    let search = RwSignal::new(String::new());
    let pod = format!("/api/v1/namespaces/{}/pods/{}", place.namespace, encode(&place.name));
    Effect::new(move || {
        let (container, epoch) = (container.get(), app.epoch.get());
        if epoch == 0 {
            return;
        }
        lines.set(std::collections::VecDeque::new());
        wrong.set(None);
        let abort = web_sys::AbortController::new().ok();
        let signal = abort.as_ref().map(web_sys::AbortController::signal);
        let abort = StoredValue::new_local(abort);
        on_cleanup(move || {
            abort.with_value(|abort| {
                if let Some(abort) = abort {
                    abort.abort();
                }
            });
        });
        let path = format!(
            "{pod}/log?follow=true&tailLines={LOG_SHOWN}&container={}",
            encode(&container)
        );
        spawn_local(async move {
            let call = Call {
                signal: signal.as_ref(),
                ..Call::get(&path)
            };
            let read = async {
                let response = call.send().await?;
                lines_of(&response, |line| {
                    let _ = lines.try_update(|lines| {
                        lines.push_back(line.to_owned());
                        if lines.len() > LOG_LINES {
                            lines.pop_front();
                        }
                    });
                })
                .await
            };
            if let Err(failure) = read.await
                && failure.code().is_some()
            {
                app.heed(&failure);
                let _ = wrong.try_set(Some(failure.to_string()));
            }
        });
    });
    let shown = move || {
        let wanted = search.get();
        lines.with(|lines| {
            let mut found: Vec<_> = lines
                .iter()
                .rev()
                .filter(|line| line.contains(&wanted))
                .take(LOG_SHOWN)
                .collect();
            found.reverse();
            found
                .iter()
                .flat_map(|line| [plain(line), "\n".to_owned()])
                .collect::<String>()
        })
    };
    view! {
        <div class="toolbar">
            <label>{t(Text::Container)}" "<select on:change=move |event| container.set(event_target_value(&event))>
                {move || names.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect::<Vec<_>>()}
            </select></label>
            <input type="search" aria-label=t(Text::Search) placeholder=t(Text::Search) on:input=move |event| search.set(event_target_value(&event)) />
            <span class="count">{move || lines.with(std::collections::VecDeque::len)}" "{t(Text::Rows)}</span>
        </div>
        <p class="wrong" role="alert">{move || wrong.get()}</p>
        <pre class="text log" tabindex="0">{shown}</pre>
    }
    .into_any()
}

/// A line without what would command a terminal.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
