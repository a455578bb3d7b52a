//! What all parts of the application share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::console::rights::Rights;
use mizzen_api::relations::Reference;
use mizzen_api::resource::discovered::{AGGREGATED, aggregated};
use mizzen_api::resource::{Registry, Resource, builtin};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;

use super::live::{self, Change, Health, Source};
use super::transport::{Call, Failure};
use crate::text::{Language, Text};

/// Something that was done, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When, in seconds.
    pub at: i64,
    /// What.
    pub text: String,
    /// How it went.
    pub outcome: Outcome,
}

/// How something that was done went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many requests of so many are done.
    Running(usize, usize),
    /// It worked.
    Done,
    /// What was wrong.
    Failed(String),
}

/// How colours are chosen.
pub const THEMES: [&str; 4] = ["auto", "light", "dark", "contrast"];

/// When what is served is read after a definition came or went, and again while some are not served yet.
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What all parts share; a handle that copies.
#[derive(Clone, Copy)]
pub struct App {
    /// What is shown.
    pub locator: RwSignal<Locator>,
    /// Who is logged in: not known yet, nobody, or somebody.
    pub user: RwSignal<Option<String>>,
    /// Whether to ask for credentials, over whatever is shown.
    pub asks: RwSignal<bool>,
    /// Grows with every login: what failed for want of one starts again.
    pub epoch: RwSignal<u32>,
    /// Language.
    pub language: RwSignal<Language>,
    /// Place in [`THEMES`].
    pub theme: RwSignal<usize>,
    /// The present, in seconds; stands still while nobody looks.
    pub now: RwSignal<i64>,
    /// What was done, newest last.
    pub notices: RwSignal<Vec<Notice>>,
    /// The kinds that there are.
    pub registry: RwSignal<Arc<Registry>>,
    /// Namespaces that this user knows of.
    pub namespaces: RwSignal<Vec<String>>,
    /// What one may do, by namespace; asked for when it is needed.
    rights: RwSignal<BTreeMap<String, Rights>>,
    asked: StoredValue<BTreeSet<String>>,
    /// The dialog that is open.
    pub dialog: RwSignal<Option<super::change::Dialog>>,
    /// What the overview has shown so far.
    pub points: RwSignal<VecDeque<super::overview::Point>>,
    /// OpenAPI documents that editors have asked for, by path.
    pub schemas: StoredValue<BTreeMap<String, Arc<serde_json::Value>>>,
    /// The second module, once it is loaded.
    pub more: RwSignal<Option<&'static super::more::More>>,
}

/// The shared state.
pub fn app() -> App {
    expect_context()
}

/// A text in the present language.
pub fn t(text: Text) -> impl Fn() -> &'static str + Copy {
    let language = app().language;
    move || text.of(language.get())
}

fn stored(key: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(key).ok()?
}

fn store(key: &str, value: &str) {
    // A browser that keeps nothing still shows everything.
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(key, value);
    }
}

/// What the browser's address says.
fn address() -> Locator {
    let location = window().location();
    let (path, query) = (
        location.pathname().unwrap_or_default(),
        location.search().unwrap_or_default(),
    );
    let local = path.strip_prefix("/dashboard").unwrap_or_default();
    format!("{local}{query}")
        .parse()
        .unwrap_or_else(|_| Locator::table("overview"))
}

/// The address of a view.
pub fn href(locator: &Locator) -> String {
    format!("/dashboard/{locator}")
}

/// The address of an object that another refers to, when it is of a kind that is served.
pub fn link(app: App, reference: &Reference, namespace: &str) -> Option<String> {
    let name = match &*reference.group {
        "" => reference.kind.clone(),
        group => format!("{}.{group}", reference.kind),
    };
    let resource = app.resource(&name)?;
    let namespace = if resource.namespaced() { namespace } else { "" };
    Some(href(&Locator::object(
        &resource.qualified_name(),
        namespace,
        &reference.name,
    )))
}

impl App {
    /// Reads the address, finds out who is logged in, and follows the browser's history.
    pub fn new() -> Self {
        let tag = stored("mizzen.language").or_else(|| window().navigator().language());
        let theme = stored("mizzen.theme").and_then(|name| THEMES.iter().position(|theme| *theme == name));
        let app = Self {
            locator: RwSignal::new(address()),
            user: RwSignal::new(None),
            asks: RwSignal::new(false),
            epoch: RwSignal::new(0),
            language: RwSignal::new(Language::from_tag(&tag.unwrap_or_default())),
            theme: RwSignal::new(theme.unwrap_or_default()),
            now: RwSignal::new(Timestamp::now().as_second()),
            notices: RwSignal::new(Vec::new()),
            registry: RwSignal::new(Arc::new(builtin().clone())),
            namespaces: RwSignal::new(Vec::new()),
            rights: RwSignal::new(BTreeMap::new()),
            asked: StoredValue::new(BTreeSet::new()),
            dialog: RwSignal::new(None),
            points: RwSignal::new(VecDeque::new()),
            schemas: StoredValue::new(BTreeMap::new()),
            more: RwSignal::new(None),
        };
        app.follow_history();
        app.remember();
        app.follow_definitions();
        set_interval(
            move || {
                if !document().hidden() {
                    app.now.set(Timestamp::now().as_second());
                }
            },
            std::time::Duration::from_secs(1),
        );
        spawn_local(async move { app.begin().await });
        app
    }

    async fn begin(self) {
        let hash = window().location().hash().unwrap_or_default();
        if let Some(code) = hash.strip_prefix("#code=") {
            // The code is used up; nobody needs to find it in the history.
            self.rewrite(&self.locator.get_untracked());
            let body = serde_json::json!({"code": code}).to_string();
            let _ = Call::with("POST", "/dashboard/session", &body).insist().await;
        }
        self.identify().await;
    }

    /// Asks the server who we are.
    pub async fn identify(self) {
        let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        match Call::with("POST", path, review).insist().await {
            Ok(answer) => {
                let name = answer["status"]["userInfo"]["username"].as_str().unwrap_or_default();
                self.user.set(Some(name.to_owned()));
                self.asks.set(false);
                self.asked.update_value(BTreeSet::clear);
                self.rights.update(BTreeMap::clear);
                self.epoch.update(|epoch| *epoch += 1);
                self.learn().await;
            }
            Err(failure) => self.heed(&failure),
        }
    }

    /// Namespaces to choose from. Who may not list them names them in the address.
    async fn learn(self) {
        let Ok(answer) = Call::get("/api/v1/namespaces").insist().await else {
            return;
        };
        let items = mizzen_api::view::list(&answer, "/items").iter();
        self.namespaces
            .set(items.map(|item| mizzen_api::view::name(item).to_owned()).collect());
    }

    /// Asks for credentials when a request failed for want of them.
    pub fn heed(self, failure: &Failure) {
        if *failure == Failure::Unauthorized {
            self.asks.set(true);
        }
    }

    /// The kind of a name.
    pub fn resource(self, name: &str) -> Option<Arc<Resource>> {
        self.registry
            .with(|registry| mizzen_api::console::command::resource(registry, name).cloned())
    }

    /// Shows something else; the browser's back button comes back here.
    pub fn go(self, locator: Locator) {
        if let Ok(history) = window().history() {
            let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&href(&locator)));
        }
        self.locator.set(locator);
    }

    /// Changes what is shown without a step in the browser's history.
    pub fn adjust(self, change: impl FnOnce(&mut Locator)) {
        let mut locator = self.locator.get_untracked();
        change(&mut locator);
        self.rewrite(&locator);
        self.locator.set(locator);
    }

    fn rewrite(self, locator: &Locator) {
        if let Ok(history) = window().history() {
            let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&href(locator)));
        }
    }

    /// Back and forward, and links within the application.
    fn follow_history(self) {
        let back = Closure::<dyn Fn()>::new(move || self.locator.set(address()));
        let _ = window().add_event_listener_with_callback("popstate", back.as_ref().unchecked_ref());
        back.forget();
        let click = Closure::<dyn Fn(web_sys::MouseEvent)>::new(move |event: web_sys::MouseEvent| {
            let target = event
                .target()
                .and_then(|target| target.dyn_into::<web_sys::Element>().ok());
            let link = target.and_then(|element| element.closest("a[href^='/dashboard/']").ok().flatten());
            let plain = event.button() == 0 && !(event.ctrl_key() || event.meta_key() || event.shift_key());
            let (Some(link), true) = (link, plain) else { return };
            let href = link.get_attribute("href").unwrap_or_default();
            if let Ok(locator) = href.trim_start_matches("/dashboard/").parse::<Locator>() {
                event.prevent_default();
                self.go(locator);
            }
        });
        let _ = document().add_event_listener_with_callback("click", click.as_ref().unchecked_ref());
        click.forget();
    }

    /// Keeps language and theme for the next visit, and tells the document.
    fn remember(self) {
        Effect::new(move || {
            let (language, theme) = (self.language.get(), THEMES[self.theme.get()]);
            store("mizzen.language", language.tag());
            store("mizzen.theme", theme);
            if let Some(root) = document().document_element() {
                let _ = root.set_attribute("lang", language.tag());
                let _ = root.set_attribute("data-theme", theme);
            }
        });
    }

    /// What one may do in a namespace; nothing while that is not known.
    pub fn rights(self, namespace: &str) -> Option<Rights> {
        let wanted = if namespace.is_empty() { "default" } else { namespace };
        if self.epoch.get() > 0 && self.asked.try_update_value(|asked| asked.insert(wanted.to_owned())) == Some(true) {
            let wanted = wanted.to_owned();
            spawn_local(async move {
                let review = serde_json::json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                    "spec": {"namespace": wanted}});
                let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
                if let Ok(answer) = Call::with("POST", path, &review.to_string()).insist().await {
                    self.rights
                        .update(|rights| drop(rights.insert(wanted, Rights::read(&answer))));
                }
            });
        }
        self.rights.with(|rights| rights.get(wanted).cloned())
    }

    /// Reads what the server serves, now and whenever a definition comes or goes.
    fn follow_definitions(self) {
        Effect::new(move || {
            if self.epoch.get() == 0 {
                return;
            }
            let waiting = StoredValue::new(false);
            let names = StoredValue::new(BTreeSet::<String>::new());
            let missing = move || {
                let served = |name: &String| self.registry.with_untracked(|kinds| kinds.resolve(name).is_some());
                names.try_with_value(|names| !names.iter().all(served)) == Some(true)
            };
            let discover = move || {
                if waiting.try_update_value(|waiting| std::mem::replace(waiting, true)) != Some(false) {
                    return;
                }
                spawn_local(async move {
                    // They come in groups, and are served a moment later; those with faults never.
                    let mut pause = FIRST_LOOK;
                    loop {
                        live::sleep(pause).await;
                        let _ = waiting.try_set_value(false);
                        self.discover().await;
                        pause *= 2;
                        if pause > LAST_LOOK || !missing() {
                            return;
                        }
                    }
                });
            };
            let source = Source {
                path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
                metadata_only: true,
                ..Source::default()
            };
            discover();
            live::follow(self, source, RwSignal::new(Health::Loading), move |change| {
                match change {
                    Change::Put(objects) if objects.is_empty() => return,
                    Change::Put(objects) => {
                        let found = objects.iter().map(|object| mizzen_api::view::name(object).to_owned());
                        let _ = names.try_update_value(|names| names.extend(found));
                    }
                    Change::Rows(_) => {}
                    Change::Remove(_, name) => {
                        let _ = names.try_update_value(|names| names.remove(&name));
                    }
                }
                discover();
            });
        });
    }

    async fn discover(self) {
        let mut rows = Vec::new();
        for path in ["/api", "/apis"] {
            let call = Call {
                accept: AGGREGATED,
                ..Call::get(path)
            };
            match call.insist().await {
                Ok(answer) => aggregated(&answer, &mut rows),
                Err(_) => return,
            }
        }
        if !rows.is_empty() {
            self.registry.set(Arc::new(Registry::new(rows)));
        }
    }

    /// Adds to the history of what is done; gives its place there.
    pub fn note(self, text: String, requests: usize) -> usize {
        let (at, outcome) = (Timestamp::now().as_second(), Outcome::Running(0, requests));
        self.notices
            .update(|notices| notices.push(Notice { at, text, outcome }));
        self.notices.with_untracked(Vec::len) - 1
    }

    /// So many requests are done.
    pub fn progress(self, id: usize, done: usize) {
        self.notices.update(|notices| {
            if let Some(Notice {
                outcome: Outcome::Running(so_far, _),
                ..
            }) = notices.get_mut(id)
            {
                *so_far = done;
            }
        });
    }

    /// Something is over.
    pub fn settle(self, id: usize, result: Result<(), String>) {
        self.notices.update(|notices| {
            if let Some(notice) = notices.get_mut(id) {
                notice.outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Done);
            }
        });
    }
}
