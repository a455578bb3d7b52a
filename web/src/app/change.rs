//! Dialogs that belong to no object, and changing objects as text: create and edit.

use jiff::Timestamp;
use leptos::prelude::*;
use mizzen_api::console::action::{self, Plan};
use mizzen_api::console::diff::{self, Hunk, Noise};
use mizzen_api::console::locator::Place;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use mizzen_api::yaml;
use serde_json::Value;
use std::sync::Arc;
use wasm_bindgen_futures::spawn_local;

use super::act::{Act, send, side_by_side};
use super::editor::CodeEditor;
use super::keys;
use super::more::later;
use super::state::{App, Outcome, app, t};
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
    /// Something to do to objects.
    Act(Act),
}

/// The dialog that is open.
#[component]
pub fn DialogBox() -> impl IntoView {
    let app = app();
    move || {
        let content = match app.dialog.get()? {
            Dialog::Help => view! { <Help /> }.into_any(),
            Dialog::Notices => view! { <Notices /> }.into_any(),
            Dialog::Create => later(|more| (more.create)()),
            Dialog::Act(act) => later(move |more| (more.perform)(act.clone())),
        };
        Some(
            view! { <div class="veil"><div class="dialog" role="dialog" aria-modal="true" aria-labelledby="dialog-title">{content}</div></div> },
        )
    }
}

/// Closes the dialog; has the focus, so that Enter alone changes nothing.
#[component]
pub fn Close(#[prop(optional)] cancel: bool) -> impl IntoView {
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
    let rows = keys::BINDINGS.iter().map(|binding| {
        let keys = binding
            .keys
            .iter()
            .map(|key| view! { <kbd>{*key}</kbd>" " })
            .collect::<Vec<_>>();
        view! { <dt>{keys}</dt><dd>{t(binding.label)}</dd> }
    });
    view! {
        <h2 id="dialog-title">{t(Text::Help)}</h2>
        <dl class="keys">{rows.collect::<Vec<_>>()}</dl>
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
            let result = match notice.outcome {
                Outcome::Running(done, all) => view! { <span class="sev-progress">"◌ "{done}"/"{all}</span> }.into_any(),
                Outcome::Done => view! { <span class="sev-ok">"✔ "{t(Text::Done)}</span> }.into_any(),
                Outcome::Failed(why) => view! { <span class="sev-failure">"✖ "{t(Text::Failed)}": "{why}</span> }.into_any(),
            };
            view! { <li><time>{at}</time>" "<code>{notice.text}</code>" "{result}</li> }
        }).collect::<Vec<_>>()}</ul>
        <p class="buttons"><Close /></p>
    }
}

fn invalid(why: impl ToString) -> Failure {
    Failure::Status {
        code: 400,
        message: why.to_string(),
    }
}

/// The objects of a manifest: reading YAML is the server's, which has a reader for it.
async fn documents(text: &str) -> Result<Vec<Value>, Failure> {
    let call = Call {
        content_type: "application/yaml",
        ..Call::with("POST", "/dashboard/documents", text)
    };
    match call.json().await? {
        Value::Array(documents) => Ok(documents),
        other => Ok(vec![other]),
    }
}

/// Server-side apply of every document, for real or to see what would come of it.
async fn apply(app: App, text: String, dry_run: bool) -> Result<String, Failure> {
    let mut report = String::new();
    for document in documents(&text).await? {
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
        let query = if dry_run { "&dryRun=All" } else { "" };
        let path = resource.path(namespace, view::name(&document));
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

/// Something to begin with.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "Deployment",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: default\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {app: web}\n  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      containers:\n      - name: web\n        image: IMAGE\n        ports:\n        - containerPort: 80\n",
    ),
    (
        "Service",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: default\nspec:\n  selector: {app: web}\n  ports:\n  - port: 80\n",
    ),
    (
        "ConfigMap",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\ndata:\n  key: value\n",
    ),
    (
        "CronJob",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: tidy\n  namespace: default\nspec:\n  schedule: \"0 3 * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: OnFailure\n          containers:\n          - name: tidy\n            image: IMAGE\n",
    ),
    (
        "Namespace",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team\n",
    ),
];

/// Making objects from text.
#[component]
pub fn Create() -> impl IntoView {
    let app = app();
    let source = RwSignal::new(String::new());
    let report = RwSignal::new(String::new());
    let check = move |_| {
        spawn_local(async move {
            let result = apply(app, source.get_untracked(), true).await;
            let _ = report.try_set(result.unwrap_or_else(|failure| failure.to_string()));
        });
    };
    let act = move |_| {
        let text = source.get_untracked();
        app.dialog.set(None);
        let id = app.note("kubectl apply --server-side -f -".to_owned(), 1);
        spawn_local(async move {
            let result = apply(app, text, false).await;
            if let Err(failure) = &result {
                app.heed(failure);
            }
            let failed = result.is_err();
            app.settle(id, result.map(drop).map_err(|failure| failure.to_string()));
            if failed {
                app.dialog.set(Some(Dialog::Notices));
            }
        });
    };
    let take = move |event: web_sys::DragEvent| {
        event.prevent_default();
        let files = event.data_transfer().and_then(|transfer| transfer.files());
        let Some(file) = files.and_then(|files| files.get(0)) else {
            return;
        };
        spawn_local(async move {
            if let Ok(text) = wasm_bindgen_futures::JsFuture::from(file.text()).await {
                let _ = source.try_set(text.as_string().unwrap_or_default());
            }
        });
    };
    view! {
        <h2 id="dialog-title">{t(Text::Create)}</h2>
        <p class="tabs">{TEMPLATES.iter().map(|(name, text)| view! {
            <button on:click=move |_| source.set((*text).to_owned())>{*name}</button>
        }).collect::<Vec<_>>()}</p>
        <p>{t(Text::CreateHint)}</p>
        <div on:dragover=|event| event.prevent_default() on:drop=take>
            <CodeEditor id="manifest" source label=Text::CreateHint changed=Callback::new(|()| ()) />
        </div>
        <pre class="command" role="status">{report}</pre>
        <p class="buttons"><Close cancel=true /><button id="check" on:click=check>{t(Text::Check)}</button>
            <button id="confirm" class="first" on:click=act>{t(Text::Create)}</button></p>
    }
    .into_any()
}

/// What an editor holds.
#[derive(Clone, Copy)]
struct Edit {
    app: App,
    /// The object as it was read.
    base: RwSignal<Value>,
    source: RwSignal<String>,
    wrong: RwSignal<Option<String>>,
    /// Somebody was faster; the change stands on top of theirs.
    carried: RwSignal<bool>,
    preview: RwSignal<Option<Vec<Hunk>>>,
    path: StoredValue<String>,
    resource: StoredValue<Arc<Resource>>,
}

impl Edit {
    async fn load(self) -> Result<Value, Failure> {
        let path = self.path.get_value();
        Call::get(&path).json().await
    }

    fn show(self, object: Value) {
        self.source.set(editable(&object));
        self.base.set(object);
        self.preview.set(None);
        self.wrong.set(None);
    }

    /// Tries or saves what stands in the editor.
    async fn put(self, dry_run: bool) -> Result<Option<Value>, Failure> {
        let edited = documents(&self.source.get_untracked()).await?;
        let [edited] = &edited[..] else {
            return Err(invalid("one object is expected"));
        };
        let mut edited = edited.clone();
        loop {
            let plan: Plan = self.resource.with_value(|resource| action::replace(resource, &edited));
            let request = &plan.requests[0];
            let result = match dry_run {
                true => send(&request.dry_run()).await,
                false => send(request).await,
            };
            if !matches!(&result, Err(Failure::Status { code: 409, .. })) {
                if !dry_run {
                    let id = self.app.note(plan.command, 1);
                    self.app
                        .settle(id, result.as_ref().map(drop).map_err(ToString::to_string));
                }
                self.carried.set(false);
                return result.map(Some);
            }
            let (base, newest) = (self.base.get_untracked(), self.load().await?);
            edited = diff::carry_over(&base, &edited, &newest);
            let untouched = diff::is_untouched(&base, &newest);
            if !untouched {
                self.source.set(editable(&edited));
                self.preview
                    .set(Some(diff::objects(&newest, &edited, Noise::default())));
                self.carried.set(true);
            }
            self.base.set(newest);
            if !untouched {
                return Ok(None);
            }
        }
    }

    fn go(self, dry_run: bool) {
        spawn_local(async move {
            match self.put(dry_run).await {
                Ok(None) => self.wrong.set(None),
                Ok(Some(object)) if dry_run => {
                    self.wrong.set(None);
                    let hunks = self
                        .base
                        .with_untracked(|base| diff::objects(base, &object, Noise::default()));
                    self.preview.set(Some(hunks));
                }
                Ok(Some(object)) => self.show(object),
                Err(failure) => {
                    self.app.heed(&failure);
                    self.preview.set(None);
                    self.wrong.set(Some(failure.to_string()));
                }
            }
        });
    }
}

/// Editing an object as YAML: a dry run shows what would change before anything does.
#[component]
pub fn Editor(resource: Arc<Resource>, place: Place) -> impl IntoView {
    let app = app();
    let edit = Edit {
        app,
        base: RwSignal::new(Value::Null),
        source: RwSignal::new(String::new()),
        wrong: RwSignal::new(None),
        carried: RwSignal::new(false),
        preview: RwSignal::new(None),
        path: StoredValue::new(resource.path(&place.namespace, &place.name)),
        resource: StoredValue::new(resource.clone()),
    };
    spawn_local(async move {
        match edit.load().await {
            Ok(object) => edit.show(object),
            Err(failure) => drop(edit.wrong.try_set(Some(failure.to_string()))),
        }
    });
    let missing = Memo::new(move |_| {
        let rights = app.rights(&place.namespace)?;
        let action = action::action(action::Deed::Edit);
        rights.missing(action, &resource).map(|right| right.to_string())
    });
    view! {
        <CodeEditor id="editor" source=edit.source label=Text::Yaml changed=Callback::new(move |()| edit.preview.set(None)) />
        <p class="wrong" role="alert">{move || edit.wrong.get()}</p>
        {move || edit.carried.get().then(|| view! { <p class="sev-warning" role="alert">"▲ "{t(Text::CarriedOver)}</p> })}
        {move || edit.preview.get().map(|hunks| side_by_side(&hunks))}
        {move || missing.get().map(|right| view! { <p class="sev-warning">{t(Text::MissingVerb)}": "{right}</p> })}
        <p class="buttons"><button id="check" on:click=move |_| edit.go(true)>{t(Text::Check)}</button>
            <button id="save" class="first" disabled=move || missing.with(Option::is_some) on:click=move |_| edit.go(false)>{t(Text::Save)}</button></p>
    }
    .into_any()
}

/// An object as one edits it: without what the server keeps for itself.
fn editable(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    yaml::to_string(&object)
}
