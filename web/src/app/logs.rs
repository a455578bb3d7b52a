//! Logs: of one container, of all of a Pod, or of all Pods of a workload, merged by time as they are written.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use leptos::prelude::*;
use mizzen_api::console::locator::Place;
use mizzen_api::relations;
use mizzen_api::view::{list, name, text};
use serde_json::Value;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use super::live::{self, Change, Health, Source, encode};
use super::state::{App, app, t};
use super::transport::{Call, lines_of};
use crate::text::{Text, plain};

/// Lines that are kept.
const KEPT: usize = 100_000;
/// Lines in the document.
const SHOWN: usize = 2_000;
/// How far back, in seconds; nothing for the last lines.
const SINCE: &[(&str, &str)] = &[
    ("", ""),
    ("1m", "60"),
    ("5m", "300"),
    ("15m", "900"),
    ("1h", "3600"),
    ("24h", "86400"),
];

struct Line {
    /// When the node got it, as text that sorts.
    at: Box<str>,
    /// Pod and container.
    from: Arc<str>,
    text: Box<str>,
}

/// What is asked of every container.
#[derive(Clone, Default, PartialEq)]
struct Wish {
    container: String,
    previous: bool,
    since: &'static str,
}

#[derive(Clone, Copy)]
struct Logs {
    app: App,
    namespace: StoredValue<String>,
    lines: RwSignal<VecDeque<Line>>,
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
        match wish.since {
            "" => path.push_str(&format!("&tailLines={SHOWN}")),
            seconds => path.push_str(&format!("&sinceSeconds={seconds}")),
        }
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
        let line = Line {
            at: at.into(),
            from: from.clone(),
            text: plain(text).into(),
        };
        let _ = self.lines.try_update(|lines| {
            // Lines of several containers come in any order, but mostly at the end.
            let mut place = lines.len();
            while place > 0 && lines[place - 1].at > line.at {
                place -= 1;
            }
            lines.insert(place, line);
            if lines.len() > KEPT {
                lines.pop_front();
            }
        });
    }

    /// Whose lines pass the search, the newest first.
    fn pick(self, filter: &str, most: usize, write: impl Fn(&Line) -> String) -> String {
        // As everywhere: capitals are meant when there are any.
        let exact = filter.chars().any(char::is_uppercase);
        self.lines.with(|lines| {
            let passes = |line: &&Line| match exact || filter.is_empty() {
                true => line.text.contains(filter),
                false => line.text.to_lowercase().contains(filter),
            };
            let mut found: Vec<_> = lines.iter().rev().filter(passes).take(most).collect();
            found.reverse();
            found.into_iter().map(write).collect()
        })
    }
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
        lines: RwSignal::new(VecDeque::new()),
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
    let (search, times) = (RwSignal::new(String::new()), RwSignal::new(false));
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
        logs.lines.set(VecDeque::new());
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
    let several = move || {
        pods.with(Vec::len) > 1 || (names.with(Vec::len) > 1 && logs.wish.with(|wish| wish.container.is_empty()))
    };
    let write = move |line: &Line, times: bool, several: bool| {
        let at = if times { format!("{} ", line.at) } else { String::new() };
        let from = if several {
            format!("{} ", line.from)
        } else {
            String::new()
        };
        format!("{at}{from}{}\n", line.text)
    };
    let shown = move || {
        let (times, several) = (times.get(), several());
        logs.pick(&search.get(), SHOWN, |line| write(line, times, several))
    };
    let file = format!("{}.log", place.name);
    let save = move |_| {
        let all = untrack(|| logs.pick(&search.get(), KEPT, |line| write(line, true, true)));
        if let Err(error) = download(&file, &all) {
            logs.wrong.set(Some(format!("{error:?}")));
        }
    };
    view! {
        <div class="toolbar">
            <label>{t(Text::Container)}" "<select id="container" on:change=move |event| { let name = event_target_value(&event); logs.wish.update(|wish| wish.container = name) }>
                <option value="">{t(Text::All)}</option>
                {move || names.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect::<Vec<_>>()}
            </select></label>
            <label>{t(Text::Since)}" "<select on:change=move |event| {
                let value = event_target_value(&event);
                let since = SINCE.iter().find(|(_, seconds)| *seconds == value).map_or("", |(_, seconds)| *seconds);
                logs.wish.update(|wish| wish.since = since);
            }>{SINCE.iter().map(|(label, seconds)| view! { <option value=*seconds>{if label.is_empty() { "…" } else { *label }}</option> }).collect::<Vec<_>>()}</select></label>
            <label class="check"><input type="checkbox" id="previous" on:change=move |event| { let on = event_target_checked(&event); logs.wish.update(|wish| wish.previous = on) } />{t(Text::Previous)}</label>
            <label class="check"><input type="checkbox" on:change=move |event| times.set(event_target_checked(&event)) />{t(Text::Timestamps)}</label>
            <input type="search" id="filter" spellcheck="false" aria-label=t(Text::Search) placeholder=t(Text::Search) on:input=move |event| search.set(event_target_value(&event)) />
            <span class="count">{move || logs.lines.with(VecDeque::len)}" "{t(Text::Rows)}</span>
            <button on:click=save>{t(Text::Download)}</button>
        </div>
        <p class="wrong" role="alert">{move || logs.wrong.get()}</p>
        <pre class="text log" id="log" tabindex="0">{shown}</pre>
    }
    .into_any()
}
