//! What a view is, and what it may ask for.
//!
//! To add a view: a file under `views/` with a struct (deriving `Serialize`) that implements [`View`], and a
//! row in [`crate::views::open`]'s table with the command that opens it. A view holds no client: it reads
//! rows from [`Cx::data`] for the watches that it names in [`View::sources`], and asks for everything else
//! by returning [`Do`]s. Its own keys are rows of [`crate::bindings`] whose context it lists in
//! [`View::contexts`]. The app keeps views as they are when others cover them, so scroll, selection and filter
//! come back with them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;
use mizzen_api::resource::{Registry, Resource};
use ratatui::Frame;
use ratatui::layout::Rect;
use serde_json::Value;

use crate::bindings::{Act, Bindings};
use crate::data::{Change, Data, Rights, Source};
use crate::effect::Effect;
use crate::event::{Answer, Cluster, Notice, Reply, Tone, ViewId};
use crate::theme::Theme;

/// What [`Cx::lacks`] says where writing is switched off.
pub const READ_ONLY: &str = "read-only";

/// What every view may read.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    /// The view that is asked.
    pub id: ViewId,
    /// Now, as the event tells it.
    pub now: Timestamp,
    /// All rows.
    pub data: &'a Data,
    /// What the server serves.
    pub registry: &'a Arc<Registry>,
    /// What one may do, by namespace.
    pub rights: &'a BTreeMap<String, Rights>,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Colours.
    pub theme: &'a Theme,
    /// Keys.
    pub bindings: &'a Bindings,
    /// Whether writing is switched off.
    pub read_only: bool,
    /// Whether the data on screen is old because the server cannot be reached.
    pub stale: bool,
    /// Namespaces used lately, for the digit keys.
    pub namespaces: &'a [String],
    /// Port-forwards.
    pub forwards: &'a crate::forwards::Forwards,
    /// What was done and said, latest last.
    pub notices: &'a [(Timestamp, Notice)],
}

impl Cx<'_> {
    /// Why something is not allowed, if we know that it is not: read-only mode, or the missing verb.
    pub fn forbids(&self, verb: &str, resource: &Resource, subresource: &str, namespace: &str) -> Option<String> {
        let lacks = self.lacks(verb, resource, subresource, namespace)?;
        Some(match lacks.as_str() {
            READ_ONLY => "read-only mode is on (f2 switches it off)".to_owned(),
            right => format!("forbidden: you may not {right} here"),
        })
    }

    /// What is missing for something, in two words: `delete pods`, or [`READ_ONLY`].
    pub fn lacks(&self, verb: &str, resource: &Resource, subresource: &str, namespace: &str) -> Option<String> {
        let reads = matches!(verb, "get" | "list" | "watch");
        if self.read_only && !reads {
            return Some(READ_ONLY.to_owned());
        }
        let name = match subresource {
            "" => resource.plural.to_string(),
            sub => format!("{}/{sub}", resource.plural),
        };
        let rights = self.rights.get(namespace)?;
        let allowed = rights.allow(verb, &resource.group, &name);
        (!allowed).then(|| format!("{verb} {name}"))
    }
}

/// What a view wants to happen.
#[derive(Debug)]
pub enum Do {
    /// Open a view above this one.
    Open(Box<dyn View>),
    /// Go where a command line of the prompt goes, above this view.
    Go(String),
    /// Go back to what was below.
    Close,
    /// Ask something; the answer comes as [`Reply::Answered`].
    Ask(Dialog),
    /// Put a notice into the history and show it for a while.
    Say(Notice),
    /// Do something outside.
    Effect(Effect),
    /// Use these namespaces from now on; empty for all.
    Use(Vec<String>),
    /// Forward ports, until that is ended.
    Forward(crate::forwards::Request),
    /// End a port-forward.
    EndForward(u64),
    /// Show only the view, or everything again.
    Fullscreen(bool),
}

impl Do {
    /// Says something.
    pub fn say(tone: Tone, text: impl Into<String>) -> Self {
        Self::Say(Notice::new(tone, text))
    }

    /// Says why a key does nothing.
    pub fn why(text: impl Into<String>) -> Vec<Self> {
        vec![Self::say(Tone::Warning, text)]
    }
}

/// A question over the view. `Esc` answers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dialog {
    /// How the view calls it, to know the answer by.
    pub name: String,
    /// Heading.
    pub title: String,
    /// Text above the fields. A line that begins with `+`, `-` or `@@` is coloured as a diff.
    pub lines: Vec<String>,
    /// What can be filled in.
    pub fields: Vec<Field>,
    /// Buttons; the first is `Cancel` and has the focus at first where [`Dialog::dangerous`].
    pub buttons: Vec<String>,
    /// Whether it destroys something.
    pub dangerous: bool,
    /// Text that must be typed before any button but the first works; empty for none.
    pub confirm: String,
}

/// A field of a dialog.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// Its label, under which [`Answer::values`] holds the value.
    pub label: String,
    /// Its value.
    pub value: String,
    /// What it takes.
    pub kind: FieldKind,
}

/// What a field takes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum FieldKind {
    /// A line of text.
    Text,
    /// A box: `true` or `false`.
    Check,
    /// One of these.
    Choice(Vec<String>),
}

impl Dialog {
    /// What an answer to this dialog would be now.
    pub fn answer(&self, button: &str) -> Answer {
        Answer {
            dialog: self.name.clone(),
            button: button.to_owned(),
            values: self.fields.iter().map(|f| (f.label.clone(), f.value.clone())).collect(),
        }
    }
}

/// Something that fills the screen below the header.
pub trait View: Debug + Send {
    /// A word or two for the crumbs.
    fn crumb(&self) -> String;

    /// The heading of the frame.
    fn title(&self, cx: &Cx<'_>) -> String;

    /// The command line that opens this view, where there is one.
    fn locator(&self) -> Option<String> {
        None
    }

    /// Where its keys are found in the table of bindings, most particular first.
    fn contexts(&self) -> Vec<&'static str>;

    /// Whether it answers to few of the keys of tables and texts, so that hints should not name those.
    fn is_plain(&self) -> bool {
        false
    }

    /// The watches that it shows.
    fn sources(&self) -> Vec<Arc<Source>> {
        Vec::new()
    }

    /// It is shown: first, or again after others covered it. Rows may have changed meanwhile.
    fn shown(&mut self, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// Others cover it: it should let go of what can be computed again.
    fn covered(&mut self) {}

    /// What it is part of is left for another tab or another place; it may be long until it is shown again.
    fn left(&mut self) {}

    /// Draws it.
    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect);

    /// Does what a key stands for; `None` when that means nothing to this view.
    fn act(&mut self, act: Act, cx: &Cx<'_>) -> Option<Vec<Do>>;

    /// Takes a key before any binding is looked up, as a terminal does.
    fn key(&mut self, _key: KeyEvent, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        None
    }

    /// Takes pasted text.
    fn paste(&mut self, _text: &str, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// Takes the mouse; `area` is where the view was drawn.
    fn mouse(&mut self, _mouse: MouseEvent, _area: Rect, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// Rows of one of its watches changed.
    fn changed(&mut self, _source: &Source, _changes: &[Change], _cx: &Cx<'_>) {}

    /// Comes after [`View::changed`], once per batch: what should follow from the changes.
    fn settle(&mut self, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// The answer of a job or a dialog that it started.
    fn reply(&mut self, _reply: Reply, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// The filter or search, as the prompt shows it.
    fn filter(&self) -> &str {
        ""
    }

    /// Sets the filter or search while it is typed.
    fn set_filter(&mut self, _text: &str, _cx: &Cx<'_>) -> Result<(), String> {
        Err("there is nothing to filter here".to_owned())
    }

    /// Somebody is about to type a filter.
    fn filtering(&mut self) {}

    /// Uses other namespaces; empty for all. `false` when it has none.
    fn set_namespaces(&mut self, _namespaces: &[String], _cx: &Cx<'_>) -> bool {
        false
    }

    /// The time that [`View::due`] named has come.
    fn tick(&mut self, _cx: &Cx<'_>) -> Vec<Do> {
        Vec::new()
    }

    /// When time alone changes what it shows.
    fn due(&self, _cx: &Cx<'_>) -> Option<Timestamp> {
        None
    }

    /// The rows that are marked or selected, for actions of the kind: resource, and objects.
    fn chosen(&self, _cx: &Cx<'_>) -> Option<(Arc<Resource>, Vec<Arc<crate::data::Row>>)> {
        None
    }

    /// The first of those, without gathering the others.
    fn first_chosen(&self, cx: &Cx<'_>) -> Option<(Arc<Resource>, Arc<crate::data::Row>)> {
        let (resource, rows) = self.chosen(cx)?;
        Some((resource, rows.first()?.clone()))
    }

    /// The container that is meant, where the rows that are chosen are Pods and the view shows containers.
    fn container(&self) -> Option<String> {
        None
    }

    /// Its state, for tests and bug reports.
    fn state(&self) -> Value;
}
