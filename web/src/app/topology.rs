//! The map: Services, the workloads that they lead to, and the nodes that those run on, as they change.

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Locator;
use mizzen_api::console::rows::Row;
use mizzen_api::console::topology::{self, Band, Edge, Group, Map, Pod, Service, Stands, World};
use mizzen_api::relations::Reference;
use mizzen_api::resource::builtin;
use mizzen_api::table::Severity;

use super::live::{self, Health, Source};
use super::state::{App, app, href, link, t};
use super::table::{NamespacePicker, class, sign};
use crate::text::Text;

/// The map is made anew this long after something changed, with what changed meanwhile.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(250);

/// What tells a box from the others.
type Key = (Band, Stands, Box<str>, Box<str>);

fn key(group: &Group) -> Key {
    let stands = match &group.stands {
        // How many they are changes; that it is they does not.
        Stands::Others(_) => Stands::Others(0),
        other => other.clone(),
    };
    (group.band, stands, group.namespace.clone(), group.name.clone())
}

fn severity_of(kind: &'static str) -> impl Fn(&serde_json::Value) -> Severity + Clone {
    let resource = builtin().resolve(kind).cloned();
    move |object| match &resource {
        Some(resource) => Row::new(resource, object, Timestamp::now()).severity(),
        None => Severity::Plain,
    }
}

/// The map of what is in view, and how the Pods in it fare.
fn follow(app: App) -> (RwSignal<Map>, RwSignal<Health>) {
    let of_pod = severity_of("pods");
    let pods = live::gather(
        move || live::in_view(app, "pods"),
        move |pod| {
            let severity = of_pod(&pod);
            Pod::read(&pod, severity)
        },
    );
    let services = live::gather(
        move || live::in_view(app, "services"),
        |service| Service::read(&service),
    );
    let of_node = severity_of("nodes");
    let nodes = live::gather(move || live::in_view(app, "nodes"), move |node| of_node(&node));
    let owners = ["replicasets.apps", "jobs.batch"].map(|kind| {
        let source = move || {
            Some(Source {
                metadata_only: true,
                ..live::in_view(app, kind)?
            })
        };
        live::gather(source, |object| topology::controller(&object))
    });
    let map = RwSignal::new(Map::default());
    let draw = move || {
        let namespaces = app.locator.with_untracked(|locator| locator.namespaces.clone());
        let above = |namespace: &str, of: &Reference| {
            let known = match &*of.kind {
                "ReplicaSet" => owners[0],
                "Job" => owners[1],
                _ => return None,
            };
            let place = mizzen_api::console::locator::Place::new(namespace, &of.name);
            known.with_untracked(|known| known.get(&place).cloned().flatten())
        };
        let wanted = |namespace: &str| namespaces.is_empty() || namespaces.iter().any(|name| name == namespace);
        pods.with_untracked(|pods| {
            services.with_untracked(|services| {
                nodes.with_untracked(|nodes| {
                    topology::map(&World {
                        pods: pods.values().filter(|pod| wanted(&pod.namespace)).collect(),
                        services: services.values().filter(|service| wanted(&service.namespace)).collect(),
                        nodes: nodes
                            .iter()
                            .map(|(place, severity)| (&*place.name, *severity))
                            .collect(),
                        above: &above,
                    })
                })
            })
        })
    };
    let settled = live::settled(SETTLE, move || {
        pods.track();
        services.track();
        nodes.track();
        owners.iter().for_each(live::Gathered::track);
        app.locator.with(|locator| locator.namespaces.len());
    });
    Effect::new(move || {
        settled.track();
        let new = draw();
        if map.with_untracked(|old| *old != new) {
            map.set(new);
        }
    });
    (map, pods.health)
}

/// The page.
#[component]
pub fn MapPage() -> impl IntoView {
    let app = app();
    let (map, health) = follow(app);
    // The box that is looked at: its joints come forward.
    let lit = RwSignal::new(None::<Key>);
    let keys = Memo::new(move |_| map.with(|map| map.groups.iter().map(key).collect::<Vec<_>>()));
    let size = move |at: usize| move || map.with(|map| format!("{}px", map.size[at]));
    let count = move || {
        map.with(|map| {
            let of = |band: Band| map.groups.iter().filter(move |group| group.band == band);
            let pods: usize = of(Band::Workloads).map(|group| group.health.total()).sum();
            format!("{pods} Pods")
        })
    };
    let empty = Memo::new(move |_| map.with(|map| map.groups.is_empty()));
    view! {
        <section class="page" aria-labelledby="title">
            <div class="toolbar">
                <h1 id="title">{t(Text::Map)}</h1>
                <span class="count">{count}</span>
                <span class="gap"></span>
                <NamespacePicker />
            </div>
            {move || match (health.get(), empty.get()) {
                (Health::Forbidden(message) | Health::Refused(message), _) =>
                    Some(view! { <div class="empty" role="alert"><h2>{t(Text::Forbidden)}</h2><p>{message}</p></div> }.into_any()),
                (Health::Loading, true) => Some(view! { <div class="empty" role="status">{t(Text::Loading)}</div> }.into_any()),
                (_, true) => Some(view! { <div class="empty" role="status">{t(Text::NoneExist)}</div> }.into_any()),
                _ => None,
            }}
            <div class="map" class:old=move || matches!(health.get(), Health::Lost(_)) tabindex="0" role="group" aria-label=t(Text::Map)>
                <div class="plane" style:width=size(0) style:height=size(1)>
                    <Edges map lit />
                    <For each=move || keys.get() key=Key::clone children=move |key| view! { <GroupBox map lit key /> } />
                </div>
            </div>
        </section>
    }
    .into_any()
}

/// What joins the boxes, behind them.
#[component]
fn Edges(map: RwSignal<Map>, lit: RwSignal<Option<Key>>) -> impl IntoView {
    let curve = |map: &Map, edge: &Edge| {
        let ([ax, ay, aw, ah], [bx, by, _, bh]) = (map.groups[edge.from].area, map.groups[edge.to].area);
        let (x1, y1, x2, y2) = (ax + aw, ay + ah / 2, bx, by + bh / 2);
        let bend = (x2.saturating_sub(x1) / 2).max(30);
        format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend.min(x2))
    };
    let all = move || {
        let looked = lit.get();
        map.with(|map| {
            let line = |edge: &Edge| {
                let near = looked
                    .as_ref()
                    .is_some_and(|looked| [edge.from, edge.to].iter().any(|at| key(&map.groups[*at]) == *looked));
                let width = (1.0 + (edge.pods as f64).sqrt()).min(8.0).to_string();
                view! { <path d=curve(map, edge) class=if near { "lit" } else { "" } stroke-width=width /> }
            };
            map.edges.iter().map(line).collect::<Vec<_>>()
        })
    };
    let size = move |at: usize| move || map.with(|map| map.size[at].to_string());
    view! { <svg class="edges" aria-hidden="true" width=size(0) height=size(1)>{all}</svg> }.into_any()
}

/// The words on a box, and where it leads.
fn title(app: App, group: &Group) -> (String, Option<String>) {
    let (namespace, name) = (&*group.namespace, &*group.name);
    match &group.stands {
        Stands::Service => (
            name.to_owned(),
            Some(href(&Locator::object("services", namespace, name))),
        ),
        Stands::Workload(of) => (format!("{} {name}", of.kind), link(app, of, namespace)),
        Stands::Alone => (format!("{} {namespace}", t(Text::WithoutOwner)()), None),
        Stands::Namespace => {
            let inside = Locator {
                namespaces: vec![namespace.to_owned()],
                ..Locator::table("map")
            };
            (namespace.to_owned(), Some(href(&inside)))
        }
        Stands::Others(count) => (format!("{count} {}", t(Text::MoreObjects)()), None),
        Stands::Node => (name.to_owned(), Some(href(&Locator::object("nodes", "", name)))),
        Stands::Waiting => (t(Text::WithoutNode)().to_owned(), None),
    }
}

#[component]
fn GroupBox(map: RwSignal<Map>, lit: RwSignal<Option<Key>>, key: Key) -> impl IntoView {
    let app = app();
    let own = key.clone();
    let group = Memo::new(move |_| map.with(|map| map.groups.iter().find(|group| self::key(group) == own).cloned()));
    let px =
        move |at: usize| move || group.with(|group| format!("{}px", group.as_ref().map_or(0, |group| group.area[at])));
    let own = StoredValue::new(key);
    let look = move || lit.set(Some(own.get_value()));
    let worst = move || class(group.with(|group| group.as_ref().map(|group| group.health.worst()).unwrap_or_default()));
    let inside = move || {
        let group = group.get()?;
        let (label, to) = title(app, &group);
        let health = group.health;
        let parts = [
            (health.failed, Severity::Failure),
            (health.warning, Severity::Warning),
            (health.progressing, Severity::Progress),
            (health.ok, Severity::Ok),
        ];
        let total = health.total().max(1);
        let body = match group.pods.is_empty() {
            false => {
                let pod = |(name, severity): &(Box<str>, Severity)| {
                    let to = href(&Locator::object("pods", &group.namespace, name));
                    let name = name.to_string();
                    view! { <a class=format!("pod {}", class(*severity)) href=to tabindex="-1" title=name.clone() aria-label=name>{sign(*severity)}</a> }
                };
                group.pods.iter().map(pod).collect::<Vec<_>>().into_any()
            }
            true => {
                let share = |(count, severity): (usize, Severity)| {
                    (count > 0).then(|| {
                        view! {
                            <span class=class(severity) style:width=format!("{}%", count * 100 / total)></span>
                        }
                    })
                };
                view! { <span class="bar shares" aria-hidden="true">{parts.map(share).to_vec()}</span> }.into_any()
            }
        };
        let counts = parts
            .iter()
            .filter(|(count, severity)| *count > 0 && *severity != Severity::Ok);
        let counts = counts
            .map(|(count, severity)| format!("{}{count}", sign(*severity)))
            .collect::<Vec<_>>()
            .join(" ");
        let full = match &*group.namespace {
            "" => label.clone(),
            namespace => format!("{namespace}: {label}"),
        };
        let label = match to {
            Some(to) => view! { <a href=to title=full>{label}</a> }.into_any(),
            None => view! { <span title=full>{label}</span> }.into_any(),
        };
        Some(
            view! { <div class="label">{label}<span>{counts}" "{health.total()}</span></div><div class="pods">{body}</div> },
        )
    };
    view! {
        <div class=move || format!("group {}", worst()) style:left=px(0) style:top=px(1) style:width=px(2) style:height=px(3)
            on:pointerenter=move |_| look() on:focusin=move |_| look() on:pointerleave=move |_| lit.set(None)>{inside}</div>
    }
    .into_any()
}
