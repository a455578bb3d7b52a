//! Doing things to objects: the table of actions that all consoles share, as buttons and dialogs.
//!
//! A button whose right is missing is disabled and says which verb that is. A dialog asks what the action
//! asks, shows the command line that would do the same and, where the effect is not obvious, what the
//! server says would change. What is done is told to the history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::action::{self, Action, Answers, Danger, Deed, Field, Input, Plan, Refusal, Request, drain};
use mizzen_api::console::diff::{self, Hunk, Noise};
use mizzen_api::console::locator::Place;
use mizzen_api::console::rollout;
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::view;
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;

use super::change::{Close, Dialog};
use super::live::{self, encode};
use super::state::{App, app, t};
use super::transport::{Call, Failure};
use crate::text::Text;

/// How long an eviction waits that a disruption budget forbids, as `kubectl drain` does.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

/// An action and what it is done to.
#[derive(Clone)]
pub struct Act {
    /// What is done.
    pub what: Deed,
    /// Kind of the objects.
    pub resource: Arc<Resource>,
    /// The objects.
    pub places: Vec<Place>,
    /// Answers that are known already.
    pub answers: Answers,
}

/// The name of an action.
pub fn label(what: Deed) -> Text {
    match what {
        Deed::Edit => Text::Edit,
        Deed::Scale => Text::Scale,
        Deed::Restart => Text::Restart,
        Deed::Rollback => Text::Rollback,
        Deed::SetImage => Text::SetImage,
        Deed::Pause => Text::Pause,
        Deed::Resume => Text::Resume,
        Deed::Delete => Text::Delete,
        Deed::Kill => Text::Kill,
        Deed::Cordon => Text::Cordon,
        Deed::Uncordon => Text::Uncordon,
        Deed::Drain => Text::Drain,
        Deed::Trigger => Text::Trigger,
        Deed::Suspend => Text::Suspend,
        Deed::Label => Text::Label,
        Deed::Annotate => Text::Annotate,
    }
}

fn field_label(field: &Field) -> Option<Text> {
    Some(match &*field.name {
        "replicas" => Text::Replicas,
        "propagation" => Text::Propagation,
        "grace" => Text::Grace,
        "force" => Text::Force,
        "ignore-daemonsets" => Text::IgnoreDaemonSets,
        "delete-emptydir-data" => Text::DeleteEmptyDir,
        "changes" => Text::Changes,
        "revision" => Text::Revision,
        "name" => Text::JobName,
        _ => return None,
    })
}

/// What can be done to objects of a resource here. Editing has a tab of its own, and a rollback begins at
/// the workload.
fn offered(resource: &Resource) -> impl Iterator<Item = &'static Action> + '_ {
    let revision = matches!(&*resource.plural, "replicasets" | "controllerrevisions");
    action::actions(resource)
        .filter(move |action| action.what != Deed::Edit && !(revision && action.what == Deed::Rollback))
}

/// The buttons of all actions.
pub fn buttons(
    app: App,
    resource: &Arc<Resource>,
    namespace: Signal<String>,
    places: impl Fn() -> Vec<Place> + Copy + Send + Sync + 'static,
) -> AnyView {
    let all = offered(resource).map(|action| button(app, action, resource.clone(), namespace, places));
    all.collect::<Vec<_>>().into_any()
}

/// Opens the dialog of an action, if there is something to do it to.
pub fn open(app: App, what: Deed, resource: Arc<Resource>, places: Vec<Place>) {
    if !places.is_empty() {
        let answers = Answers::new();
        app.dialog.set(Some(Dialog::Act(Act {
            what,
            resource,
            places,
            answers,
        })));
    }
}

fn button(
    app: App,
    action: &'static Action,
    resource: Arc<Resource>,
    namespace: Signal<String>,
    places: impl Fn() -> Vec<Place> + Copy + Send + Sync + 'static,
) -> AnyView {
    let needs = resource.clone();
    let missing = Memo::new(move |_| {
        let rights = app.rights(&namespace.get())?;
        rights.missing(action, &needs).map(|right| right.to_string())
    });
    let why = move || {
        missing
            .get()
            .map(|right| format!("{}: {right}", t(Text::MissingVerb)()))
    };
    view! {
        <button class=if action.danger == Danger::High { "danger" } else { "" } data-act=action.name
            disabled=move || missing.with(Option::is_some) title=why
            on:click=move |_| {
                open(app, action.what, resource.clone(), places());
            }>{t(label(action.what))}</button>
    }
    .into_any()
}

/// What is known of the objects when the dialog opens.
#[derive(Clone, Default)]
struct Known {
    objects: Vec<Value>,
    /// What keeps the revisions of a workload, or the Pods of a node.
    around: Vec<Value>,
}

async fn learn(act: &Act) -> Result<Known, Failure> {
    let mut known = Known::default();
    for place in &act.places {
        let path = act.resource.path(&place.namespace, &place.name);
        known.objects.push(Call::get(&path).json().await?);
    }
    let Some(first) = known.objects.first() else {
        return Ok(known);
    };
    let around = match act.what {
        Deed::Rollback => Some((rollout::kept_in(first), view::namespace(first), String::new())),
        Deed::Drain => {
            let fields = format!(
                "?fieldSelector={}",
                encode(&format!("spec.nodeName={}", view::name(first)))
            );
            Some(("pods", "", fields))
        }
        _ => None,
    };
    if let Some((name, namespace, query)) = around
        && let Some(resource) = builtin().resolve(name)
    {
        known.around = live::list_once(&format!("{}{query}", resource.path(namespace, ""))).await?;
    }
    Ok(known)
}

fn plans(act: &Act, known: &Known, answers: &Answers) -> Result<Vec<Plan>, Refusal> {
    let one = |object: &Value| match act.what {
        Deed::Rollback => {
            let number = answers.get("revision").and_then(|n| n.parse().ok()).unwrap_or(0);
            let all = rollout::revisions(object, &known.around);
            action::rollback(&act.resource, object, rollout::choose(&all, number)?)
        }
        Deed::Drain => {
            let drain = drain::plan(&act.resource, object, &known.around, drain::Options::read(answers)?)?;
            let evictions = drain.evictions.into_iter().map(|(_, request)| request);
            Ok(Plan {
                requests: std::iter::once(drain.cordon).chain(evictions).collect(),
                question: String::new(),
                command: drain.command,
            })
        }
        what => action::plan(what, &act.resource, object, answers, Timestamp::now()),
    };
    known.objects.iter().map(one).collect()
}

/// Sends a request.
pub async fn send(request: &Request) -> Result<Value, Failure> {
    let body = request.body.to_string();
    let call = Call {
        content_type: request.content_type,
        ..Call::with(request.method.as_str(), "", &body)
    };
    let path = request.uri();
    Call { path: &path, ..call }.json().await
}

/// Carries out plans one after another, and tells the history.
pub fn run(app: App, plans: Vec<Plan>) {
    app.dialog.set(None);
    for plan in plans {
        let id = app.note(plan.command.clone(), plan.requests.len());
        spawn_local(async move {
            let result = carry_out(app, id, plan.requests).await;
            if let Err(failure) = &result {
                app.heed(failure);
            }
            let failed = result.is_err();
            app.settle(id, result.map_err(|failure| failure.to_string()));
            if failed {
                app.dialog.set(Some(Dialog::Notices));
            }
        });
    }
}

/// An eviction that a budget forbids now waits behind the others.
async fn carry_out(app: App, id: usize, requests: Vec<Request>) -> Result<(), Failure> {
    let mut waiting: VecDeque<_> = requests.into();
    let (all, mut refused) = (waiting.len(), 0);
    while let Some(request) = waiting.pop_front() {
        match send(&request).await {
            Err(Failure::Status { code: 429, .. }) if request.path.ends_with("/eviction") => {
                waiting.push_back(request);
                refused += 1;
                if refused >= waiting.len() {
                    live::sleep(EVICT_AGAIN).await;
                    refused = 0;
                }
            }
            result => {
                result?;
                refused = 0;
            }
        }
        app.progress(id, all - waiting.len());
    }
    Ok(())
}

/// The dialog of an action.
#[component]
pub fn Perform(act: Act) -> impl IntoView {
    let app = app();
    let known = RwSignal::new(None::<Result<Known, String>>);
    let answers = RwSignal::new(act.answers.clone());
    let preview = RwSignal::new(None::<Result<Vec<Hunk>, String>>);
    let act = StoredValue::new(act);
    spawn_local(async move {
        let result = learn(&act.get_value()).await;
        if let Err(failure) = &result {
            app.heed(failure);
        }
        if let Ok(Known { objects, .. }) = &result
            && let Some(first) = objects.first()
        {
            let _ = answers.try_update(|answers| {
                for field in action::fields(act.with_value(|act| act.what), first) {
                    answers.entry(field.name).or_insert(field.default);
                }
            });
        }
        let _ = known.try_set(Some(result.map_err(|failure| failure.to_string())));
    });
    let planned = Memo::new(move |_| {
        known.with(|known| match known {
            None => Ok(Vec::new()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(known)) => answers.with(|answers| {
                act.with_value(|act| plans(act, known, answers))
                    .map_err(|refusal| refusal.0)
            }),
        })
    });
    let check = move |_| {
        let Ok(plans) = planned.get_untracked() else { return };
        spawn_local(async move {
            let _ = preview.try_set(Some(try_out(known, plans).await));
        });
    };
    let what = act.with_value(|act| act.what);
    let row = action::action(what);
    let title = move || {
        let about = act.with_value(|act| {
            let places = act.places.iter().map(|place| match &*place.namespace {
                "" => place.name.clone(),
                namespace => format!("{namespace}/{}", place.name),
            });
            format!("{} {}", act.resource.kind, places.collect::<Vec<_>>().join(", "))
        });
        format!("{} · {about}", t(label(what))())
    };
    let commands = move || {
        planned.with(|plans| {
            plans
                .as_ref()
                .map(|plans| {
                    plans
                        .iter()
                        .map(|plan| plan.command.as_str())
                        .collect::<Vec<_>>()
                        .join("\n")
                })
                .unwrap_or_default()
        })
    };
    let idle = move || planned.with(|plans| plans.as_ref().map_or(true, Vec::is_empty));
    view! {
        <h2 id="dialog-title">{title}</h2>
        {move || known.with(Option::is_none).then(|| view! { <p role="status">{t(Text::Loading)}</p> })}
        {move || fields(act, known, answers, preview)}
        <p class="wrong" role="alert">{move || planned.with(|plans| plans.as_ref().err().cloned())}</p>
        <p>{t(Text::Command)}":"</p>
        <pre class="command" id="command">{commands}</pre>
        {move || preview.get().map(|preview| match preview {
            Ok(hunks) => side_by_side(&hunks),
            Err(why) => view! { <p class="wrong" role="alert">{why}</p> }.into_any(),
        })}
        <p class="buttons">
            <Close cancel=true />
            {row.previewed.then(|| view! { <button id="check" disabled=idle on:click=check>{t(Text::Check)}</button> })}
            <button id="confirm" class=if row.danger == Danger::Low { "first" } else { "danger" } disabled=idle
                on:click=move |_| if let Ok(plans) = planned.get_untracked() { run(app, plans) }>{t(label(what))}</button>
        </p>
    }
    .into_any()
}

fn fields(
    act: StoredValue<Act>,
    known: RwSignal<Option<Result<Known, String>>>,
    answers: RwSignal<Answers>,
    preview: RwSignal<Option<Result<Vec<Hunk>, String>>>,
) -> AnyView {
    let what = act.with_value(|act| act.what);
    let fields = known.with(|known| match known {
        Some(Ok(known)) => known
            .objects
            .first()
            .map(|first| action::fields(what, first))
            .unwrap_or_default(),
        _ => Vec::new(),
    });
    let one = |field: Field| {
        let name = field.name.clone();
        let set = move |value: String| {
            preview.set(None);
            answers.update(|answers| drop(answers.insert(name.clone(), value)));
        };
        let start = answers
            .with_untracked(|answers| answers.get(&field.name).cloned())
            .unwrap_or(field.default.clone());
        let id = field.name.clone();
        let input = match field.input {
            Input::Toggle => view! { <input type="checkbox" id=id prop:checked={start == "true"}
                on:change=move |event| set(event_target_checked(&event).to_string()) /> }.into_any(),
            Input::Choice(choices) => view! { <select id=id on:change=move |event| set(event_target_value(&event))>
                {choices.iter().map(|choice| view! { <option value=*choice>{*choice}</option> }).collect::<Vec<_>>()}</select> }.into_any(),
            Input::Number | Input::Text => {
                let kind = if field.input == Input::Number { "number" } else { "text" };
                view! { <input type=kind id=id min="0" spellcheck="false" prop:value=start
                    on:input=move |event| set(event_target_value(&event)) /> }.into_any()
            }
        };
        let label = field_label(&field);
        view! { <p class="field"><label for=field.name>{move || label.map_or(field.label.clone(), |text| t(text)().to_owned())}</label>{input}</p> }
            .into_any()
    };
    fields.into_iter().map(one).collect::<Vec<_>>().into_any()
}

/// What the server says that plans would change.
async fn try_out(known: RwSignal<Option<Result<Known, String>>>, plans: Vec<Plan>) -> Result<Vec<Hunk>, String> {
    let mut hunks = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        for request in &plan.requests {
            let after = send(&request.dry_run()).await.map_err(|failure| failure.to_string())?;
            known.with_untracked(|known| {
                if let Some(Ok(known)) = known {
                    hunks.extend(diff::objects(&known.objects[at], &after, Noise::default()));
                }
            });
        }
    }
    Ok(hunks)
}

/// What differs, before and after beside each other.
pub fn side_by_side(hunks: &[Hunk]) -> AnyView {
    if hunks.is_empty() {
        return view! { <p role="status">{t(Text::NoChanges)}</p> }.into_any();
    }
    let side = |line: Option<&diff::Line>, class: &'static str, number: fn(&diff::Line) -> Option<usize>| {
        let (at, changed) = line.map_or((None, false), |line| (number(line), line.kind != diff::Kind::Same));
        let parts = line
            .into_iter()
            .flat_map(|line| &line.parts)
            .map(|(marked, part)| match marked {
                true => view! { <mark>{part.clone()}</mark> }.into_any(),
                false => part.clone().into_any(),
            });
        let class = if changed { class } else { "" };
        view! { <td class="number">{at}</td><td class=class>{parts.collect::<Vec<_>>()}</td> }.into_any()
    };
    let rows = hunks.iter().flat_map(|hunk| diff::side_by_side(hunk)).map(|(before, after)| {
        view! { <tr>{side(before.as_ref(), "removed", |l| l.before)}{side(after.as_ref(), "added", |l| l.after)}</tr> }.into_any()
    });
    view! {
        <h3>{t(Text::WouldChange)}</h3>
        <div class="diff" tabindex="0" role="region" aria-label=t(Text::WouldChange)>
            <table><thead><tr><th colspan="2" scope="col">{t(Text::Before)}</th><th colspan="2" scope="col">{t(Text::After)}</th></tr></thead>
            <tbody>{rows.collect::<Vec<_>>()}</tbody></table>
        </div>
    }
    .into_any()
}
