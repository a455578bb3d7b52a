//! Who may do what: one's own rights (`:can`), somebody else's (`:can u:jane`), the rules of a role, and whom
//! roles are bound to (`:users`, `:groups`).
//!
//! All of it is computed from what is watched or was asked, whenever that changes, and drawn as a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use mizzen_api::console::policy::{self, Line, RoleRef, Subject, VERBS};
use mizzen_api::resource::Resource;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line as Text;
use serde_json::Value;

use super::list::{Entry, List};
use crate::bindings::Act;
use crate::data::{Change, Row, Source, Trouble};
use crate::effect::Effect;
use crate::view::{Cx, Do, View};

/// Columns of rules; those of the verbs stand before the last two.
const HEADINGS: [&str; 13] = [
    "RESOURCE", "GROUP", "NAMES", VERBS[0].0, VERBS[1].0, VERBS[2].0, VERBS[3].0, VERBS[4].0, VERBS[5].0, VERBS[6].0,
    VERBS[7].0, "OTHERS", "FROM",
];

/// What is told.
#[derive(Debug)]
enum About {
    /// What we may do in a namespace.
    Own(String),
    /// What somebody may do anywhere.
    Of(Subject),
    /// The rules of a role: namespace and name.
    Role(String, String),
    /// Users or groups that roles are bound to.
    Bound { groups: bool },
}

/// The view.
#[derive(Debug)]
pub struct Policy {
    about: About,
    /// What led here.
    of: String,
    sources: Vec<Arc<Source>>,
    list: Box<List>,
}

/// What `:can` means: ourselves in a namespace, or somebody.
pub fn can(argument: &str, current: &[String], cx: &Cx<'_>) -> Result<Box<dyn View>, String> {
    if argument.contains(':') {
        let subject: Subject = argument.parse()?;
        let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
        return Ok(Box::new(Policy::over(About::Of(subject), &kinds, cx)?));
    }
    let namespace = match (argument, current.first()) {
        ("", Some(first)) => first,
        ("", None) => "default",
        (named, _) => named,
    };
    Ok(Box::new(Policy::over(About::Own(namespace.to_owned()), &[], cx)?))
}

/// Whom roles are bound to.
pub fn bound(groups: bool, cx: &Cx<'_>) -> Result<Box<dyn View>, String> {
    let kinds = ["rolebindings", "clusterrolebindings"];
    Ok(Box::new(Policy::over(About::Bound { groups }, &kinds, cx)?))
}

/// The rules of the role in a row.
pub fn role(row: &Row, resource: &Arc<Resource>) -> Vec<Do> {
    let (namespace, name) = row.key();
    vec![Do::Open(Box::new(Policy::role(resource, namespace, name)))]
}

/// The rules of the role that the binding in a row refers to.
pub fn bound_role(row: &Row, cx: &Cx<'_>) -> Vec<Do> {
    let binding = row.object();
    let role = RoleRef::of(&binding);
    let (kind, namespace) = match role.kind.as_str() {
        "Role" => ("roles", &*row.row.namespace),
        _ => ("clusterroles", ""),
    };
    let resource = match super::resource(kind, cx) {
        Ok(resource) => resource,
        Err(error) => return Do::why(error),
    };
    let bound: Vec<_> = policy::subjects(&binding).iter().map(ToString::to_string).collect();
    let mut view = Policy::role(&resource, namespace, &role.name);
    view.of = format!("{} for {}", row.row.name, bound.join(" "));
    vec![Do::Open(Box::new(view))]
}

impl Policy {
    fn over(about: About, kinds: &[&str], cx: &Cx<'_>) -> Result<Self, String> {
        let source = |kind: &&str| Ok(Arc::new(Source::of(&*super::resource(kind, cx)?, "")));
        Ok(Self::new(
            about,
            kinds.iter().map(source).collect::<Result<_, String>>()?,
        ))
    }

    fn role(resource: &Resource, namespace: &str, name: &str) -> Self {
        let source = Source::of(resource, namespace).with_fields(&format!("metadata.name={name}"));
        let about = About::Role(namespace.to_owned(), name.to_owned());
        Self::new(about, vec![Arc::new(source)])
    }

    fn new(about: About, sources: Vec<Arc<Source>>) -> Self {
        let (name, headings): (_, &[&str]) = match &about {
            About::Of(_) => ("can", &HEADINGS),
            About::Own(_) => ("can", &HEADINGS[..HEADINGS.len() - 1]),
            About::Role(..) => ("rules", &HEADINGS[..HEADINGS.len() - 1]),
            About::Bound { groups: false } => ("users", &["NAME", "ROLES"]),
            About::Bound { groups: true } => ("groups", &["NAME", "ROLES"]),
        };
        Self {
            of: String::new(),
            list: List::new(name, headings, Vec::new()),
            sources,
            about,
        }
    }

    /// All objects of a kind that the view watches.
    fn objects<'a>(&'a self, plural: &'a str, cx: &'a Cx<'_>) -> impl Iterator<Item = Value> + 'a {
        let sources = self.sources.iter().filter(move |source| source.plural == plural);
        let stores = sources.filter_map(|source| cx.data.get(source));
        stores.flat_map(|store| store.rows()).map(|row| row.object())
    }

    fn bindings<'a>(&'a self, cx: &'a Cx<'_>) -> impl Iterator<Item = Value> + 'a {
        let all = self.objects("clusterrolebindings", cx);
        all.chain(self.objects("rolebindings", cx))
    }

    fn read(&mut self, cx: &Cx<'_>) {
        let rows = match &self.about {
            About::Own(namespace) => {
                let lines = cx.rights.get(namespace).map(|rights| rights.lines());
                lines.unwrap_or_default().iter().map(entry).collect()
            }
            About::Role(namespace, name) => {
                let store = self.sources.first().and_then(|source| cx.data.get(source));
                let role = store
                    .and_then(|store| store.get(namespace, name))
                    .map(|row| row.object());
                let rules = role.as_ref().map(policy::rules_of).unwrap_or_default();
                policy::lines(rules.iter().map(|rule| (rule, "")))
                    .iter()
                    .map(entry)
                    .collect()
            }
            About::Of(subject) => self.granted(subject, cx).iter().map(entry).collect(),
            About::Bound { groups } => self.bound(*groups, cx),
        };
        self.list.set(rows);
    }

    /// All that bindings grant somebody.
    fn granted(&self, subject: &Subject, cx: &Cx<'_>) -> Vec<Line> {
        let name = |object: &Value| mizzen_api::view::name(object).to_owned();
        let namespace = |object: &Value| mizzen_api::view::namespace(object).to_owned();
        let mut roles = BTreeMap::new();
        for plural in ["roles", "clusterroles"] {
            let read = self.objects(plural, cx);
            roles.extend(read.map(|role| ((namespace(&role), name(&role)), policy::rules_of(&role))));
        }
        let bound = self.bindings(cx).filter(|binding| {
            let subjects = policy::subjects(binding);
            subjects.iter().any(|other| subject.is_in(other))
        });
        let grants: Vec<_> = bound
            .filter_map(|binding| {
                let role = RoleRef::of(&binding);
                let within = namespace(&binding);
                let of = if role.kind == "Role" {
                    within.clone()
                } else {
                    String::new()
                };
                let rules = roles.get(&(of, role.name))?;
                let from = match within.as_str() {
                    "" => name(&binding),
                    within => format!("{within}/{}", name(&binding)),
                };
                Some((rules, from))
            })
            .collect();
        policy::lines(
            grants
                .iter()
                .flat_map(|(rules, from)| rules.iter().map(move |rule| (rule, from.as_str()))),
        )
    }

    fn bound(&self, groups: bool, cx: &Cx<'_>) -> Vec<Entry> {
        let mut all: BTreeMap<Subject, Vec<String>> = BTreeMap::new();
        for binding in self.bindings(cx) {
            for subject in policy::subjects(&binding) {
                if matches!(
                    (&subject, groups),
                    (Subject::User(_), false) | (Subject::Group(_), true)
                ) {
                    all.entry(subject).or_default().push(RoleRef::of(&binding).name);
                }
            }
        }
        let row = |(subject, mut roles): (Subject, Vec<String>)| {
            roles.sort();
            roles.dedup();
            let name = subject.to_string();
            Entry {
                cells: vec![name[2..].to_owned(), roles.join(" ")],
                leads: format!("can {subject}"),
                tone: None,
            }
        };
        all.into_iter().map(row).collect()
    }

    /// Why there are no rows.
    fn emptiness(&self, cx: &Cx<'_>) -> String {
        let stores: Vec<_> = self.sources.iter().map(|source| cx.data.get(source)).collect();
        let trouble = stores.iter().flatten().find_map(|store| store.trouble.clone());
        let waiting = match &self.about {
            About::Own(namespace) => !cx.rights.contains_key(namespace),
            _ => stores.iter().any(|store| store.is_none_or(|store| !store.synced)),
        };
        match (trouble, &self.about) {
            (Some(Trouble { code: 403, message }), _) => format!("▲ forbidden: {message}"),
            (Some(Trouble { message, .. }), _) => format!("▲ {message}, trying again"),
            (None, _) if waiting => "◐ asking the server …".to_owned(),
            (None, About::Own(namespace)) => format!("nothing is allowed in {namespace}"),
            (None, About::Role(_, name)) => format!("there is no role {name}, or it allows nothing"),
            (None, About::Of(_)) => "no role is bound to it".to_owned(),
            (None, About::Bound { .. }) => "no role is bound to any".to_owned(),
        }
    }
}

fn entry(line: &Line) -> Entry {
    let mut cells = vec![line.resource.clone(), line.group.clone(), line.names.clone()];
    cells.extend(line.verbs.map(|allowed| if allowed { "✓" } else { "·" }.to_owned()));
    cells.extend([line.others.clone(), line.from.clone()]);
    Entry {
        cells,
        ..Entry::default()
    }
}

impl View for Policy {
    fn crumb(&self) -> String {
        match &self.about {
            About::Role(_, name) => format!("rules of {name}"),
            _ => self.list.crumb(),
        }
    }

    fn title(&self, cx: &Cx<'_>) -> String {
        let count = self.list.len();
        match &self.about {
            About::Own(namespace) => {
                let incomplete = cx.rights.get(namespace).is_some_and(|rights| rights.incomplete);
                let doubt = if incomplete { ", and perhaps more" } else { "" };
                format!("can({namespace})[{count}] what you may do{doubt}")
            }
            About::Of(subject) => format!("can[{count}] {subject}"),
            About::Role(_, name) if self.of.is_empty() => format!("rules[{count}] {name}"),
            About::Role(_, name) => format!("rules[{count}] {name} of {}", self.of),
            About::Bound { .. } => self.list.title(cx),
        }
    }

    fn locator(&self) -> Option<String> {
        match &self.about {
            About::Own(namespace) => Some(format!("can {namespace}")),
            About::Of(subject) => Some(format!("can {subject}")),
            About::Role(..) => None,
            About::Bound { .. } => self.list.locator(),
        }
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        self.list.contexts()
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        self.sources.clone()
    }

    fn shown(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        self.read(cx);
        match &self.about {
            // Asked each time: rights are not watched.
            About::Own(namespace) => vec![Do::Effect(Effect::Rights(namespace.clone()))],
            _ => Vec::new(),
        }
    }

    fn changed(&mut self, source: &Source, _changes: &[Change], cx: &Cx<'_>) {
        if self.sources.iter().any(|own| **own == *source) {
            self.read(cx);
        }
    }

    fn settle(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        if self.sources.is_empty() {
            self.read(cx);
        }
        Vec::new()
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        if self.list.is_empty() {
            let middle = Rect {
                y: area.y + area.height / 3,
                height: area.height - area.height / 3,
                ..area
            };
            let text = Text::styled(self.emptiness(cx), cx.theme.muted).centered();
            return frame.render_widget(text, middle);
        }
        self.list.draw(cx, frame, area);
    }

    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>> {
        match (act, &self.about) {
            (Act::Refresh, About::Own(namespace)) => Some(vec![Do::Effect(Effect::Rights(namespace.clone()))]),
            _ => self.list.act(act, cx),
        }
    }

    fn filter(&self) -> &str {
        self.list.filter()
    }

    fn set_filter(&mut self, text: &str, cx: &Cx<'_>) -> Result<(), String> {
        self.list.set_filter(text, cx)
    }

    fn state(&self) -> Value {
        self.list.state()
    }
}
