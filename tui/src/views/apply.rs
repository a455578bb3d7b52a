//! Manifests from a file, or a new object from a template: the server is asked what would change, the
//! difference is shown, and what is confirmed is applied (server-side apply).
//!
//! A template opens in the editor, and opens again with the reason when the server refuses it.

use std::path::PathBuf;
use std::sync::Arc;

use mizzen_api::console::action::{self, Plan};
use mizzen_api::console::{diff, template};
use mizzen_api::resource::Resource;
use mizzen_api::view as read;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;

use crate::bindings::Act;
use crate::effect::Effect;
use crate::event::{Reply, Tone};
use crate::tasks::apply::Manifests;
use crate::tasks::perform::Perform;
use crate::view::{Cx, Dialog, Do, View};

/// Lines of a difference that are shown at most.
const LINES: usize = 200;
const HEADER: &str =
    "# Write the object below. Lines beginning with a '#' are ignored; an unchanged file is not sent.\n";

/// The view.
#[derive(Debug, Serialize)]
pub struct Apply {
    name: String,
    from: From,
    namespace: String,
    stage: Stage,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    plans: Vec<(Arc<Resource>, Plan)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum From {
    Template,
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Stage {
    New,
    Reading,
    Editing,
    Comparing,
    Confirming,
    Sending,
    Over,
}

impl Apply {
    /// A new object of a kind.
    pub fn create(resource: &Resource, namespace: &str) -> Self {
        Self {
            name: format!("create {}", resource.singular),
            from: From::Template,
            namespace: namespace.to_owned(),
            stage: Stage::New,
            text: format!("{HEADER}{}", template::template(resource, namespace)),
            plans: Vec::new(),
        }
    }

    /// The manifests of a file; those without a namespace go into the first of these.
    pub fn file(path: PathBuf, namespaces: &[String]) -> Self {
        Self {
            name: format!("apply {}", path.display()),
            from: From::File(path),
            namespace: namespaces.first().cloned().unwrap_or_default(),
            stage: Stage::New,
            text: String::new(),
            plans: Vec::new(),
        }
    }

    fn begin(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match self.from.clone() {
            From::Template => self.edit(cx),
            From::File(path) => {
                self.stage = Stage::Reading;
                vec![Do::Effect(Effect::Start(cx.id, Box::new(Manifests::Read(path))))]
            }
        }
    }

    fn edit(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.stage = Stage::Editing;
        vec![Do::Effect(Effect::Edit(cx.id, self.text.clone()))]
    }

    /// A template opens again with the reason; a file is left as it is.
    fn refuse(&mut self, why: &str, cx: &Cx<'_>) -> Vec<Do> {
        let said = Do::say(Tone::Bad, format!("{}: {why}", self.name));
        if self.from != From::Template {
            self.stage = Stage::Over;
            return vec![said, Do::Close];
        }
        let reason: String = why.lines().map(|line| format!("# {line}\n")).collect();
        let body = self.text.lines().filter(|line| !line.starts_with('#'));
        let body: String = body.map(|line| format!("{line}\n")).collect();
        self.text = format!("{HEADER}{reason}{body}");
        let mut wanted = vec![said];
        wanted.extend(self.edit(cx));
        wanted
    }

    /// The text has come: asks the server what it would change.
    fn compare(&mut self, text: String, cx: &Cx<'_>) -> Vec<Do> {
        self.text = text;
        let plans = documents(&self.text).and_then(|documents| {
            let plan = |document: Value| plan(document, &self.namespace, cx);
            documents.into_iter().map(plan).collect::<Result<Vec<_>, String>>()
        });
        match plans {
            Err(why) => self.refuse(&why, cx),
            Ok(plans) if plans.is_empty() => {
                self.stage = Stage::Over;
                vec![
                    Do::say(Tone::Info, format!("{}: there is no object in it", self.name)),
                    Do::Close,
                ]
            }
            Ok(plans) => {
                self.plans = plans;
                if let From::File(path) = &self.from {
                    let file = action::quote(&path.display().to_string());
                    for (_, plan) in &mut self.plans {
                        plan.command = plan.command.replace("FILE", &file);
                    }
                }
                self.stage = Stage::Comparing;
                let job = Manifests::Compare(self.plans.clone());
                vec![Do::Effect(Effect::Start(cx.id, Box::new(job)))]
            }
        }
    }

    /// The server has answered: shows the difference.
    fn compared(&mut self, results: Vec<Result<Value, String>>, cx: &Cx<'_>) -> Vec<Do> {
        let mut lines = Vec::new();
        for (result, (resource, plan)) in results.into_iter().zip(&self.plans) {
            let body = &plan.requests[0].body;
            let what = format!("{}/{}", resource.singular, read::name(body));
            match result {
                Err(why) => return self.refuse(&format!("{what}: {why}"), cx),
                Ok(answer) => {
                    let fresh = answer["before"].is_null();
                    let changes = diff::unified(&diff::objects(
                        &answer["before"],
                        &answer["after"],
                        diff::Noise::default(),
                    ));
                    let word = match (fresh, changes.is_empty()) {
                        (true, _) => "is new",
                        (false, true) => "stays as it is",
                        (false, false) => "changes",
                    };
                    lines.push(format!("@@ {what} {word}"));
                    lines.extend(changes);
                }
            }
        }
        let hidden = lines.len().saturating_sub(LINES);
        lines.truncate(LINES);
        lines.extend((hidden > 0).then(|| format!("… {hidden} more lines")));
        lines.extend(self.plans.first().map(|(_, plan)| format!("$ {}", plan.command)));
        self.stage = Stage::Confirming;
        vec![Do::Ask(Dialog {
            name: "apply".to_owned(),
            title: format!("{}: what will change", self.name),
            lines,
            buttons: vec!["Cancel".to_owned(), "Apply".to_owned()],
            dangerous: true,
            ..Dialog::default()
        })]
    }
}

/// The objects of a text; lists are taken apart.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    // `0644` is a file mode to everybody who writes one.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| format!("not YAML: {error}"))?;
    let items = |document: Value| match document {
        Value::Null => Vec::new(),
        mut list if list["items"].is_array() && list["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
            match list["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            }
        }
        one => vec![one],
    };
    Ok(documents.into_iter().flat_map(items).collect())
}

fn plan(mut document: Value, namespace: &str, cx: &Cx<'_>) -> Result<(Arc<Resource>, Plan), String> {
    let (version, kind) = (read::text(&document, "/apiVersion"), read::text(&document, "/kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = cx
        .registry
        .iter()
        .find(|r| r.kind == kind && r.group == group && r.version == version)
        .ok_or_else(|| format!("the server does not serve {kind:?} of {:?}", document["apiVersion"]))?
        .clone();
    if read::name(&document).is_empty() {
        return Err(format!("a {kind} has no name"));
    }
    if resource.namespaced() && read::namespace(&document).is_empty() {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        document["metadata"]["namespace"] = namespace.into();
    }
    if let Some(why) = cx.forbids("patch", &resource, "", read::namespace(&document)) {
        return Err(why);
    }
    let plan = action::apply(&resource, &document);
    Ok((resource, plan))
}

impl View for Apply {
    fn crumb(&self) -> String {
        self.name.clone()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        self.name.clone()
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["text"]
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match self.stage {
            Stage::New => self.begin(cx),
            _ => Vec::new(),
        }
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let doing = match self.stage {
            Stage::New | Stage::Reading => "reading…",
            Stage::Comparing => "asking the server what would change…",
            Stage::Sending => "sending…",
            Stage::Editing | Stage::Confirming | Stage::Over => "",
        };
        frame.render_widget(Paragraph::new(Line::styled(doing, cx.theme.muted)), area);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let sending = self.stage == Stage::Sending;
        (act == Act::Back && sending).then(|| Do::why("the request is on its way"))
    }

    fn reply(&mut self, reply: Reply, cx: &Cx<'_>) -> Vec<Do> {
        match (self.stage, reply) {
            (Stage::Reading | Stage::Editing, Reply::Text(text)) => self.compare(text, cx),
            (Stage::Editing, Reply::Done(text)) => {
                self.stage = Stage::Over;
                vec![Do::say(Tone::Info, text), Do::Close]
            }
            (Stage::Comparing, Reply::Each(results)) => self.compared(results, cx),
            (Stage::Confirming, Reply::Answered(_)) => {
                self.stage = Stage::Sending;
                let plans = self.plans.iter().map(|(_, plan)| plan.clone()).collect();
                vec![Do::Effect(Effect::Start(cx.id, Box::new(Perform::Send(plans))))]
            }
            (Stage::Sending, Reply::Each(_)) | (_, Reply::Cancelled) => {
                self.stage = Stage::Over;
                vec![Do::Close]
            }
            (_, Reply::Failed(why)) => {
                self.stage = Stage::Over;
                vec![Do::say(Tone::Bad, format!("{}: {why}", self.name)), Do::Close]
            }
            _ => Vec::new(),
        }
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
