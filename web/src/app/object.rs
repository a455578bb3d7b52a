//! The page of any object: what describe says, YAML to read and to edit, Events, related objects, logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use leptos::prelude::*;
use mizzen_api::console::action::Deed;
use mizzen_api::console::locator::{Locator, Place};
use mizzen_api::console::tree;
use mizzen_api::describe::{self, Related};
use mizzen_api::relations::{self, Reference};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::view::text;
use mizzen_api::yaml;
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;

use super::act;
use super::change::Editor;
use super::editor::Yaml;
use super::keys::{Key, key};
use super::live::{self, Change, Health, Source, encode};
use super::logs::LogsTab;
use super::panels;
use super::rollout::Rollout;
use super::state::{app, href, link, t};
use super::terminal::TerminalTab;
use super::timeline::ObjectEvents;
use crate::text::Text;

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
        path: resource.path(&place.namespace, ""),
        fields: format!("metadata.name={}", escaped(&place.name)),
        ..Source::default()
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
            Change::Rows(_) => {}
            Change::Remove(..) => {
                let _ = gone.try_set(true);
            }
        });
    });
    let is_pod = resource.group.is_empty() && resource.plural == "pods";
    let rolls = resource.group == "apps" && matches!(&*resource.plural, "deployments" | "statefulsets" | "daemonsets");
    let has_logs = is_pod
        || rolls
        || matches!(
            &*resource.qualified_name(),
            "jobs.batch" | "replicasets.apps" | "services"
        );
    let scales = resource.subresource("scale").is_some();
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
    let tabs = tabs.into_iter().chain(Some(("events", Text::Events)));
    let tabs = tabs.chain(rolls.then_some(("rollout", Text::Rollout)));
    let tabs = tabs.chain(has_logs.then_some(("logs", Text::Logs)));
    let tabs = tabs.chain(is_pod.then_some(("shell", Text::Terminal)));
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
    let scaled = (resource.clone(), place.clone());
    let keys = window_event_listener(leptos::ev::keydown, move |event| {
        if super::frame::busy(app, &event) {
            return;
        }
        let to = match key(&event) {
            Some(Key::Back) => {
                if let Ok(locator) = up.trim_start_matches("/dashboard/").parse() {
                    app.go(locator);
                }
                return;
            }
            Some(Key::Open) => "",
            Some(Key::Yaml) => "yaml",
            Some(Key::Edit) => "edit",
            Some(Key::Logs) if has_logs => "logs",
            Some(Key::Shell) if is_pod => "shell",
            Some(Key::Shell) if scales => {
                let (resource, place) = scaled.clone();
                act::open(app, Deed::Scale, resource, vec![place]);
                return event.prevent_default();
            }
            _ => return,
        };
        event.prevent_default();
        app.adjust(|locator| to.clone_into(&mut locator.tab));
    });
    on_cleanup(move || keys.remove());
    let namespace = place.namespace.clone();
    let only = StoredValue::new(vec![place.clone()]);
    let actions = act::buttons(app, &resource, Signal::stored(namespace), move || only.get_value());
    let kind = resource.kind.clone().into_owned();
    let stored = StoredValue::new((resource, place));
    // A change of the object is not a new page: what is typed, read and run there stays.
    let shows = Memo::new(move |_| match (health.get(), object.with(Option::is_some)) {
        (_, true) => (Health::Live, true),
        (Health::Lost(_), false) => (Health::Live, false),
        (health, false) => (health, false),
    });
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
                {actions}
            </div>
            <nav class="tabs" aria-label=t(Text::Describe)>{tabs}</nav>
            {move || gone.get().then(|| view! { <p class="wrong" role="alert">{t(Text::Gone)}</p> })}
            {move || match shows.get() {
                (Health::Forbidden(message) | Health::Refused(message), false) =>
                    view! { <div class="empty" role="alert"><h2>{t(Text::Forbidden)}</h2><p>{message}</p></div> }.into_any(),
                (Health::Loading, false) => view! { <div class="empty" role="status">{t(Text::Loading)}</div> }.into_any(),
                (_, false) => view! { <div class="empty" role="alert">{t(Text::Gone)}</div> }.into_any(),
                (_, true) => {
                    let (resource, place) = stored.get_value();
                    match &*tab.get() {
                        "yaml" => {
                            let text = Signal::derive(move || object.with(|o| o.as_ref().map(yaml::to_string).unwrap_or_default()));
                            view! { <Yaml text /> }.into_any()
                        }
                        "edit" => view! { <Editor resource place /> }.into_any(),
                        "events" => view! { <ObjectEvents object /> }.into_any(),
                        "related" => view! { <RelatedObjects object place /> }.into_any(),
                        "rollout" if rolls => view! { <Rollout resource object place /> }.into_any(),
                        "logs" if has_logs => view! { <LogsTab object place /> }.into_any(),
                        "shell" if is_pod => view! { <TerminalTab object place /> }.into_any(),
                        _ => view! { <Description resource object place /> }.into_any(),
                    }
                }
            }}
        </section>
    }
    .into_any()
}

/// The text of describe, written anew whenever the object changes.
#[component]
fn Description(resource: Arc<Resource>, object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let related = RwSignal::new(Related::new());
    let wanted = resource.clone();
    let panel = panels::panel(&resource, object, &place);
    Effect::new(move || {
        let Some(current) = object.get() else { return };
        let wanted = wanted.clone();
        spawn_local(async move {
            let mut found: Related = BTreeMap::new();
            for need in describe::needs(&wanted, &current) {
                let Some(kind) = builtin().resolve(need.resource) else {
                    continue;
                };
                let path = kind.path(if kind.namespaced() { &need.namespace } else { "" }, "");
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
        {panel}
        {panels::conditions(object)}
        <h2>{t(Text::Describe)}</h2>
        <pre class="text" tabindex="0">{described}</pre>
    }
    .into_any()
}

/// What an object hangs on, and what hangs on it.
#[component]
fn RelatedObjects(object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let app = app();
    let namespace = place.namespace.clone();
    let one = move |(namespace, reference): (String, Reference)| {
        let label = format!("{}/{}", reference.kind, reference.name);
        match link(app, &reference, &namespace) {
            Some(to) => view! { <li><a href=to>{label}</a></li> }.into_any(),
            None => view! { <li>{label}</li> }.into_any(),
        }
    };
    let group = move |title: Text, references: Vec<(String, Reference)>| {
        let links: Vec<_> = references.into_iter().map(&one).collect();
        (!links.is_empty()).then(|| view! { <h2>{t(title)}</h2><ul>{links}</ul> })
    };
    let users = users(object);
    let pods = panels::pods_of(object, &place);
    let links = move || {
        let here = |references: Vec<Reference>| references.into_iter().map(|of| (namespace.clone(), of)).collect();
        let (owners, uses) = object.with(|object| {
            let object = object.as_ref();
            (
                object.map(relations::owners).unwrap_or_default(),
                object.map(relations::uses).unwrap_or_default(),
            )
        });
        view! { {group(Text::Owners, here(owners))}{group(Text::Uses, here(uses))}{group(Text::UsedBy, users.get())} }
            .into_any()
    };
    view! { {links}{pods} }.into_any()
}

/// Who uses an object by name, as of now: asked for once, of the kinds that may.
fn users(object: RwSignal<Option<Value>>) -> RwSignal<Vec<(String, Reference)>> {
    let found = RwSignal::new(Vec::new());
    let Some(target) = object.get_untracked() else {
        return found;
    };
    spawn_local(async move {
        for kind in tree::users(text(&target, "/kind")) {
            let Some(resource) = builtin().resolve(kind) else {
                continue;
            };
            let namespace = mizzen_api::view::namespace(&target);
            let namespace = if resource.namespaced() { namespace } else { "" };
            // Kinds that may not be listed are left out.
            let Ok(objects) = live::list_once(&resource.path(namespace, "")).await else {
                continue;
            };
            let new = tree::used_by(&target, &objects).into_iter().map(|at| {
                let object = &objects[at];
                (mizzen_api::view::namespace(object).to_owned(), tree::reference(object))
            });
            let _ = found.try_update(|found| found.extend(new));
        }
    });
    found
}
