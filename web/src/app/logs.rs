//! Logs: of one container, of all of a Pod, or of all Pods of a workload, merged by time as they are written.
//!
//! Lines come faster than anybody reads: what passes the filter is kept beside all lines and changed line by line,
//! and only as many lines as fit on the screen are in the document.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use mizzen_api::console::locator::Place;
use mizzen_api::console::loglevel::{Severity, detect};
use mizzen_api::relations;
use mizzen_api::view::{list, name, text};
use serde_json::Value;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, HtmlElement};

use super::live::{self, Change, Health, Source, encode};
use super::state::{App, app, t};
use super::transport::{Call, lines_of};
use crate::text::{Text, plain};

/// Lines that are kept.
const KEPT: usize = 100_000;
/// Height of a line in pixels, as in the style sheet.
const LINE_PX: f64 = 19.0;
/// Lines beyond both ends of the screen.
const MARGIN: usize = 10;
/// How much is read: its name, a number of lines or a time, and how the server is asked for it.
const AMOUNTS: &[(&str, bool, &str)] = &[
    ("2000", true, "tailLines=2000"),
    ("100000", true, "tailLines=100000"),
    ("1m", false, "sinceSeconds=60"),
    ("5m", false, "sinceSeconds=300"),
    ("15m", false, "sinceSeconds=900"),
    ("1h", false, "sinceSeconds=3600"),
    ("24h", false, "sinceSeconds=86400"),
];
/// From which severity on lines are shown.
const LEVELS: &[(Text, Severity)] = &[
    (Text::All, Severity::Unknown),
    (Text::Information, Severity::Info),
    (Text::Warnings, Severity::Warning),
    (Text::Errors, Severity::Error),
];

struct Line {
    /// When the node got it, as text that sorts.
    at: Box<str>,
    /// Pod and container.
    from: Arc<str>,
    text: Box<str>,
    severity: Severity,
}

/// Which lines are shown.
#[derive(Clone, Default, PartialEq)]
struct Filter {
    words: String,
    least: Severity,
}

impl Filter {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn passes(&self, line: &Line) -> bool {
        // As everywhere: capitals are meant when there are any.
        line.severity >= self.least
            && match self.words.chars().any(char::is_uppercase) || self.words.is_empty() {
                true => line.text.contains(&self.words),
                false => line.text.to_lowercase().contains(&self.words),
            }
    }
}

/// All lines by time, and those that are shown.
#[derive(Default)]
struct Lines {
    all: VecDeque<Rc<Line>>,
    passing: VecDeque<Rc<Line>>,
    filter: Filter,
}

/// Lines of several containers come in any order, but mostly at the end.
fn insert(lines: &mut VecDeque<Rc<Line>>, line: Rc<Line>) {
    let mut place = lines.len();
    while place > 0 && lines[place - 1].at > line.at {
        place -= 1;
    }
    lines.insert(place, line);
}

impl Lines {
    fn shown(&self) -> &VecDeque<Rc<Line>> {
        match self.filter.is_empty() {
            true => &self.all,
            false => &self.passing,
        }
    }

    fn add(&mut self, line: Line) {
        let line = Rc::new(line);
        if !self.filter.is_empty() && self.filter.passes(&line) {
            insert(&mut self.passing, line.clone());
        }
        insert(&mut self.all, line);
        if self.all.len() > KEPT
            && let Some(gone) = self.all.pop_front()
            && self.passing.front().is_some_and(|first| Rc::ptr_eq(first, &gone))
        {
            self.passing.pop_front();
        }
    }

    fn show(&mut self, filter: Filter) {
        self.filter = filter;
        self.passing = match self.filter.is_empty() {
            true => VecDeque::new(),
            false => self
                .all
                .iter()
                .filter(|line| self.filter.passes(line))
                .cloned()
                .collect(),
        };
    }
}

/// What is asked of every container.
#[derive(Clone, Default, PartialEq)]
struct Wish {
    container: String,
    previous: bool,
    /// Place in [`AMOUNTS`].
    amount: usize,
}

#[derive(Clone, Copy)]
struct Logs {
    app: App,
    namespace: StoredValue<String>,
    lines: StoredValue<Lines, LocalStorage>,
    /// Grows with every frame that has more lines.
    changed: RwSignal<u32>,
    waits: StoredValue<bool>,
    wrong: RwSignal<Option<String>>,
    wish: RwSignal<Wish>,
    /// Containers that are read, by Pod and name.
    started: StoredValue<BTreeSet<(String, String)>>,
}

fn containers(pod: &Value) -> impl Iterator<Item = &str> {
    let all = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    all.into_iter()
        .flat_map(move |path| list(pod, path))
        .map(|container| text(container, "/name"))
}

/// The Pods whose logs these are: the object itself, or those that it selects.
fn follow_pods(app: App, object: RwSignal<Option<Value>>, place: &Place) -> RwSignal<Vec<Value>> {
    let pods = RwSignal::new(Vec::new());
    if object.with_untracked(|object| object.as_ref().is_some_and(|object| object["kind"] == "Pod")) {
        Effect::new(move || pods.set(object.get().into_iter().collect()));
        return pods;
    }
    let selector =
        object.with_untracked(|object| object.as_ref().and_then(relations::pod_selector).map(|s| s.to_string()));
    let source = Source {
        path: format!("/api/v1/namespaces/{}/pods", place.namespace),
        labels: selector.unwrap_or_default(),
        ..Source::default()
    };
    live::follow(app, source, RwSignal::new(Health::Loading), move |change| {
        let _ = pods.try_update(|pods| match change {
            Change::Put(objects) => {
                for pod in objects {
                    pods.retain(|other| name(other) != name(&pod));
                    pods.push(pod);
                }
            }
            Change::Rows(_) => {}
            Change::Remove(_, gone) => pods.retain(|other| name(other) != gone),
        });
    });
    pods
}

impl Logs {
    /// Reads a container until its log ends or the signal says so.
    fn read(self, pod: String, container: String, signal: Option<web_sys::AbortSignal>) {
        let wish = self.wish.get_untracked();
        let mut path = self.namespace.with_value(|namespace| {
            format!(
                "/api/v1/namespaces/{namespace}/pods/{}/log?timestamps=true&container={}",
                encode(&pod),
                encode(&container)
            )
        });
        path.push_str(if wish.previous {
            "&previous=true"
        } else {
            "&follow=true"
        });
        path.push('&');
        path.push_str(AMOUNTS[wish.amount].2);
        let from: Arc<str> = format!("{pod}/{container}").into();
        spawn_local(async move {
            let call = Call {
                signal: signal.as_ref(),
                ..Call::get(&path)
            };
            let read = async {
                let response = call.send().await?;
                lines_of(&response, |line| self.add(&from, line)).await
            };
            let Err(failure) = read.await else { return };
            if signal.is_some_and(|signal| signal.aborted()) || failure.code().is_none() {
                return;
            }
            self.app.heed(&failure);
            let _ = self.wrong.try_set(Some(format!("{from}: {failure}")));
            // A container that has not begun yet is asked again when its Pod changes.
            let _ = self
                .started
                .try_update_value(|started| started.remove(&(pod, container)));
        });
    }

    fn add(self, from: &Arc<str>, line: &str) {
        let (at, text) = line.split_once(' ').unwrap_or(("", line));
        let text = plain(text);
        let line = Line {
            at: at.into(),
            from: from.clone(),
            severity: detect(&text),
            text: text.into(),
        };
        let _ = self.lines.try_update_value(|lines| lines.add(line));
        live::each_frame(self.waits, self.changed);
    }
}

/// A line as text.
fn write(line: &Line, times: bool, several: bool) -> String {
    let at = if times { format!("{} ", line.at) } else { String::new() };
    let from = if several {
        format!("{} ", line.from)
    } else {
        String::new()
    };
    format!("{at}{from}{}", line.text)
}

fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "sev-failure",
        Severity::Warning => "sev-warning",
        Severity::Debug => "sev-muted",
        Severity::Info | Severity::Unknown => "",
    }
}

/// The lines in view, at their place.
#[component]
fn View(logs: Logs, times: RwSignal<bool>, several: Signal<bool>) -> impl IntoView {
    let (view, window) = (NodeRef::<html::Div>::new(), NodeRef::<html::Div>::new());
    let scroll = RwSignal::new(0.0);
    // Who looks at the end sees what comes.
    let follows = StoredValue::new(true);
    let total = Memo::new(move |_| {
        logs.changed.track();
        logs.lines.with_value(|lines| lines.shown().len())
    });
    Effect::new(move || {
        logs.changed.track();
        let (times, several, scroll) = (times.get(), several.get(), scroll.get());
        let (Some(view), Some(window)) = (view.get(), window.get()) else {
            return;
        };
        let from = ((scroll / LINE_PX) as usize).saturating_sub(MARGIN);
        let fits = (f64::from(view.client_height()) / LINE_PX) as usize + 1 + 2 * MARGIN;
        let painted = logs.lines.with_value(|lines| {
            let shown = lines.shown();
            let wanted = shown.iter().skip(from).take(fits);
            let mut next = window.first_element_child();
            for line in wanted {
                let element = match next {
                    Some(there) => there,
                    None => window
                        .append_child(&*document().create_element("div")?)?
                        .unchecked_into(),
                };
                let text = write(line, times, several);
                if element.text_content().as_deref() != Some(&text) {
                    element.set_text_content(Some(&text));
                }
                element.set_class_name(class(line.severity));
                next = element.next_element_sibling();
            }
            while let Some(spare) = next {
                next = spare.next_element_sibling();
                spare.remove();
            }
            let shift = format!("translateY({}px)", from as f64 * LINE_PX);
            HtmlElement::style(&window).set_property("transform", &shift)?;
            Ok::<_, wasm_bindgen::JsValue>(())
        });
        if let Err(error) = painted {
            leptos::logging::error!("{error:?}");
        }
    });
    // After the height has grown.
    Effect::new(move || {
        total.track();
        request_animation_frame(move || {
            if follows.try_get_value() == Some(true)
                && let Some(Some(view)) = view.try_get_untracked()
            {
                view.set_scroll_top(view.scroll_height());
            }
        });
    });
    let scrolled = move |_| {
        if let Some(view) = view.get_untracked() {
            let rest = view.scroll_height() - view.scroll_top() - view.client_height();
            follows.set_value(f64::from(rest) < 2.0 * LINE_PX);
            scroll.set(f64::from(view.scroll_top()));
        }
    };
    view! {
        <div class="log" id="log" tabindex="0" role="log" aria-live="off" aria-label=t(Text::Logs) node_ref=view on:scroll=scrolled>
            <div class="rows" style:height=move || format!("{}px", total.get() as f64 * LINE_PX)><div node_ref=window></div></div>
        </div>
    }
    .into_any()
}

/// Offers a text as a file.
fn download(name: &str, text: &str) -> Result<(), wasm_bindgen::JsValue> {
    let parts = js_sys::Array::of1(&text.into());
    let blob = web_sys::Blob::new_with_str_sequence(&parts)?;
    let url = web_sys::Url::create_object_url_with_blob(&blob)?;
    let link: web_sys::HtmlElement = document().create_element("a")?.unchecked_into();
    link.set_attribute("href", &url)?;
    link.set_attribute("download", name)?;
    link.click();
    web_sys::Url::revoke_object_url(&url)
}

/// The tab.
#[component]
pub fn LogsTab(object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let app = app();
    let logs = Logs {
        app,
        namespace: StoredValue::new(place.namespace.clone()),
        lines: StoredValue::new_local(Lines::default()),
        changed: RwSignal::new(0),
        waits: StoredValue::new(false),
        wrong: RwSignal::new(None),
        wish: RwSignal::new(Wish::default()),
        started: StoredValue::new(BTreeSet::new()),
    };
    let pods = follow_pods(app, object, &place);
    let names = Memo::new(move |_| {
        let mut names: Vec<String> = Vec::new();
        pods.with(|pods| {
            for name in pods.iter().flat_map(containers) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        });
        names
    });
    let (filter, times) = (RwSignal::new(Filter::default()), RwSignal::new(false));
    Effect::new(move || {
        let filter = filter.get();
        logs.lines.update_value(|lines| lines.show(filter));
        logs.changed.update(|n| *n = n.wrapping_add(1));
    });
    let abort = StoredValue::new_local(AbortController::new().ok());
    let stop = move || {
        let _ = abort.try_with_value(|abort| {
            if let Some(abort) = abort {
                abort.abort()
            }
        });
    };
    on_cleanup(stop);
    // Another wish reads everything anew.
    let begun = RwSignal::new(0_u32);
    Effect::new(move || {
        logs.wish.track();
        app.epoch.track();
        stop();
        abort.set_value(AbortController::new().ok());
        logs.started.update_value(BTreeSet::clear);
        logs.lines.update_value(|lines| {
            lines.all.clear();
            lines.passing.clear();
        });
        logs.changed.update(|n| *n = n.wrapping_add(1));
        logs.wrong.set(None);
        begun.update(|n| *n += 1);
    });
    Effect::new(move || {
        begun.track();
        let wanted = logs.wish.with_untracked(|wish| wish.container.clone());
        let mut new = Vec::new();
        pods.with(|pods| {
            for pod in pods {
                for container in containers(pod).filter(|c| wanted.is_empty() || *c == wanted) {
                    new.push((name(pod).to_owned(), container.to_owned()));
                }
            }
        });
        let signal = abort.with_value(|abort| abort.as_ref().map(AbortController::signal));
        for key in new {
            if logs.started.try_update_value(|started| started.insert(key.clone())) == Some(true) {
                logs.read(key.0, key.1, signal.clone());
            }
        }
    });
    let several = Signal::derive(move || {
        pods.with(Vec::len) > 1 || (names.with(Vec::len) > 1 && logs.wish.with(|wish| wish.container.is_empty()))
    });
    let file = format!("{}.log", place.name);
    let save = move |_| {
        let line = |line: &Rc<Line>| write(line, true, true) + "\n";
        let all: String = logs.lines.with_value(|lines| lines.shown().iter().map(line).collect());
        if let Err(error) = download(&file, &all) {
            logs.wrong.set(Some(format!("{error:?}")));
        }
    };
    let count = move || {
        logs.changed.track();
        let (shown, all) = logs.lines.with_value(|lines| (lines.shown().len(), lines.all.len()));
        match shown == all {
            true => all.to_string(),
            false => format!("{shown}/{all}"),
        }
    };
    view! {
        <div class="toolbar">
            <label>{t(Text::Container)}" "<select id="container" on:change=move |event| { let name = event_target_value(&event); logs.wish.update(|wish| wish.container = name) }>
                <option value="">{t(Text::All)}</option>
                {move || names.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect::<Vec<_>>()}
            </select></label>
            <label>{t(Text::Since)}" "<select id="amount" on:change=move |event| {
                let amount = event_target_value(&event).parse().unwrap_or_default();
                logs.wish.update(|wish| wish.amount = amount);
            }>{AMOUNTS.iter().enumerate().map(|(at, (name, lines, _))| view! {
                <option value=at.to_string()>{*name}{move || lines.then(|| format!(" {}", t(Text::Lines)()))}</option>
            }).collect::<Vec<_>>()}</select></label>
            <label>{t(Text::Level)}" "<select id="level" on:change=move |event| {
                let least = LEVELS[event_target_value(&event).parse().unwrap_or(0).min(LEVELS.len() - 1)].1;
                filter.update(|filter| filter.least = least);
            }>{LEVELS.iter().enumerate().map(|(at, (label, _))| view! { <option value=at.to_string()>{t(*label)}</option> }).collect::<Vec<_>>()}</select></label>
            <label class="check"><input type="checkbox" id="previous" on:change=move |event| { let on = event_target_checked(&event); logs.wish.update(|wish| wish.previous = on) } />{t(Text::Previous)}</label>
            <label class="check"><input type="checkbox" on:change=move |event| times.set(event_target_checked(&event)) />{t(Text::Timestamps)}</label>
            <input type="search" id="filter" spellcheck="false" aria-label=t(Text::Search) placeholder=t(Text::Search) on:input=move |event| { let words = event_target_value(&event); filter.update(|filter| filter.words = words) } />
            <span class="count">{count}" "{t(Text::Lines)}</span>
            <button on:click=save>{t(Text::Download)}</button>
        </div>
        <p class="wrong" role="alert">{move || logs.wrong.get()}</p>
        <View logs times several />
    }
    .into_any()
}
