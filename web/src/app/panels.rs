//! What the page of some kinds shows above what describe says: bars and tables that follow the cluster, with
//! links to what they name.
//!
//! A kind is a row in [`panel`] and a function; whatever selects Pods shows them.

use std::sync::Arc;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::{Locator, Place};
use mizzen_api::console::metrics::{self, Bounds, Used};
use mizzen_api::console::panel::{self, Fact};
use mizzen_api::console::rows::{Row, Shows};
use mizzen_api::console::summary::OVERVIEW;
use mizzen_api::relations;
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::table::{Severity, columns};
use mizzen_api::view;
use serde_json::Value;

use super::live::{self, Gathered, Source};
use super::overview::{Tile, gather};
use super::state::{app, href, link, t};
use super::table::{Shown, class, sign};
use crate::text::Text;

/// Rows of a small table; the whole one is a link away.
const ROWS: usize = 100;

type Object = RwSignal<Option<Value>>;

/// The panel of an object of a kind.
pub fn panel(resource: &Resource, object: Object, place: &Place) -> AnyView {
    let own = match &*resource.qualified_name() {
        "nodes" => node(object, place),
        "namespaces" => namespace(place),
        "services" => view! { {service(object, place)}{forward(object, place, "service")} }.into_any(),
        "pods" => forward(object, place, "pod"),
        "deployments.apps" => deployment(object, place),
        _ => ().into_any(),
    };
    view! { {own}{pods_of(object, place)} }.into_any()
}

/// Lines, with bars for shares.
fn facts(facts: impl Fn() -> Vec<Fact> + Send + 'static) -> AnyView {
    let one = |fact: Fact| {
        let bar = fact.bar.map(|share| {
            view! { <span class="bar" aria-hidden="true"><span style:width=format!("{}%", share.min(100))></span></span> }
        });
        view! {
            <div class=class(fact.severity)>
                <dt>{fact.label}</dt>
                <dd><span>{sign(fact.severity)}" "{fact.text}</span>{bar}</dd>
            </div>
        }
    };
    view! { <dl class="facts">{move || facts().into_iter().map(one).collect::<Vec<_>>()}</dl> }.into_any()
}

/// A small table of rows, the worst first, under a link to all of them.
fn rows<T: Shows + Send + Sync + 'static>(
    resource: &Resource,
    all: Gathered<T>,
    title: Text,
    whole: &Locator,
) -> AnyView {
    let app = app();
    let shown = columns(resource).iter().enumerate().filter(|(_, column)| !column.wide);
    let shown: Vec<(usize, &'static str)> = shown.map(|(at, column)| (at, column.name)).collect();
    let heads: Vec<_> = shown
        .iter()
        .map(|(_, name)| view! { <th scope="col">{*name}</th> })
        .collect();
    let order = Memo::new(move |_| {
        all.with(|all| {
            let mut places: Vec<_> = all.iter().map(|(place, of)| (of.row().severity(), place)).collect();
            places.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
            places
                .into_iter()
                .map(|(_, place)| place.clone())
                .take(ROWS)
                .collect::<Vec<_>>()
        })
    });
    let count = move || all.with(std::collections::BTreeMap::len);
    let name = resource.qualified_name().into_owned();
    let row = move |place: Place| {
        let to = href(&Locator::object(&name, &place.namespace, &place.name));
        let cell = |(at, heading): (usize, &'static str)| {
            let place = place.clone();
            let read = Memo::new(move |_| {
                let now = Timestamp::from_second(app.now.get()).unwrap_or_default();
                all.with(|all| {
                    let row = all.get(&place)?.row();
                    Some((row.text(at, heading, now), row.cells.get(at).map(|cell| cell.severity)))
                })
            });
            let text = move || read.get().unwrap_or_default().0;
            let class = move || class(read.get().and_then(|(_, severity)| severity).unwrap_or_default());
            match heading {
                "Name" => view! { <td><a href=to.clone()>{text}</a></td> }.into_any(),
                _ => view! { <td class=class>{text}</td> }.into_any(),
            }
        };
        view! { <tr>{shown.iter().copied().map(cell).collect::<Vec<_>>()}</tr> }.into_any()
    };
    let whole = href(whole);
    view! {
        <h2><a href=whole>{t(title)}" "{count}</a></h2>
        <div class="aside" tabindex="0" role="region" aria-label=t(title)>
            <table class="plain"><thead><tr>{heads}</tr></thead>
                <tbody><For each=move || order.get() key=Place::clone children=row /></tbody></table>
        </div>
    }
    .into_any()
}

fn shown_of(resource: &Resource, object: &Value) -> Shown {
    Shown {
        row: Row::new(resource, object, Timestamp::now()),
        bounds: Bounds::of(resource, object),
    }
}

fn gather_pods(source: impl Fn() -> Option<Source> + 'static) -> Option<(Arc<Resource>, Gathered<Shown>)> {
    let pods = builtin().resolve("pods")?.clone();
    let kind = pods.clone();
    Some((pods, live::gather(source, move |pod| shown_of(&kind, &pod))))
}

/// The Pods that an object selects, for every kind that selects any.
pub fn pods_of(object: Object, place: &Place) -> AnyView {
    let selector = Memo::new(move |_| {
        let selector = object.with(|object| object.as_ref().and_then(relations::pod_selector));
        selector
            .map(|selector| selector.to_string())
            .filter(|text| !text.is_empty())
    });
    let namespace = place.namespace.clone();
    let pods = move || {
        let labels = selector.get()?;
        let (path, wanted) = (format!("/api/v1/namespaces/{namespace}/pods"), labels.clone());
        let source = move || {
            Some(Source {
                path: path.clone(),
                labels: wanted.clone(),
                ..Source::default()
            })
        };
        let (kind, pods) = gather_pods(source)?;
        let whole = Locator {
            namespaces: vec![namespace.clone()],
            filter: format!("-l '{labels}'"),
            ..Locator::table("pods")
        };
        Some(rows(&kind, pods, Text::Pods, &whole))
    };
    pods.into_any()
}

/// How a node is used, and its Pods.
fn node(object: Object, place: &Place) -> AnyView {
    let name = place.name.clone();
    let fields = format!("spec.nodeName={name}");
    let source = move || {
        Some(Source {
            path: "/api/v1/pods".to_owned(),
            fields: fields.clone(),
            ..Source::default()
        })
    };
    let (Some((kind, pods)), Some(resource)) = (gather_pods(source), builtin().resolve("nodes")) else {
        return ().into_any();
    };
    let used = RwSignal::new(None::<Used>);
    let measured = name.clone();
    let path = Memo::new(move |_| live::measures(app(), "nodes", "").map(|path| format!("{path}/{measured}")));
    live::poll(path, move |answer| {
        let measure = metrics::Measure::read(answer);
        let _ = used.try_set(Some(measure.used));
    });
    let lines = move || {
        object.with(|node| {
            let Some(node) = node.as_ref() else { return Vec::new() };
            let (mut asked, mut limit, mut count) = (Used::default(), Used::default(), 0);
            pods.with(|pods| {
                for pod in pods.values() {
                    asked.add(pod.bounds.asked);
                    limit.add(pod.bounds.limit);
                }
                count = pods.len() as i64;
            });
            let capacity = Bounds::of(resource, node).asked;
            panel::node(node, capacity, used.get(), [asked, limit], count)
        })
    };
    let whole = Locator {
        filter: format!("node:={name}"),
        ..Locator::table("pods")
    };
    view! { {facts(lines)}{rows(&kind, pods, Text::Pods, &whole)} }.into_any()
}

/// What a Service leads to, and whose addresses those are.
fn service(object: Object, place: &Place) -> AnyView {
    let namespace = place.namespace.clone();
    let source = Source {
        path: format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
        labels: format!("kubernetes.io/service-name={}", place.name),
        ..Source::default()
    };
    let slices = live::gather(move || Some(source.clone()), |slice| slice);
    let all = move || slices.with(|slices| slices.values().cloned().collect::<Vec<_>>());
    let summary = move || {
        let facts = object.with(|service| service.as_ref().map(|service| panel::service(service, &all())));
        facts.into_iter().flatten().take(1).collect()
    };
    let line = move |endpoint: panel::Endpoint| {
        let severity = endpoint.severity();
        let word = match endpoint.word {
            "" => t(Text::Ready)(),
            word => word,
        };
        let target = endpoint.target.map(|target| {
            let to = link(app(), &target, &namespace);
            let label = format!("{}/{}", target.kind, target.name);
            view! { <a href=to>{label}</a> }
        });
        let node = href(&Locator::object("nodes", "", &endpoint.node));
        view! {
            <tr><td>{endpoint.address}</td><td class=class(severity)>{sign(severity)}" "{word}</td><td>{target}</td>
                <td>{(!endpoint.node.is_empty()).then(|| view! { <a href=node>{endpoint.node}</a> })}</td></tr>
        }
        .into_any()
    };
    view! {
        {facts(summary)}
        <h2>{t(Text::Endpoints)}</h2>
        <div class="aside" tabindex="0" role="region" aria-label=t(Text::Endpoints)>
            <table class="plain" id="endpoints">
                <thead><tr><th scope="col">{t(Text::Address)}</th><th scope="col">{t(Text::State)}</th>
                    <th scope="col">{t(Text::Whose)}</th><th scope="col">{t(Text::Node)}</th></tr></thead>
                <tbody>{move || panel::endpoints(&all()).into_iter().take(ROWS).map(&line).collect::<Vec<_>>()}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// How to reach the ports of a Pod or a Service from one's own machine: a page cannot listen there.
fn forward(object: Object, place: &Place, kind: &'static str) -> AnyView {
    let place = place.clone();
    let commands = Memo::new(move |_| {
        object.with(|object| {
            let mut ports: Vec<i64> = Vec::new();
            if let Some(object) = object {
                let own = view::list(object, "/spec/ports")
                    .iter()
                    .map(|port| view::int(port, "/port"));
                let containers = view::list(object, "/spec/containers").iter();
                let theirs = containers
                    .flat_map(|container| view::list(container, "/ports"))
                    .map(|port| view::int(port, "/containerPort"));
                ports.extend(own.chain(theirs));
            }
            // Only root may listen on low ports.
            let local = |port: i64| if port < 1024 { 8000 + port } else { port };
            let line = |port: i64| {
                let (namespace, name) = (&place.namespace, &place.name);
                format!(
                    "kubectl port-forward -n {namespace} {kind}/{name} {}:{port}\n",
                    local(port)
                )
            };
            ports.into_iter().map(line).collect::<String>()
        })
    });
    let shown = move || {
        (!commands.with(String::is_empty)).then(|| {
            view! { <h2>{t(Text::FromYourMachine)}</h2><pre class="command" id="forward">{commands}</pre> }
        })
    };
    shown.into_any()
}

/// A namespace's quotas, and how what is in it fares.
fn namespace(place: &Place) -> AnyView {
    let name = place.name.clone();
    let source = Source {
        path: format!("/api/v1/namespaces/{name}/resourcequotas"),
        ..Source::default()
    };
    let quotas = live::gather(move || Some(source.clone()), |quota| quota);
    let lines = move || quotas.with(|quotas| panel::quota(&quotas.values().cloned().collect::<Vec<_>>()));
    let inside = OVERVIEW
        .iter()
        .filter(|kind| builtin().resolve(kind).is_some_and(|r| r.namespaced()));
    let tiles: Vec<_> = inside
        .map(|kind| view! { <Tile name=*kind all=gather(kind, &name) namespace=name.clone() /> })
        .collect();
    let timeline = href(&Locator {
        namespaces: vec![name],
        ..Locator::table("timeline")
    });
    view! {
        {move || (!lines().is_empty()).then(|| view! { <h2>{t(Text::Quotas)}</h2>{facts(lines)} })}
        <h2>{t(Text::Contents)}</h2>
        <div class="tiles" id="contents">{tiles}</div>
        <p><a href=timeline>{t(Text::Timeline)}</a></p>
    }
    .into_any()
}

/// How far a Deployment has come, and through which ReplicaSets.
fn deployment(object: Object, place: &Place) -> AnyView {
    let labels = Memo::new(move |_| {
        let selector = object.with(|object| object.as_ref().and_then(relations::pod_selector));
        selector.map(|selector| selector.to_string())
    });
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets", place.namespace);
    let source = move || {
        Some(Source {
            path: path.clone(),
            labels: labels.get()?,
            ..Source::default()
        })
    };
    let sets = live::gather(source, |set| set);
    facts(move || {
        object.with(|deployment| {
            let Some(deployment) = deployment.as_ref() else {
                return Vec::new();
            };
            sets.with(|sets| panel::deployment(deployment, &sets.values().cloned().collect::<Vec<_>>()))
        })
    })
}

/// The conditions of any object.
pub fn conditions(object: Object) -> AnyView {
    let line = |condition: &Value| {
        let part = |path: &str| view::text(condition, path).to_owned();
        let (kind, status) = (part("/type"), part("/status"));
        // What is well when it is not so is told by its name.
        let bad = ["Pressure", "Unavailable", "Failure", "Failed"];
        let well = (status == "True") != bad.iter().any(|word| kind.ends_with(word));
        let severity = if well { Severity::Ok } else { Severity::Warning };
        let since = view::since(condition, "/lastTransitionTime", Timestamp::now());
        view! {
            <tr><td>{kind}</td><td class=class(severity)>{sign(severity)}" "{status}</td><td>{since}</td>
                <td>{part("/reason")}</td><td>{part("/message")}</td></tr>
        }
        .into_any()
    };
    let table = move || {
        let lines: Vec<_> = object.with(|object| {
            let conditions = object
                .iter()
                .flat_map(|object| view::list(object, "/status/conditions"));
            conditions.map(line).collect()
        });
        (!lines.is_empty()).then(|| {
            view! {
                <h2>{t(Text::Conditions)}</h2>
                <div class="aside" tabindex="0" role="region" aria-label=t(Text::Conditions)>
                    <table class="plain" id="conditions"><tbody>{lines}</tbody></table>
                </div>
            }
        })
    };
    table.into_any()
}
