//! The state of the whole console, and the one function that changes it: [`App::update`].
//!
//! An update takes an event and gives effects; it does no I/O and reads no clock. Drawing reads the state
//! ([`App::draw`]). Views are stacked per tab; below [`World`] lies what all of them read.

mod command;
mod dialog;
mod draw;
mod prompt;
mod select;
mod stack;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crossterm::event::{KeyEvent, KeyEventKind};
use jiff::{SignedDuration, Timestamp};
use mizzen_api::resource::{self, Registry};
use ratatui::layout::Rect;

use crate::bindings::{self, Act, Bindings};
use crate::data::{Batch, Data, Rights, Source, beside, is_measured};
use crate::effect::Effect;
use crate::event::{Cluster, Event, Notice, Reply, Stamped, Tone, ViewId};
use crate::forwards::Forwards;
use crate::theme::Theme;
use crate::view::{Cx, Do};
use crate::views::perform;
use crate::views::streams;
use dialog::OpenDialog;
use prompt::{Prompt, Purpose};
use stack::Tabs;

/// How long a watch goes on after the last view that looked at it.
const LINGER: SignedDuration = SignedDuration::from_secs(30);
/// How long a notice is shown over the hint bar.
const SHOWN: SignedDuration = SignedDuration::from_secs(5);
/// Notices that the history keeps.
const KEPT: usize = 500;
/// Status code of an answer to credentials that are not, or no longer, good.
const UNAUTHORIZED: u16 = 401;
/// Shortest time between two readings of credentials.
const RENEWALS: SignedDuration = SignedDuration::from_secs(1);
/// Namespaces in which it is asked what one may do.
const RIGHTS: usize = 200;
/// Namespaces behind the digit keys.
const FAVOURITES: usize = 9;

/// How to start.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Context to connect to; the current one when `None`.
    pub context: Option<String>,
    /// Namespaces to begin with; the context's when `None`, all when empty.
    pub namespaces: Option<Vec<String>>,
    /// First view, as a command line.
    pub view: String,
    /// Colours.
    pub theme: Theme,
    /// Whether writing is switched off.
    pub read_only: bool,
    /// Contexts whose writes must be confirmed by typing their name: words that their names contain.
    pub protected: Vec<String>,
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Connecting,
    Up,
    Failed(String),
}

/// What all views read.
#[derive(Debug)]
pub(crate) struct World {
    data: Data,
    registry: Arc<Registry>,
    discovered: bool,
    rights: BTreeMap<String, Rights>,
    cluster: Cluster,
    theme: Theme,
    bindings: Bindings,
    read_only: bool,
    namespaces: Vec<String>,
    favourites: Vec<String>,
    forwards: Forwards,
    notices: Vec<(Timestamp, Notice)>,
    now: Timestamp,
    stale: bool,
}

impl World {
    fn cx(&self, id: ViewId) -> Cx<'_> {
        Cx {
            id,
            now: self.now,
            data: &self.data,
            registry: &self.registry,
            rights: &self.rights,
            cluster: &self.cluster,
            theme: &self.theme,
            bindings: &self.bindings,
            read_only: self.read_only,
            stale: self.stale,
            namespaces: &self.favourites,
            forwards: &self.forwards,
            notices: &self.notices,
        }
    }
}

/// The whole console.
#[derive(Debug)]
pub struct App {
    world: World,
    tabs: Tabs,
    setup: Setup,
    link: Link,
    prompt: Option<Prompt>,
    dialog: Option<OpenDialog>,
    history: Vec<String>,
    filters: Vec<String>,
    toast: Option<(Timestamp, Notice)>,
    header: bool,
    crumbs: bool,
    fullscreen: bool,
    mouse: select::Mouse,
    size: Rect,
    watched: BTreeSet<Arc<Source>>,
    unused: HashMap<Arc<Source>, Timestamp>,
    rights_asked: HashSet<String>,
    /// When credentials were last read again.
    renewed: Option<Timestamp>,
    namespaces_given: bool,
}

impl App {
    /// The console before anything happened, and what it wants done first.
    pub fn new(setup: Setup, bindings: Bindings, now: Timestamp) -> (Self, Vec<Effect>) {
        let namespaces = setup.namespaces.clone();
        let mut app = Self {
            world: World {
                data: Data::default(),
                registry: Arc::new(resource::builtin().clone()),
                discovered: false,
                rights: BTreeMap::new(),
                cluster: Cluster {
                    context: setup.context.clone().unwrap_or_default(),
                    ..Cluster::default()
                },
                theme: setup.theme,
                bindings,
                read_only: setup.read_only,
                namespaces: namespaces.clone().unwrap_or_default(),
                favourites: Vec::new(),
                forwards: Forwards::default(),
                notices: Vec::new(),
                now,
                stale: false,
            },
            tabs: Tabs::default(),
            link: Link::Connecting,
            prompt: None,
            dialog: None,
            history: Vec::new(),
            filters: Vec::new(),
            toast: None,
            header: true,
            crumbs: true,
            fullscreen: false,
            mouse: select::Mouse::default(),
            size: Rect::new(0, 0, 80, 24),
            watched: BTreeSet::new(),
            unused: HashMap::new(),
            rights_asked: HashSet::new(),
            renewed: None,
            namespaces_given: namespaces.is_some(),
            setup,
        };
        let effects = vec![Effect::Connect(app.setup.context.clone())];
        app.prefer_namespaces();
        (app, effects)
    }

    /// Takes in an event and says what should be done about it.
    pub fn update(&mut self, event: Stamped) -> Vec<Effect> {
        self.world.now = self.world.now.max(event.at);
        let mut effects = Vec::new();
        self.handle(event.event, &mut effects);
        self.after(&mut effects);
        effects
    }

    fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => {}
            Event::Key(key) => {
                self.key(key, effects);
                self.ask_rights(effects);
            }
            Event::Paste(text) => self.paste(&text, effects),
            Event::Mouse(mouse) => self.mouse(mouse, effects),
            Event::Resize(width, height) => self.size = Rect::new(0, 0, width, height),
            Event::Tick => self.with_view(effects, |view, cx| view.tick(cx)),
            Event::Continued => {}
            Event::Terminated => effects.push(Effect::Quit),
            Event::Connected(Ok(cluster)) => self.connected(cluster, effects),
            Event::Connected(Err(error)) => {
                self.say(Notice::new(Tone::Bad, format!("cannot connect: {error}")));
                self.link = Link::Failed(error);
            }
            Event::Discovered(rows) => {
                self.world.registry = Arc::new(Registry::new(rows));
                self.world.discovered = true;
                self.with_view(effects, |view, cx| view.shown(cx));
            }
            Event::Data(source, batch) => {
                self.renew(&batch, effects);
                let changed = self.world.data.apply(&source, batch, self.world.now);
                if let Some(open) = self.tabs.top_mut() {
                    let cx = self.world.cx(open.id);
                    for (source, changes) in changed {
                        open.view.changed(&source, &changes, &cx);
                    }
                }
                self.with_view(effects, |view, cx| view.settle(cx));
                // Names to complete may have come.
                if source.plural == "namespaces" && self.prompt.is_some() {
                    self.complete();
                }
            }
            Event::Version(version) => self.world.cluster.version = version,
            Event::Rights(namespace, Ok(rights)) => {
                self.world.rights.insert(namespace, rights);
                self.with_view(effects, |view, cx| view.settle(cx));
            }
            Event::Rights(..) => {}
            Event::Forward(id, news) => self.world.forwards.apply(id, news),
            Event::Reply(to, reply) => self.reply(to, reply, effects),
            Event::Notice(notice) => self.say(notice),
        }
    }

    /// Credentials that the server refuses are read again; what issues them may be a program that we run.
    fn renew(&mut self, batch: &Batch, effects: &mut Vec<Effect>) {
        let now = self.world.now;
        let refused = matches!(batch, Batch::Trouble(trouble) if trouble.code == UNAUTHORIZED);
        let lately = self.renewed.is_some_and(|at| now.duration_since(at) < RENEWALS);
        if refused && !lately {
            self.renewed = Some(now);
            let context = Some(self.world.cluster.context.clone());
            effects.push(Effect::Renew(context.filter(|name| !name.is_empty())));
        }
    }

    fn connected(&mut self, cluster: Cluster, effects: &mut Vec<Effect>) {
        self.link = Link::Up;
        if !self.namespaces_given {
            self.world.namespaces = vec![cluster.namespace.clone()];
        }
        self.world.cluster = cluster;
        self.prefer_namespaces();
        if self.tabs.top().is_none() {
            let line = match self.setup.view.as_str() {
                "" => "pods".to_owned(),
                line => line.to_owned(),
            };
            self.go(&line, effects);
        }
    }

    fn reply(&mut self, to: ViewId, reply: Reply, effects: &mut Vec<Effect>) {
        if let Reply::Answered(answer) = &reply
            && let Some(wanted) = streams::answered(answer, &self.world.cx(to))
        {
            return self.carry_out(to, wanted, effects);
        }
        let wanted = match self.tabs.find_mut(to) {
            Some(open) => open.view.reply(reply, &self.world.cx(to)),
            None => return,
        };
        self.carry_out(to, wanted, effects);
    }

    /// Lets the view on top do something, and carries out what it wants.
    fn with_view(
        &mut self,
        effects: &mut Vec<Effect>,
        work: impl FnOnce(&mut dyn crate::view::View, &Cx<'_>) -> Vec<Do>,
    ) {
        let Some(open) = self.tabs.top_mut() else {
            return;
        };
        let id = open.id;
        let wanted = work(&mut *open.view, &self.world.cx(id));
        self.carry_out(id, wanted, effects);
    }

    fn carry_out(&mut self, from: ViewId, wanted: Vec<Do>, effects: &mut Vec<Effect>) {
        for one in wanted {
            match one {
                Do::Open(view) => self.open(view, effects),
                Do::Go(line) => self.go_above(&line, effects),
                Do::Close => self.close(effects),
                Do::Ask(dialog) => self.dialog = Some(OpenDialog::new(from, dialog, self.protected())),
                Do::Say(notice) => self.say(notice),
                Do::Effect(effect) => effects.push(effect),
                Do::Use(namespaces) => self.use_namespaces(namespaces, effects),
                Do::Forward(request) => effects.push(self.world.forwards.open(request)),
                Do::EndForward(id) => effects.push(self.world.forwards.close(id)),
                Do::Fullscreen(on) => self.fullscreen = on,
            }
        }
    }

    /// The context's name, when writes to it must be confirmed by typing it.
    fn protected(&self) -> Option<String> {
        let context = &self.world.cluster.context;
        let protected = self.setup.protected.iter().any(|word| context.contains(word.as_str()));
        protected.then(|| context.clone())
    }

    fn say(&mut self, notice: Notice) {
        self.toast = Some((self.world.now + SHOWN, notice.clone()));
        self.world.notices.push((self.world.now, notice));
        if self.world.notices.len() > KEPT {
            self.world.notices.remove(0);
        }
    }

    /// Shows why a key does nothing, without a place in the history.
    fn hint(&mut self, text: impl Into<String>) {
        self.toast = Some((self.world.now + SHOWN, Notice::new(Tone::Warning, text)));
    }

    fn key(&mut self, key: KeyEvent, effects: &mut Vec<Effect>) {
        if let Some(dialog) = &mut self.dialog {
            let (to, answer) = (dialog.owner(), dialog.key(key));
            match answer {
                dialog::Outcome::Open => {}
                dialog::Outcome::Closed => {
                    self.dialog = None;
                    self.reply(to, Reply::Cancelled, effects);
                }
                dialog::Outcome::Answered(answer) => {
                    self.dialog = None;
                    self.reply(to, Reply::Answered(answer), effects);
                }
            }
            return;
        }
        if self.prompt.is_some() {
            return self.prompt_key(key, effects);
        }
        let taken = self.tabs.top_mut().and_then(|open| {
            let cx = self.world.cx(open.id);
            open.view.key(key, &cx).map(|wanted| (open.id, wanted))
        });
        if let Some((id, wanted)) = taken {
            return self.carry_out(id, wanted, effects);
        }
        let contexts = self.tabs.top().map_or_else(Vec::new, |open| open.view.contexts());
        match self.world.bindings.find(&contexts, key) {
            Some(act) => self.act(act, effects),
            None => {
                let key_text = bindings::shown(key);
                self.hint(match bindings::k9s::why_nothing(&contexts, key) {
                    Some(why) => format!("{key_text} does nothing here: {why}"),
                    None => format!("{key_text} does nothing here (? shows the keys)"),
                });
            }
        }
    }

    fn act(&mut self, act: Act, effects: &mut Vec<Effect>) {
        let taken = self.tabs.top_mut().and_then(|open| {
            let cx = self.world.cx(open.id);
            open.view.act(act, &cx).map(|wanted| (open.id, wanted))
        });
        let taken = taken.or_else(|| {
            let open = self.tabs.top()?;
            let wanted = perform::begin(act, &*open.view, &self.world.cx(open.id))?;
            Some((open.id, wanted))
        });
        let taken = taken.or_else(|| self.act_on_rows(act));
        if let Some((id, wanted)) = taken {
            return self.carry_out(id, wanted, effects);
        }
        match act {
            Act::PortForwards => self.go_above("pf", effects),
            Act::Command => self.ask(Purpose::Command, ""),
            Act::Filter => self.begin_filter(),
            Act::ClearFilter => self.set_filter("", effects),
            Act::Help => self.go_above("help", effects),
            Act::Aliases => self.go_above("aliases", effects),
            Act::Notices => self.go_above("notices", effects),
            Act::Back => self.back(effects),
            Act::Quit => effects.push(Effect::Quit),
            Act::HistoryBack => self.travel(stack::Way::Back, effects),
            Act::HistoryForward => self.travel(stack::Way::Forward, effects),
            Act::HistoryLast => self.travel(stack::Way::Last, effects),
            Act::Refresh => {
                // What is watched is current; what is measured is read again.
                let measured: Vec<_> = self.watched.iter().filter(|s| is_measured(s)).cloned().collect();
                for source in measured {
                    effects.push(Effect::Unwatch(source.clone()));
                    effects.push(Effect::Watch(source));
                }
                self.with_view(effects, |view, cx| view.shown(cx));
            }
            Act::Header => self.header = !self.header,
            Act::Crumbs => self.crumbs = !self.crumbs,
            Act::ReadOnly if self.world.read_only && self.setup.read_only => {
                self.hint("started with --read-only: only a restart allows writing");
            }
            Act::ReadOnly => self.world.read_only = !self.world.read_only,
            Act::Skin => {
                self.world.theme = self.world.theme.next();
                self.hint(format!("skin {}", self.world.theme.name));
            }
            Act::TabNew => self.new_tab(effects),
            Act::TabNext => self.switch_tab(effects),
            Act::TabClose => self.close_tab(effects),
            Act::Suspend => effects.push(Effect::Suspend),
            other => {
                let binding = bindings::BINDINGS.iter().find(|b| b.act == other);
                let what = binding.map_or("this", |b| b.description);
                self.hint(format!("nothing here to do this with: {what}"));
            }
        }
    }

    /// Does what a key means for the rows that are chosen.
    fn act_on_rows(&self, act: Act) -> Option<(ViewId, Vec<Do>)> {
        let open = self.tabs.top()?;
        let cx = self.world.cx(open.id);
        let (resource, rows) = open.view.chosen(&cx)?;
        let wanted = match (open.view.container(), rows.as_slice()) {
            (Some(container), [pod]) => streams::act_in(act, &resource, pod, &container, &cx),
            _ => streams::act(act, &resource, &rows, &cx),
        };
        wanted.map(|wanted| (open.id, wanted))
    }

    fn paste(&mut self, text: &str, effects: &mut Vec<Effect>) {
        if let Some(dialog) = &mut self.dialog {
            dialog.paste(text);
        } else if let Some(prompt) = &mut self.prompt {
            prompt.paste(text);
            self.prompt_changed(effects);
        } else {
            self.with_view(effects, |view, cx| view.paste(text, cx));
        }
    }

    fn begin_filter(&mut self) {
        let Some(open) = self.tabs.top_mut() else {
            return;
        };
        open.view.filtering();
        let filter = open.view.filter().to_owned();
        self.ask(Purpose::Filter, &filter);
    }

    fn set_filter(&mut self, text: &str, effects: &mut Vec<Effect>) {
        let mut failed = None;
        self.with_view(effects, |view, cx| {
            failed = view.set_filter(text, cx).err();
            Vec::new()
        });
        if let Some(prompt) = &mut self.prompt {
            prompt.set_error(failed);
        } else if let Some(error) = failed {
            self.hint(error);
        }
    }

    /// Clears the filter; without one, goes one level up.
    fn back(&mut self, effects: &mut Vec<Effect>) {
        let filtered = self.tabs.top().is_some_and(|open| !open.view.filter().is_empty());
        if filtered {
            return self.set_filter("", effects);
        }
        if std::mem::take(&mut self.fullscreen) {
            return;
        }
        self.close(effects);
    }

    fn use_namespaces(&mut self, namespaces: Vec<String>, effects: &mut Vec<Effect>) {
        self.world.namespaces = namespaces;
        self.prefer_namespaces();
        let namespaces = self.world.namespaces.clone();
        let mut used = false;
        self.with_view(effects, |view, cx| {
            used = view.set_namespaces(&namespaces, cx);
            if used { view.shown(cx) } else { Vec::new() }
        });
    }

    /// The namespaces in use come to the digit keys.
    fn prefer_namespaces(&mut self) {
        for namespace in self.world.namespaces.iter().filter(|n| !n.is_empty()) {
            if !self.world.favourites.contains(namespace) && self.world.favourites.len() < FAVOURITES {
                self.world.favourites.push(namespace.clone());
            }
        }
    }

    /// Brings watches, rights and health in line with the views.
    fn after(&mut self, effects: &mut Vec<Effect>) {
        let now = self.world.now;
        if self.toast.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.toast = None;
        }
        if self.link == Link::Up {
            self.align_watches(effects);
            let mut asked: Vec<String> = self.world.namespaces.clone();
            if asked.is_empty() {
                asked.push(String::new());
            }
            for namespace in asked {
                self.ask_rights_in(namespace, effects);
            }
        }
        let top = self.tabs.top().map(|open| open.view.sources()).unwrap_or_default();
        self.world.stale = top.iter().any(|source| {
            let store = self.world.data.get(source);
            store.is_some_and(|s| s.synced && s.trouble.is_some())
        });
    }

    fn ask_rights_in(&mut self, namespace: String, effects: &mut Vec<Effect>) {
        if self.rights_asked.insert(namespace.clone()) {
            effects.push(Effect::Rights(namespace));
        }
    }

    /// Where all namespaces are shown, what one may do is asked for those that the cursor comes to.
    fn ask_rights(&mut self, effects: &mut Vec<Effect>) {
        if self.link != Link::Up || !self.world.namespaces.is_empty() || self.rights_asked.len() >= RIGHTS {
            return;
        }
        let Some(open) = self.tabs.top() else { return };
        let chosen = open.view.first_chosen(&self.world.cx(open.id));
        let namespace = chosen.map(|(_, row)| row.row.namespace.to_string());
        if let Some(namespace) = namespace.filter(|n| !n.is_empty()) {
            self.ask_rights_in(namespace, effects);
        }
    }

    fn align_watches(&mut self, effects: &mut Vec<Effect>) {
        let now = self.world.now;
        let mut wanted: BTreeSet<Arc<Source>> = self.tabs.views().flat_map(|open| open.view.sources()).collect();
        if self.completes_namespaces() {
            let namespaces = self.world.registry.resolve("namespaces");
            wanted.extend(namespaces.map(|namespaces| Arc::new(Source::of(namespaces, ""))));
        }
        if self.world.discovered {
            let measured = wanted.iter().filter_map(|source| beside(source, &self.world.registry));
            let measured: Vec<_> = measured.map(Arc::new).collect();
            wanted.extend(measured);
        }
        for source in &wanted {
            self.unused.remove(source);
            if self.watched.insert(source.clone()) {
                self.world.data.open(source);
                effects.push(Effect::Watch(source.clone()));
            }
        }
        let idle: Vec<_> = self.watched.difference(&wanted).cloned().collect();
        for source in idle {
            let since = *self.unused.entry(source.clone()).or_insert(now);
            if now.duration_since(since) >= LINGER {
                self.unused.remove(&source);
                self.watched.remove(&source);
                self.world.data.close(&source);
                effects.push(Effect::Unwatch(source));
            }
        }
    }

    /// When the next [`Event::Tick`] is wanted, if nothing else happens.
    pub fn due(&self) -> Option<Timestamp> {
        let toast = self.toast.as_ref().map(|(until, _)| *until);
        let linger = self.unused.values().min().map(|since| *since + LINGER);
        let view = self.tabs.top().and_then(|open| open.view.due(&self.world.cx(open.id)));
        [toast, linger, view].into_iter().flatten().min()
    }

    /// State of the view on top, for tests and bug reports.
    pub fn state(&self) -> serde_json::Value {
        self.tabs.top().map(|open| open.view.state()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
