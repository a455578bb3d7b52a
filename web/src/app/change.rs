//! Dialogs, and what changes things: delete, scale, restart, create, edit. Each says what the same would
//! be on the command line, and reports to the history.

use std::sync::Arc;

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::locator::Place;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use mizzen_api::yaml;
use serde_json::{Value, json};
use wasm_bindgen_futures::spawn_local;

use super::object::path_of;
use super::state::{App, app, t};
use super::transport::{Call, Failure};
use crate::text::Text;

/// Which dialog is open.
#[derive(Clone)]
pub enum Dialog {
    /// Keys.
    Help,
    /// What was done.
    Notices,
    /// New objects.
    Create,
    /// Objects to delete.
    Delete(Arc<Resource>, Vec<Place>),
    /// A workload to scale, and its present size.
    Scale(Arc<Resource>, Place, i64),
    /// A workload to restart.
    Restart(Arc<Resource>, Place),
}

/// The dialog that is open.
#[component]
pub fn DialogBox() -> impl IntoView {
    let app = app();
    move || {
        let content = match app.dialog.get()? {
            Dialog::Help => view! { <Help /> }.into_any(),
            Dialog::Notices => view! { <Notices /> }.into_any(),
            Dialog::Create => view! { <Create /> }.into_any(),
            Dialog::Delete(resource, places) => delete(app, resource, places),
            Dialog::Scale(resource, place, replicas) => scale(app, resource, place, replicas),
            Dialog::Restart(resource, place) => restart(app, resource, place),
        };
        Some(
            view! { <div class="veil"><div class="dialog" role="dialog" aria-modal="true" aria-labelledby="dialog-title">{content}</div></div> },
        )
    }
}

/// Closes the dialog; has the focus, so that Enter alone changes nothing.
#[component]
fn Close(#[prop(optional)] cancel: bool) -> impl IntoView {
    let app = app();
    let button = NodeRef::<leptos::html::Button>::new();
    Effect::new(move || {
        if let Some(button) = button.get() {
            let _ = button.focus();
        }
    });
    let label = if cancel { Text::Cancel } else { Text::Close };
    view! { <button node_ref=button on:click=move |_| app.dialog.set(None)>{t(label)}</button> }
}

#[component]
fn Help() -> impl IntoView {
    let keys = [
        ("/", Text::KeyFilter),
        (":", Text::KeyCommand),
        ("j k g G", Text::KeyMove),
        ("Enter d", Text::Describe),
        ("y", Text::Yaml),
        ("e", Text::Edit),
        ("l", Text::Logs),
        ("w", Text::Columns),
        ("Space", Text::KeyMark),
        ("Delete", Text::Delete),
        ("Esc", Text::KeyBack),
        ("?", Text::KeyHelp),
    ];
    view! {
        <h2 id="dialog-title">{t(Text::Help)}</h2>
        <dl class="keys">{keys.map(|(key, what)| view! { <dt><kbd>{key}</kbd></dt><dd>{t(what)}</dd> }).into_iter().collect::<Vec<_>>()}</dl>
        <p class="buttons"><Close /></p>
    }
}

#[component]
fn Notices() -> impl IntoView {
    let app = app();
    view! {
        <h2 id="dialog-title">{t(Text::Notices)}</h2>
        {move || app.notices.with(Vec::is_empty).then(|| view! { <p>{t(Text::NoNotices)}</p> })}
        <ul class="events">{move || app.notices.get().into_iter().rev().map(|notice| {
            let at = Timestamp::from_second(notice.at).unwrap_or_default().to_string();
            let result = match notice.result {
                Ok(()) => view! { <span class="sev-ok">"✔ "{t(Text::Done)}</span> }.into_any(),
                Err(why) => view! { <span class="sev-failure">"✖ "{t(Text::Failed)}": "{why}</span> }.into_any(),
            };
            view! { <li><time>{at}</time>" "<code>{notice.text}</code>" "{result}</li> }
        }).collect::<Vec<_>>()}</ul>
        <p class="buttons"><Close /></p>
    }
}

/// The namespace as kubectl takes it.
fn in_namespace(place: &Place) -> String {
    match &*place.namespace {
        "" => String::new(),
        namespace => format!(" -n {namespace}"),
    }
}

/// Does something, and tells the history how it went.
fn run(app: App, command: String, work: impl Future<Output = Result<(), Failure>> + 'static) {
    app.dialog.set(None);
    spawn_local(async move {
        let result = work.await;
        if let Err(failure) = &result {
            app.heed(failure);
        }
        let failed = result.is_err();
        app.note(command, result.map_err(|failure| failure.to_string()));
        if failed {
            app.dialog.set(Some(Dialog::Notices));
        }
    });
}

fn confirm(title: Text, question: Text, label: Text, commands: String, act: impl Fn() + 'static) -> AnyView {
    view! {
        <h2 id="dialog-title">{t(title)}</h2>
        <p>{t(question)}</p>
        <p>{t(Text::Command)}":"</p>
        <pre class="command">{commands}</pre>
        <p class="buttons"><Close cancel=true /><button id="confirm" class="danger" on:click=move |_| act()>{t(label)}</button></p>
    }
    .into_any()
}

fn delete(app: App, resource: Arc<Resource>, places: Vec<Place>) -> AnyView {
    let command = |place: &Place| {
        format!(
            "kubectl delete {} {}{}",
            resource.qualified_name(),
            place.name,
            in_namespace(place)
        )
    };
    let commands: Vec<_> = places.iter().map(command).collect();
    let shown = commands.join("\n");
    confirm(Text::Delete, Text::DeleteAsk, Text::Delete, shown, move || {
        for (place, command) in places.iter().zip(&commands) {
            let path = path_of(&resource, place);
            run(app, command.clone(), async move {
                let body = r#"{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}"#;
                Call::with("DELETE", &path, body).send().await.map(drop)
            });
        }
    })
}

fn restart(app: App, resource: Arc<Resource>, place: Place) -> AnyView {
    let command = format!(
        "kubectl rollout restart {} {}{}",
        resource.qualified_name(),
        place.name,
        in_namespace(&place)
    );
    let path = path_of(&resource, &place);
    confirm(
        Text::Restart,
        Text::RestartAsk,
        Text::Restart,
        command.clone(),
        move || {
            let path = path.clone();
            run(app, command.clone(), async move {
                let now = Timestamp::now().to_string();
                let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
                let body = patch.to_string();
                let call = Call {
                    content_type: "application/merge-patch+json",
                    ..Call::with("PATCH", &path, &body)
                };
                call.send().await.map(drop)
            });
        },
    )
}

fn scale(app: App, resource: Arc<Resource>, place: Place, replicas: i64) -> AnyView {
    let wanted = RwSignal::new(replicas);
    let name = format!("{} {}{}", resource.qualified_name(), place.name, in_namespace(&place));
    let command = move || format!("kubectl scale {name} --replicas={}", wanted.get());
    let shown = command.clone();
    let path = format!("{}/scale", path_of(&resource, &place));
    let act = move |_| {
        let path = path.clone();
        run(app, untrack(&command), async move {
            let body = json!({"spec": {"replicas": wanted.get_untracked()}}).to_string();
            let call = Call {
                content_type: "application/merge-patch+json",
                ..Call::with("PATCH", &path, &body)
            };
            call.send().await.map(drop)
        });
    };
    view! {
        <h2 id="dialog-title">{t(Text::Scale)}</h2>
        <label>{t(Text::Replicas)}" "<input id="replicas" type="number" min="0" prop:value=replicas.to_string()
            on:input=move |event| if let Ok(count) = event_target_value(&event).parse() { wanted.set(count) } /></label>
        <p>{t(Text::Command)}":"</p>
        <pre class="command">{shown}</pre>
        <p class="buttons"><Close cancel=true /><button id="confirm" class="first" on:click=act>{t(Text::Scale)}</button></p>
    }
    .into_any()
}

fn invalid(why: impl ToString) -> Failure {
    Failure::Status {
        code: 400,
        message: why.to_string(),
    }
}

/// Server-side apply of every document, for real or to see what would come of it.
async fn apply(app: App, text: String, dry_run: bool) -> Result<String, Failure> {
    let mut report = String::new();
    for document in documents(&text)? {
        let (version, kind) = (view::text(&document, "/apiVersion"), view::text(&document, "/kind"));
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let found = app.registry.with_untracked(|registry| {
            let mut rows = registry.iter().filter(|r| r.kind == kind && r.group == group);
            rows.find(|r| r.api_version() == version).cloned()
        });
        let resource = found.ok_or_else(|| invalid(format!("unknown kind {version} {kind}")))?;
        let namespace = match (resource.namespaced(), view::namespace(&document)) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        let place = Place::new(namespace, view::name(&document));
        let path = path_of(&resource, &place);
        let query = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager=mizzen-dashboard{query}");
        let body = document.to_string();
        let call = Call {
            content_type: "application/apply-patch+yaml",
            ..Call::with("PATCH", &path, &body)
        };
        let answer = call.json().await?;
        report.push_str(&format!("{}/{}\n", view::text(&answer, "/kind"), view::name(&answer)));
    }
    Ok(report)
}

fn documents(text: &str) -> Result<Vec<Value>, Failure> {
    let parts = text.split("\n---").map(|part| part.trim_start_matches("---").trim());
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(parse).collect()
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_saphyr::from_str(text).map_err(invalid)
}

#[component]
fn Create() -> impl IntoView {
    let app = app();
    let source = RwSignal::new(String::new());
    let report = RwSignal::new(String::new());
    let check = move |_| {
        spawn_local(async move {
            let result = apply(app, source.get_untracked(), true).await;
            report.set(result.unwrap_or_else(|failure| failure.to_string()));
        });
    };
    let act = move |_| {
        let text = source.get_untracked();
        run(app, "kubectl apply --server-side -f -".to_owned(), async move {
            apply(app, text, false).await.map(drop)
        });
    };
    view! {
        <h2 id="dialog-title">{t(Text::Create)}</h2>
        <label for="manifest">{t(Text::CreateHint)}</label>
        <textarea id="manifest" rows="18" spellcheck="false" on:input=move |event| source.set(event_target_value(&event))></textarea>
        <pre class="command" role="status">{report}</pre>
        <p class="buttons"><Close cancel=true /><button on:click=check>{t(Text::Check)}</button>
            <button id="confirm" class="first" on:click=act>{t(Text::Create)}</button></p>
    }
}

/// Editing an object as YAML: a dry run shows what would change before anything does.
#[component]
pub fn Editor(resource: Arc<Resource>, place: Place) -> impl IntoView {
    let app = app();
    let source = RwSignal::new(String::new());
    let before = RwSignal::new(String::new());
    let wrong = RwSignal::new(None::<String>);
    let diff = RwSignal::new(None::<Vec<(char, String)>>);
    let path = path_of(&resource, &place);
    let load = path.clone();
    spawn_local(async move {
        match Call::get(&load).json().await {
            Ok(object) => {
                let text = editable(object);
                before.set(text.clone());
                source.set(text);
            }
            Err(failure) => wrong.set(Some(failure.to_string())),
        }
    });
    let put = move |path: String, dry_run: bool| async move {
        let document = parse(&source.get_untracked())?;
        let query = if dry_run {
            "?dryRun=All&fieldManager=mizzen-dashboard"
        } else {
            "?fieldManager=mizzen-dashboard"
        };
        let path = format!("{path}{query}");
        let body = document.to_string();
        Call::with("PUT", &path, &body).json().await
    };
    let dry = path.clone();
    let check = move |_| {
        let path = dry.clone();
        spawn_local(async move {
            match put(path, true).await {
                Ok(object) => {
                    wrong.set(None);
                    diff.set(Some(differences(&before.get_untracked(), &editable(object))));
                }
                Err(failure) => {
                    app.heed(&failure);
                    diff.set(None);
                    wrong.set(Some(failure.to_string()));
                }
            }
        });
    };
    let command = format!(
        "kubectl edit {} {}{}",
        resource.qualified_name(),
        place.name,
        in_namespace(&place)
    );
    let save = move |_| {
        let (path, command) = (path.clone(), command.clone());
        spawn_local(async move {
            let result = put(path, false).await;
            if let Err(failure) = &result {
                app.heed(failure);
            }
            app.note(command, result.as_ref().map(drop).map_err(ToString::to_string));
            match result {
                Ok(object) => {
                    let text = editable(object);
                    before.set(text.clone());
                    source.set(text);
                    diff.set(None);
                    wrong.set(None);
                }
                Err(failure) => wrong.set(Some(failure.to_string())),
            }
        });
    };
    view! {
        <textarea id="editor" class="text" rows="28" spellcheck="false" aria-label="YAML" prop:value=source
            on:input=move |event| { source.set(event_target_value(&event)); diff.set(None) }></textarea>
        <p class="wrong" role="alert">{move || wrong.get()}</p>
        {move || diff.get().map(|lines| {
            let none = lines.iter().all(|(sign, _)| *sign == ' ');
            let lines = lines.into_iter().filter(|(sign, _)| *sign != ' ').map(|(sign, line)| {
                let class = if sign == '+' { "added" } else { "removed" };
                view! { <span class=class>{format!("{sign} {line}\n")}</span> }
            }).collect::<Vec<_>>();
            view! { <h2>{t(Text::WouldChange)}</h2>{none.then(|| view! { <p>{t(Text::NoChanges)}</p> })}<pre class="command">{lines}</pre> }
        })}
        <p class="buttons"><button id="check" on:click=check>{t(Text::Check)}</button>
            <button id="save" class="first" on:click=save>{t(Text::Save)}</button></p>
    }
    .into_any()
}

/// An object as one edits it: without what the server keeps for itself.
fn editable(mut object: Value) -> String {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    yaml::to_string(&object)
}

/// Lines of two texts with what became of them: `-`, `+`, or a space for what stayed.
fn differences(old: &str, new: &str) -> Vec<(char, String)> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut lengths = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            lengths[i][j] = match a == b {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        let (sign, line) = match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => (' ', *a),
            (Some(a), b) if b.is_none() || lengths[i + 1][j] >= lengths[i][j + 1] => ('-', *a),
            (_, Some(b)) => ('+', *b),
            (_, None) => break,
        };
        i += usize::from(sign != '+');
        j += usize::from(sign != '-');
        out.push((sign, line.to_owned()));
    }
    out
}
