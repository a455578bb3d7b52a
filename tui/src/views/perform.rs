//! An action on objects, from the question to its result.
//!
//! The objects are read afresh, the dialog of the console model's table of actions asks what it needs, and
//! where the effect is not obvious the server is asked what would happen and the difference is shown
//! before anything is sent. Results go into the history of notices, with the command that would have done
//! the same. A drain stays open and shows its Pods leave.

mod edit;
mod menu;

use std::sync::Arc;

use mizzen_api::console::action::{self, Action, Answers, Deed, Input, Plan, drain};
use mizzen_api::console::{diff, rollout};
use mizzen_api::resource::Resource;
use mizzen_api::view as read;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde::Serialize;
use serde_json::Value;

use crate::bindings::Act;
use crate::data::{Change, Row, Source};
use crate::effect::Effect;
use crate::event::{Answer, Reply, Tone};
use crate::tasks::perform::Perform as Job;
use crate::view::{Cx, Dialog, Do, Field, FieldKind, View};

/// Lines of a difference that a dialog shows at most.
const DIFF_LINES: usize = 200;
/// Width of the bar that shows how far a drain is.
const BAR: usize = 20;

/// The view.
#[derive(Debug, Serialize)]
pub struct Perform {
    #[serde(skip)]
    action: &'static Action,
    #[serde(skip)]
    resource: Arc<Resource>,
    name: &'static str,
    keys: Vec<(String, String)>,
    stage: Stage,
    log: Vec<String>,
    #[serde(skip)]
    objects: Vec<Value>,
    #[serde(skip)]
    plans: Vec<Plan>,
    #[serde(skip)]
    edit: edit::Edit,
    /// Pods that a drain waits for.
    leaving: Vec<String>,
    /// How many there were.
    evicted: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Stage {
    Reading,
    Asking,
    Editing,
    Trying,
    Confirming,
    Sending,
    Draining,
    Over,
}

/// The action that a key stands for.
fn deed(act: Act) -> Option<Deed> {
    Some(match act {
        Act::Edit => Deed::Edit,
        Act::Scale => Deed::Scale,
        Act::Restart => Deed::Restart,
        Act::Rollback => Deed::Rollback,
        Act::SetImage => Deed::SetImage,
        Act::Delete => Deed::Delete,
        Act::Kill => Deed::Kill,
        Act::Cordon => Deed::Cordon,
        Act::Uncordon => Deed::Uncordon,
        Act::Drain => Deed::Drain,
        Act::Trigger => Deed::Trigger,
        Act::SuspendJobs => Deed::Suspend,
        _ => return None,
    })
}

/// Begins what a key stands for, with the objects that a view has chosen; `None` when the key is no action.
pub fn begin(act: Act, view: &dyn View, cx: &Cx<'_>) -> Option<Vec<Do>> {
    let deed = match act {
        Act::Actions => None,
        act => Some(deed(act)?),
    };
    let Some((resource, rows)) = view.chosen(cx) else {
        return Some(Do::why("nothing is selected"));
    };
    Some(match deed {
        None => vec![Do::Open(Box::new(menu::Menu::new(resource, &rows, cx)))],
        Some(deed) => open(action::action(deed), resource, &rows, cx),
    })
}

fn keys_of(rows: &[Arc<Row>]) -> Vec<(String, String)> {
    let key = |row: &Arc<Row>| (row.row.namespace.to_string(), row.row.name.to_string());
    rows.iter().map(key).collect()
}

fn open(action: &'static Action, resource: Arc<Resource>, rows: &[Arc<Row>], cx: &Cx<'_>) -> Vec<Do> {
    let keys = keys_of(rows);
    if !action.is_for(&resource) {
        return Do::why(format!("{} cannot be done to {}", action.name, resource.plural));
    }
    if let Some(why) = forbidden(action, &resource, &keys, cx) {
        return Do::why(why);
    }
    if keys.len() > 1 && matches!(action.what, Deed::Edit | Deed::Rollback | Deed::Drain) {
        return Do::why(format!(
            "{} takes one object at a time; {} are marked",
            action.name,
            keys.len()
        ));
    }
    vec![Do::Open(Box::new(Perform::new(action, resource, keys)))]
}

/// What a key would need that is missing, with the objects that a view has chosen: `delete pods`.
pub fn lacks(act: Act, view: &dyn View, cx: &Cx<'_>) -> Option<String> {
    let (resource, first) = view.first_chosen(cx)?;
    if let Some((verb, subresource)) = super::streams::needs(act) {
        let pods = cx.registry.resolve("pods")?;
        return cx.lacks(verb, pods, subresource, &first.row.namespace);
    }
    let action = action::action(deed(act)?);
    let (namespace, name) = first.key();
    let key = (namespace.to_owned(), name.to_owned());
    let check: Check = |cx, verb, of, subresource, namespace| cx.lacks(verb, of, subresource, namespace);
    missing(action, &resource, &[key], cx, check)
}

/// Why an action is not allowed on any of these objects.
fn forbidden(action: &Action, resource: &Resource, keys: &[(String, String)], cx: &Cx<'_>) -> Option<String> {
    let check: Check = |cx, verb, of, subresource, namespace| cx.forbids(verb, of, subresource, namespace);
    missing(action, resource, keys, cx, check)
}

/// Verb, resource, subresource, namespace.
type Check = fn(&Cx<'_>, &str, &Resource, &str, &str) -> Option<String>;

fn missing(
    action: &Action,
    resource: &Resource,
    keys: &[(String, String)],
    cx: &Cx<'_>,
    check: Check,
) -> Option<String> {
    let rights = action.rights(resource);
    let check = |namespace: &str| {
        rights.iter().find_map(|right| {
            let name = format!("{}.{}", right.resource, right.group);
            let of = cx.registry.resolve(name.trim_end_matches('.'))?;
            check(cx, right.verb, of, right.subresource, namespace)
        })
    };
    keys.iter().find_map(|(namespace, _)| check(namespace))
}

impl Perform {
    fn new(action: &'static Action, resource: Arc<Resource>, keys: Vec<(String, String)>) -> Self {
        Self {
            action,
            resource,
            name: action.name,
            keys,
            stage: Stage::Reading,
            log: Vec::new(),
            objects: Vec::new(),
            plans: Vec::new(),
            edit: edit::Edit::default(),
            leaving: Vec::new(),
            evicted: 0,
        }
    }

    /// Begins a job of this view.
    fn start(&mut self, stage: Stage, job: Job, cx: &Cx<'_>) -> Vec<Do> {
        self.stage = stage;
        vec![Do::Effect(Effect::Start(cx.id, Box::new(job)))]
    }

    fn read(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let (namespace, name) = self.keys[0].clone();
        let resource = self.resource.clone();
        let of_workload = !matches!(&*resource.kind, "ReplicaSet" | "ControllerRevision");
        let job = match self.action.what {
            Deed::Drain => Job::Node(resource, name),
            Deed::Rollback if of_workload => Job::Revisions(resource, namespace, name),
            _ => Job::Read(resource, self.keys.clone()),
        };
        self.start(Stage::Reading, job, cx)
    }

    fn give_up(&mut self, why: impl Into<String>) -> Vec<Do> {
        self.stage = Stage::Over;
        vec![Do::say(Tone::Bad, format!("{}: {}", self.name, why.into())), Do::Close]
    }

    /// The objects have come: asks.
    fn ask(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        if self.action.what == Deed::Edit {
            return self.begin_edit(cx);
        }
        self.stage = Stage::Asking;
        vec![Do::Ask(self.dialog(cx))]
    }

    fn dialog(&self, cx: &Cx<'_>) -> Dialog {
        let first = &self.objects[0];
        let fields = action::fields(self.action.what, first);
        let field = |f: action::Field| Field {
            label: f.label,
            value: f.default,
            kind: match f.input {
                Input::Number | Input::Text => FieldKind::Text,
                Input::Toggle => FieldKind::Check,
                Input::Choice(options) => FieldKind::Choice(options.iter().map(|o| (*o).to_owned()).collect()),
            },
        };
        let mut lines: Vec<String> = Vec::new();
        let mut command = None;
        match self.plan_all(&Answers::new(), cx) {
            Ok(plans) => {
                lines.extend(plans.iter().take(10).map(|plan| plan.question.clone()));
                let rest = plans.len().saturating_sub(10);
                lines.extend((rest > 0).then(|| format!("… and {rest} more")));
                command = plans.first().map(|plan| format!("$ {}", plan.command));
            }
            Err(_) => lines.extend(
                self.keys
                    .iter()
                    .take(10)
                    .map(|(namespace, name)| match namespace.as_str() {
                        "" => name.clone(),
                        namespace => format!("{namespace}/{name}"),
                    }),
            ),
        }
        lines.push(self.action.description.to_owned());
        lines.extend(command);
        Dialog {
            name: "ask".to_owned(),
            title: format!("{} {}", self.name, self.resource.singular),
            lines,
            fields: fields.into_iter().map(field).collect(),
            buttons: vec!["Cancel".to_owned(), self.name.to_owned()],
            dangerous: self.action.danger > action::Danger::Low,
            confirm: String::new(),
        }
    }

    /// The values of a dialog by the names of the action's fields.
    fn answers(&self, answer: &Answer) -> Answers {
        let fields = action::fields(self.action.what, &self.objects[0]);
        let value = |f: action::Field| Some((f.name, answer.values.get(&f.label)?.clone()));
        fields.into_iter().filter_map(value).collect()
    }

    fn plan_all(&self, answers: &Answers, cx: &Cx<'_>) -> Result<Vec<Plan>, String> {
        let plan = |object| action::plan(self.action.what, &self.resource, object, answers, cx.now);
        let plans: Result<_, _> = self.objects.iter().map(plan).collect();
        plans.map_err(|refusal| refusal.0)
    }

    /// The dialog was answered: plans, and tries or sends.
    fn answered(&mut self, answer: &Answer, cx: &Cx<'_>) -> Vec<Do> {
        let answers = self.answers(answer);
        match self.action.what {
            Deed::Drain => return self.drain(&answers, cx),
            Deed::Rollback => return self.roll_back(&answers, cx),
            _ => {}
        }
        match self.plan_all(&answers, cx) {
            // What cannot be done is said, and asked again.
            Err(why) => {
                let mut dialog = self.dialog(cx);
                for field in &mut dialog.fields {
                    if let Some(value) = answer.values.get(&field.label) {
                        field.value.clone_from(value);
                    }
                }
                match dialog.fields.is_empty() {
                    true => self.give_up(why),
                    false => vec![Do::say(Tone::Warning, why), Do::Ask(dialog)],
                }
            }
            Ok(plans) => self.send_or_try(plans, cx),
        }
    }

    fn send_or_try(&mut self, plans: Vec<Plan>, cx: &Cx<'_>) -> Vec<Do> {
        self.plans = plans;
        match self.action.previewed {
            true => {
                let requests = self.plans.iter().flat_map(|plan| plan.requests.clone()).collect();
                self.start(Stage::Trying, Job::Try(requests), cx)
            }
            false => self.send(cx),
        }
    }

    fn send(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let plans = self.plans.clone();
        self.start(Stage::Sending, Job::Send(plans), cx)
    }

    /// The server has said what would happen: shows the difference.
    fn tried(&mut self, results: Vec<Result<Value, String>>, cx: &Cx<'_>) -> Vec<Do> {
        let mut lines: Vec<String> = Vec::new();
        for (before, result) in self.objects.iter().zip(results) {
            match result {
                Err(why) if self.action.what == Deed::Edit => return self.edit_again(&why, cx),
                Err(why) => return self.give_up(why),
                Ok(after) => lines.extend(diff::unified(&diff::objects(before, &after, diff::Noise::default()))),
            }
        }
        if lines.is_empty() {
            self.stage = Stage::Over;
            return vec![
                Do::say(Tone::Info, format!("{}: nothing would change", self.name)),
                Do::Close,
            ];
        }
        let hidden = lines.len().saturating_sub(DIFF_LINES);
        lines.truncate(DIFF_LINES);
        lines.extend((hidden > 0).then(|| format!("… {hidden} more lines")));
        lines.extend(self.plans.first().map(|plan| format!("$ {}", plan.command)));
        self.stage = Stage::Confirming;
        vec![Do::Ask(Dialog {
            name: "confirm".to_owned(),
            title: format!("{} {}: what will change", self.name, self.resource.singular),
            lines,
            fields: Vec::new(),
            buttons: vec!["Cancel".to_owned(), "Apply".to_owned()],
            dangerous: true,
            confirm: String::new(),
        })]
    }

    fn sent(&mut self, results: &[Result<Value, String>], cx: &Cx<'_>) -> Vec<Do> {
        if let (Deed::Edit, Some(Err(why))) = (self.action.what, results.first()) {
            let why = why.clone();
            return self.edit_again(&why, cx);
        }
        self.stage = Stage::Over;
        vec![Do::Close]
    }

    fn roll_back(&mut self, answers: &Answers, cx: &Cx<'_>) -> Vec<Do> {
        let answer = &self.objects[0];
        let (workload, kept) = (&answer["workload"], read::list(answer, "/kept"));
        let revisions = rollout::revisions(workload, kept);
        let number = answers.get("revision").and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        let planned = rollout::choose(&revisions, number)
            .and_then(|revision| action::rollback(&self.resource, workload, revision));
        match planned {
            Err(refusal) => self.give_up(refusal.0),
            Ok(plan) => {
                self.objects = vec![workload.clone()];
                self.send_or_try(vec![plan], cx)
            }
        }
    }

    fn drain(&mut self, answers: &Answers, cx: &Cx<'_>) -> Vec<Do> {
        let answer = &self.objects[0];
        let planned = drain::Options::read(answers)
            .and_then(|options| drain::plan(&self.resource, &answer["node"], read::list(answer, "/pods"), options));
        let plan = match planned {
            Err(refusal) => {
                let dialog = self.dialog(cx);
                return vec![Do::say(Tone::Bad, refusal.0), Do::Ask(dialog)];
            }
            Ok(plan) => plan,
        };
        self.log.push(format!("$ {}", plan.command));
        self.log
            .extend(plan.staying.iter().map(|(pod, why)| format!("{pod} stays: {why}")));
        self.log
            .extend(plan.warnings.iter().map(|(pod, why)| format!("{pod} goes: {why}")));
        self.leaving = plan.evictions.iter().map(|(pod, _)| pod.clone()).collect();
        self.evicted = self.leaving.len();
        self.start(Stage::Draining, Job::Evict(plan.cordon, plan.evictions), cx)
    }

    /// Pods have left; says so when none is left to wait for.
    fn look_for_leaving(&mut self, cx: &Cx<'_>) {
        let Some(store) = self.sources().first().and_then(|source| cx.data.get(source)) else {
            return;
        };
        if store.synced {
            self.leaving.retain(|pod| {
                let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
                store.get(namespace, name).is_some()
            });
            if self.leaving.is_empty() && self.stage == Stage::Draining {
                self.stage = Stage::Over;
                self.log
                    .push("drained: no Pod is left to wait for (esc goes back)".to_owned());
            }
        }
    }
}

impl View for Perform {
    fn crumb(&self) -> String {
        self.name.to_owned()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        let what = match self.keys.as_slice() {
            [(_, name)] => name.clone(),
            many => format!("{} {}", many.len(), self.resource.plural),
        };
        format!("{} {what}", self.name)
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["text"]
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        if self.action.what != Deed::Drain {
            return Vec::new();
        }
        let pods = mizzen_api::resource::builtin().resolve("pods");
        let source = pods.map(|pods| Source::of(pods, "").with_fields(&format!("spec.nodeName={}", self.keys[0].1)));
        source.into_iter().map(Arc::new).collect()
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        match self.stage {
            Stage::Reading => self.read(cx),
            _ => Vec::new(),
        }
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let doing = match self.stage {
            Stage::Reading => "reading…",
            Stage::Trying => "asking the server what would change…",
            Stage::Sending => "sending…",
            _ => "",
        };
        let mut lines = Vec::new();
        lines.extend((!doing.is_empty()).then(|| Line::styled(doing, cx.theme.muted)));
        lines.extend(self.log.iter().map(|line| Line::raw(line.as_str())));
        if self.stage == Stage::Draining {
            let (left, all) = (self.leaving.len(), self.evicted.max(1));
            let gone = (all - left.min(all)) * BAR / all;
            let words = format!(" {left} of {} Pods are still there:", self.evicted);
            lines.push(Line::from(vec![
                Span::styled("█".repeat(gone), cx.theme.ok),
                Span::styled("·".repeat(BAR - gone), cx.theme.muted),
                Span::styled(words, cx.theme.accent),
            ]));
            lines.extend(self.leaving.iter().map(|pod| Line::raw(format!("  {pod}"))));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let sending = matches!(self.stage, Stage::Sending);
        (act == Act::Back && sending).then(|| Do::why("the request is on its way"))
    }

    fn changed(&mut self, _source: &Source, _changes: &[Change], cx: &Cx<'_>) {
        if self.stage == Stage::Draining {
            self.look_for_leaving(cx);
        }
    }

    fn reply(&mut self, reply: Reply, cx: &Cx<'_>) -> Vec<Do> {
        match (self.stage, reply) {
            (_, Reply::Cancelled) => {
                self.stage = Stage::Over;
                vec![Do::Close]
            }
            (Stage::Reading, Reply::Object(object)) => {
                self.objects = vec![object];
                self.ask(cx)
            }
            (Stage::Reading, Reply::Each(results)) => match results.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(objects) => {
                    self.objects = objects;
                    self.objects_read(cx)
                }
                Err(why) => self.give_up(why),
            },
            (Stage::Asking, Reply::Answered(answer)) => self.answered(&answer, cx),
            (Stage::Confirming, Reply::Answered(_)) => self.send(cx),
            (Stage::Trying, Reply::Each(results)) => self.tried(results, cx),
            (Stage::Sending, Reply::Each(results)) => self.sent(&results, cx),
            (Stage::Editing, Reply::Text(text)) => self.edited(&text, cx),
            (Stage::Editing, Reply::Done(text)) => {
                self.stage = Stage::Over;
                vec![Do::say(Tone::Info, text), Do::Close]
            }
            (Stage::Draining, Reply::Text(text)) => {
                self.log.push(text);
                Vec::new()
            }
            (Stage::Draining, Reply::Done(text)) => {
                self.log.push(text);
                self.look_for_leaving(cx);
                let command = self.log.first().map(|line| line.trim_start_matches("$ ").to_owned());
                let text = format!("drain {}", self.keys[0].1);
                vec![Do::Say(crate::event::Notice {
                    tone: Tone::Good,
                    text,
                    command,
                })]
            }
            (Stage::Draining, Reply::Failed(why)) => {
                self.log.push(why.clone());
                self.stage = Stage::Over;
                vec![Do::say(Tone::Bad, format!("drain: {why}"))]
            }
            (_, Reply::Failed(why)) => self.give_up(why),
            _ => Vec::new(),
        }
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Perform {
    /// A revision that is itself selected is put back into its workload, which must be read first.
    fn objects_read(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let object = &self.objects[0];
        if self.action.what != Deed::Rollback || object["kind"] != self.resource.kind.as_ref() {
            return self.ask(cx);
        }
        let Some(owner) = read::controller(object) else {
            return self.give_up("no workload owns it");
        };
        let kind = format!("{}.apps", read::text(owner, "/kind").to_lowercase());
        let Some(resource) = cx.registry.resolve(&kind) else {
            return self.give_up(format!("the server has no {kind}"));
        };
        self.resource = resource.clone();
        self.keys = vec![(
            read::namespace(object).to_owned(),
            read::text(owner, "/name").to_owned(),
        )];
        self.read(cx)
    }
}

#[cfg(test)]
mod tests;
