//! What stands around every page: header, list of kinds, dialogs, keys that work everywhere.

use std::sync::Arc;

use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::resource::{Resource, builtin};
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;

use super::change::{Dialog, DialogBox};
use super::keys::Key;
use super::login::Login;
use super::more::later;
use super::overview::Overview;
use super::state::{App, THEMES, app, href, t};
use super::table::TablePage;
use super::transport::Call;
use crate::text::Text;

/// Kinds that people look for, by what they are about.
const SECTIONS: &[(Text, &[&str])] = &[
    (
        Text::Workloads,
        &[
            "pods",
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "replicasets.apps",
            "jobs.batch",
            "cronjobs.batch",
        ],
    ),
    (
        Text::Network,
        &[
            "services",
            "endpointslices.discovery.k8s.io",
            "ingresses.networking.k8s.io",
            "networkpolicies.networking.k8s.io",
        ],
    ),
    (
        Text::Configuration,
        &[
            "configmaps",
            "secrets",
            "resourcequotas",
            "horizontalpodautoscalers.autoscaling",
        ],
    ),
    (
        Text::Storage,
        &[
            "persistentvolumeclaims",
            "persistentvolumes",
            "storageclasses.storage.k8s.io",
        ],
    ),
    (
        Text::Access,
        &[
            "serviceaccounts",
            "roles.rbac.authorization.k8s.io",
            "rolebindings.rbac.authorization.k8s.io",
            "clusterroles.rbac.authorization.k8s.io",
            "clusterrolebindings.rbac.authorization.k8s.io",
        ],
    ),
    (
        Text::Cluster,
        &["nodes", "namespaces", "events", "leases.coordination.k8s.io"],
    ),
];

/// Pages that are no kind's.
const PAGES: [(&str, Text, fn() -> AnyView); 3] = [
    ("overview", Text::Overview, || view! { <Overview /> }.into_any()),
    ("map", Text::Map, || later(|more| (more.map)())),
    ("timeline", Text::Timeline, || later(|more| (more.timeline)())),
];

/// Whether a key is meant for a field.
pub fn typing(event: &web_sys::KeyboardEvent) -> bool {
    let target = event
        .target()
        .and_then(|target| target.dyn_into::<web_sys::Element>().ok());
    target.is_some_and(|element| {
        let field = matches!(&*element.tag_name(), "TEXTAREA" | "SELECT")
            || (element.tag_name() == "INPUT" && element.get_attribute("type").as_deref() != Some("checkbox"));
        // A terminal takes every key.
        let field = field || element.get_attribute("role").as_deref() == Some("textbox");
        // Enter and Space press the button that has the focus.
        let pressed = matches!(&*element.tag_name(), "BUTTON" | "A") && matches!(&*event.key(), "Enter" | " ");
        field || pressed
    })
}

fn focus(id: &str) {
    let found = document()
        .get_element_by_id(id)
        .and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(element) = found {
        let _ = element.focus();
    }
}

fn key(app: App, event: &web_sys::KeyboardEvent) {
    if event.key() == "Escape" && app.dialog.with_untracked(Option::is_some) {
        return app.dialog.set(None);
    }
    if busy(app, event) {
        return;
    }
    match super::keys::key(event) {
        Some(Key::Filter) => focus("filter"),
        Some(Key::Command) => focus("palette"),
        Some(Key::Help) => app.dialog.set(Some(Dialog::Help)),
        Some(Key::Notices) => app.dialog.set(Some(Dialog::Notices)),
        _ => return,
    }
    event.prevent_default();
}

/// Whether a key is not the page's: meant for a field, or a dialog is open.
pub fn busy(app: App, event: &web_sys::KeyboardEvent) -> bool {
    typing(event) || app.dialog.with_untracked(Option::is_some) || app.asks.get_untracked()
}

/// A kind, the same when it is served the same way.
#[derive(Clone)]
struct Kind(Arc<Resource>);

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        let key = |kind: &Self| {
            (
                kind.0.api_version(),
                kind.0.plural.clone(),
                kind.0.scope,
                kind.0.subresources.len(),
            )
        };
        key(self) == key(other)
    }
}

/// Everything.
#[component]
pub fn Frame() -> impl IntoView {
    let app = app();
    let keys = window_event_listener(leptos::ev::keydown, move |event| key(app, &event));
    on_cleanup(move || keys.remove());
    // A page is made anew for another kind or object, not for another filter.
    let page = Memo::new(move |_| {
        let (name, object) = app
            .locator
            .with(|locator| (locator.resource.clone(), locator.object.clone()));
        let kind = app.resource(&name).map(Kind);
        (name, object, kind)
    });
    view! {
        <a class="skip" href="#content">{t(Text::SkipToContent)}</a>
        <Header />
        <div class="columns">
            <Kinds />
            <main id="content" tabindex="-1">
                {move || {
                    let (name, object, kind) = page.get();
                    if let Some((_, _, page)) = PAGES.iter().find(|(page, ..)| *page == name) {
                        return page();
                    }
                    match (kind.map(|kind| kind.0), object) {
                        (None, _) => view! { <div class="empty" role="alert">{t(Text::NotFound)}": "{name}</div> }.into_any(),
                        (Some(resource), Some(place)) => later(move |more| (more.object)(resource.clone(), place.clone())),
                        (Some(resource), None) => view! { <TablePage resource /> }.into_any(),
                    }
                }}
            </main>
        </div>
        <DialogBox />
        <Login />
    }
    .into_any()
}

#[component]
fn Header() -> impl IntoView {
    let app = app();
    let palette = RwSignal::new(String::new());
    let go = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let text = palette.get_untracked();
        let mut words = text.trim_start_matches(':').split_whitespace();
        let Some(name) = words.next() else { return };
        let kind = app
            .registry
            .with_untracked(|registry| mizzen_api::console::command::resource(registry, name).cloned());
        let page = PAGES.iter().find(|(page, ..)| *page == name);
        let found = page.map(|(page, ..)| (*page).to_owned());
        if let Some(name) = found.or(kind.map(|kind| kind.qualified_name().into_owned())) {
            let mut locator = Locator::table(&name);
            locator.namespaces = words.next().map(str::to_owned).into_iter().collect();
            palette.set(String::new());
            focus("content");
            app.go(locator);
        }
    };
    let out = move |_| {
        spawn_local(async move {
            let call = Call {
                method: "DELETE",
                ..Call::get("/dashboard/session")
            };
            if call.send().await.is_ok() {
                app.user.set(None);
                app.asks.set(true);
            }
        });
    };
    view! {
        <header>
            <a class="brand" href="/dashboard/overview">"⛵ Mizzen"</a>
            <form role="search" on:submit=go>
                <input id="palette" list="kind-names" spellcheck="false" autocomplete="off" placeholder=move || format!(": {}", t(Text::GoTo)())
                    aria-label=t(Text::GoTo) prop:value=palette on:input=move |event| palette.set(event_target_value(&event)) />
                <datalist id="kind-names">
                    {move || app.registry.with(|registry| registry.iter().filter(|r| r.allows("list")).map(|r| {
                        let name = r.qualified_name().into_owned();
                        view! { <option value=name></option> }
                    }).collect::<Vec<_>>())}
                </datalist>
            </form>
            <span class="gap"></span>
            <button on:click=move |_| app.dialog.set(Some(Dialog::Create))>{t(Text::Create)}</button>
            <button on:click=move |_| app.dialog.set(Some(Dialog::Notices))>{t(Text::Notices)}
                {move || app.notices.with(|n| (!n.is_empty()).then(|| format!(" {}", n.len())))}</button>
            <button on:click=move |_| app.theme.update(|n| *n = (*n + 1) % THEMES.len())>{t(Text::Theme)}": "{move || THEMES[app.theme.get()]}</button>
            <button id="language" on:click=move |_| app.language.update(|l| *l = l.other())>{t(Text::OtherLanguage)}</button>
            <button on:click=move |_| app.dialog.set(Some(Dialog::Help)) aria-label=t(Text::Help)>"?"</button>
            <span id="user">{move || app.user.get()}</span>
            <button id="logout" on:click=out>{t(Text::LogOut)}</button>
        </header>
    }
    .into_any()
}

#[component]
fn Kinds() -> impl IntoView {
    let app = app();
    let link = move |name: String, label: Option<Text>| {
        let short = name.split('.').next().unwrap_or(&name).to_owned();
        let own = name.clone();
        let words = short.clone();
        let words = move || label.map_or(words.clone(), |label| t(label)().to_owned());
        let here = move || {
            let at = app.locator.with(|locator| locator.resource.clone());
            (at == own || at == short).then_some("page")
        };
        // The namespaces that one works in stay.
        let href = move || {
            href(&Locator {
                namespaces: app.locator.with(|locator| locator.namespaces.clone()),
                ..Locator::table(&name)
            })
        };
        view! { <li><a href=href aria-current=here>{words}</a></li> }.into_any()
    };
    // What is served beside what we know.
    let custom = Memo::new(move |_| {
        app.registry.with(|registry| {
            let all = registry.iter().filter(|r| r.allows("list"));
            let unknown = all.filter(|r| builtin().by_path(&r.group, &r.version, &r.plural).is_none());
            let mut names: Vec<_> = unknown.map(|r| r.qualified_name().into_owned()).collect();
            names.sort();
            names.dedup();
            names
        })
    });
    view! {
        <nav aria-label=t(Text::Kinds)>
            <ul>{PAGES.iter().map(|(name, label, _)| link((*name).to_owned(), Some(*label))).collect::<Vec<_>>()}</ul>
            {SECTIONS.iter().map(|(title, kinds)| view! {
                <h2>{t(*title)}</h2>
                <ul>{kinds.iter().map(|name| link((*name).to_owned(), None)).collect::<Vec<_>>()}</ul>
            }).collect::<Vec<_>>()}
            {move || custom.with(|names| !names.is_empty()).then(|| view! {
                <h2>{t(Text::Custom)}</h2>
                <ul id="custom">{custom.get().into_iter().map(|name| link(name, None)).collect::<Vec<_>>()}</ul>
            })}
        </nav>
    }
    .into_any()
}
