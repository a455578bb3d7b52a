//! Events in time: how many there were when, and a lane for every object that something happened to.

use jiff::{SignedDuration, Timestamp};
use leptos::prelude::*;
use mizzen_api::console::timeline::{Happening, Lane, share, timeline};
use mizzen_api::duration;
use serde_json::Value;

use super::live::{self, Gathered, Health, Source};
use super::state::{App, app, link, t};
use super::table::NamespacePicker;
use crate::text::Text;

/// Spans of time to look at, in seconds.
const SPANS: &[(&str, i64)] = &[("15m", 900), ("1h", 3600), ("6h", 21_600), ("24h", 86_400)];
/// Parts of a span that are counted.
const PARTS: usize = 60;
/// Most lanes.
const LANES: usize = 100;
/// Most events of a lane that are drawn.
const MARKS: usize = 40;
/// Positions move on once in so many seconds.
const STEP: i64 = 10;

/// An event in a lane.
#[derive(Clone, PartialEq)]
struct Mark {
    left: i64,
    width: i64,
    warning: bool,
    title: String,
}

/// A lane, as it is drawn.
#[derive(Clone, PartialEq)]
struct Drawn {
    label: String,
    link: Option<String>,
    marks: Vec<Mark>,
    warning: bool,
    /// Whether the latest is one.
    warned: bool,
    last: String,
    ago: String,
}

fn told(event: &Happening) -> String {
    let times = match event.count {
        1 => String::new(),
        count => format!(" ×{count}"),
    };
    format!("{}{times}: {}", event.reason, event.message)
}

fn ago(at: i64, now: i64) -> String {
    duration::human(SignedDuration::from_secs((now - at).max(0)))
}

fn drawn(app: App, lane: &Lane<'_>, span: (i64, i64), now: i64) -> Drawn {
    let first = lane.events[0];
    let mark = |event: &&Happening| {
        let (from, at) = (share(event.from, span), share(event.at, span));
        Mark {
            left: from,
            width: at - from,
            warning: event.warning,
            title: told(event),
        }
    };
    let name = format!("{}/{}", first.about.kind, first.about.name);
    Drawn {
        label: match &*first.namespace {
            "" => name,
            namespace => format!("{namespace} {name}"),
        },
        link: link(app, &first.about, &first.namespace),
        marks: lane.events.iter().take(MARKS).map(mark).collect(),
        warning: lane.warning,
        warned: first.warning,
        last: told(first),
        ago: ago(first.at, now),
    }
}

/// The page.
#[component]
pub fn TimelinePage() -> impl IntoView {
    let app = app();
    let span = RwSignal::new(SPANS[1].1);
    let warnings = RwSignal::new(false);
    let namespaces = Memo::new(move |_| app.locator.with(|locator| locator.namespaces.clone()));
    let events = live::gather(move || live::in_view(app, "events"), |event| Happening::read(&event));
    let now = Memo::new(move |_| (app.now.get() / STEP + 1) * STEP);
    let all = Memo::new(move |_| {
        let (to, wanted) = (now.get(), app.locator.with(|locator| locator.filter.to_lowercase()));
        let span = (to - span.get(), to);
        let (namespaces, warnings) = (namespaces.get(), warnings.get());
        events.with(|events| {
            let kept = events.values().filter(|event| {
                (namespaces.is_empty() || namespaces.iter().any(|name| **name == *event.namespace))
                    && (event.warning || !warnings)
                    && event.says(&wanted)
            });
            let found = timeline(kept, span, PARTS, LANES);
            let lanes: Vec<Drawn> = found.lanes.iter().map(|lane| drawn(app, lane, span, to)).collect();
            (found.parts, lanes, found.hidden)
        })
    });
    let labels =
        Memo::new(move |_| all.with(|(_, lanes, _)| lanes.iter().map(|lane| lane.label.clone()).collect::<Vec<_>>()));
    let lane = move |label: String| {
        let lane = Memo::new(move |_| all.with(|(_, lanes, _)| lanes.iter().find(|lane| lane.label == label).cloned()));
        move || lane.get().map(|lane| view! { <Track lane /> })
    };
    let hidden = move || all.with(|(_, _, hidden)| *hidden);
    view! {
        <section class="page scroll" aria-labelledby="title">
            <div class="toolbar">
                <h1 id="title">{t(Text::Timeline)}</h1>
                <span class="gap"></span>
                <NamespacePicker />
                <label class="check"><input type="checkbox" id="warnings-only" prop:checked=warnings
                    on:change=move |event| warnings.set(event_target_checked(&event)) />{t(Text::WarningsOnly)}</label>
                <select id="span" aria-label=t(Text::Since) on:change=move |event| span.set(event_target_value(&event).parse().unwrap_or(3600))>
                    {SPANS.iter().map(|(name, seconds)| view! { <option value=*seconds selected={*seconds == SPANS[1].1}>{*name}</option> }).collect::<Vec<_>>()}
                </select>
                <input id="filter" type="search" spellcheck="false" placeholder=t(Text::Filter) aria-label=t(Text::Filter)
                    prop:value=move || app.locator.with(|locator| locator.filter.clone())
                    on:input=move |event| { let text = event_target_value(&event); app.adjust(|l| l.filter = text) } />
            </div>
            <Parts parts=Signal::derive(move || all.with(|(parts, _, _)| parts.clone())) />
            {move || match (events.health.get(), labels.with(Vec::is_empty)) {
                (Health::Forbidden(message) | Health::Refused(message), _) =>
                    Some(view! { <div class="empty" role="alert"><h2>{t(Text::Forbidden)}</h2><p>{message}</p></div> }.into_any()),
                (Health::Loading, _) => Some(view! { <div class="empty" role="status">{t(Text::Loading)}</div> }.into_any()),
                (_, true) => Some(view! { <div class="empty" role="status">{t(Text::NothingHappened)}</div> }.into_any()),
                (_, false) => None,
            }}
            <ul class="lanes"><For each=move || labels.get() key=String::clone children=move |label| lane(label) /></ul>
            {move || (hidden() > 0).then(|| view! { <p>{hidden}" "{t(Text::MoreObjects)}</p> })}
        </section>
    }
    .into_any()
}

/// How many events there were in each part of the span.
#[component]
fn Parts(parts: Signal<Vec<(usize, usize)>>) -> impl IntoView {
    let bars = move || {
        let parts = parts.get();
        let most = parts
            .iter()
            .map(|(normal, warnings)| normal + warnings)
            .max()
            .unwrap_or(0)
            .max(1);
        let bar = |(normal, warnings): (usize, usize)| {
            let height = |count: usize| format!("{}%", count * 100 / most);
            view! { <span><b class="warned" style:height=height(warnings)></b><b style:height=height(normal)></b></span> }
        };
        parts.into_iter().map(bar).collect::<Vec<_>>()
    };
    view! { <div class="histogram" aria-hidden="true">{bars}</div> }.into_any()
}

#[component]
fn Track(lane: Drawn) -> impl IntoView {
    let marks = lane.marks.into_iter().map(|mark| {
        view! { <i class:warned=mark.warning title=mark.title style:left=format!("min({}%,100% - 7px)", mark.left as f64 / 10.0)
        style:width=format!("max(7px,{}%)", mark.width as f64 / 10.0)></i> }
    });
    view! {
        <li>
            <a href=lane.link>{lane.warning.then_some("▲ ")}{lane.label}</a>
            <div class="track" aria-hidden="true">{marks.collect::<Vec<_>>()}</div>
            <span class=if lane.warned { "sev-warning" } else { "" }>{lane.last}</span>
            <span class="sev-muted">{lane.ago}</span>
        </li>
    }
    .into_any()
}

/// The events of one object, as they come.
#[component]
pub fn ObjectEvents(object: RwSignal<Option<Value>>) -> impl IntoView {
    let app = app();
    let source = Memo::new(move |_| {
        object.with(|object| {
            let object = object.as_ref()?;
            let part = |path: &str| mizzen_api::view::text(object, path);
            let namespace = match part("/metadata/namespace") {
                "" => "default",
                namespace => namespace,
            };
            // Events of what lies in no namespace are where whoever told them put them.
            Some(Source {
                path: match part("/metadata/namespace") {
                    "" => "/api/v1/events".to_owned(),
                    _ => format!("/api/v1/namespaces/{namespace}/events"),
                },
                fields: format!(
                    "involvedObject.name={},involvedObject.kind={}",
                    part("/metadata/name"),
                    part("/kind")
                ),
                ..Source::default()
            })
        })
    });
    let events: Gathered<Happening> = live::gather(move || source.get(), |event| Happening::read(&event));
    let lines = move || {
        let now = app.now.get() / STEP * STEP;
        events.with(|events| {
            let mut events: Vec<_> = events.values().collect();
            events.sort_by_key(|event| std::cmp::Reverse(event.at));
            let line = |event: &Happening| {
                let time = Timestamp::from_second(event.at).unwrap_or_default().to_string();
                let class = if event.warning { "sev-warning" } else { "" };
                view! { <li><span class="sev-muted" title=time>{ago(event.at, now)}</span>" "
                <span class=class>{event.warning.then_some("▲ ")}{told(event)}</span></li> }
            };
            events.into_iter().map(line).collect::<Vec<_>>()
        })
    };
    view! {
        {move || match (events.health.get(), events.with(|events| events.is_empty())) {
            (Health::Forbidden(message) | Health::Refused(message), _) => Some(view! { <p role="alert">{message}</p> }.into_any()),
            (Health::Loading, _) => Some(view! { <p role="status">{t(Text::Loading)}</p> }.into_any()),
            (_, true) => Some(view! { <p role="status">{t(Text::NothingHappened)}</p> }.into_any()),
            _ => None,
        }}
        <ul class="events" id="happened">{lines}</ul>
    }
    .into_any()
}
