//! Tabs, the views stacked in each, and the stacks that were left, kept as they were.

use crate::effect::Effect;
use crate::event::ViewId;
use crate::view::View;

use super::App;

/// Stacks that a tab remembers on each side.
const REMEMBERED: usize = 20;

/// A view that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: ViewId,
    pub(super) view: Box<dyn View>,
}

#[derive(Debug, Default)]
pub(super) struct Tab {
    stack: Vec<Open>,
    past: Vec<Vec<Open>>,
    future: Vec<Vec<Open>>,
}

impl Tab {
    /// Something else is shown, and nobody knows for how long.
    fn leave(&mut self) {
        for open in &mut self.stack {
            open.view.left();
        }
        if let Some(open) = self.stack.last_mut() {
            open.view.covered();
        }
    }
}

/// All tabs; there is always one.
#[derive(Debug)]
pub(super) struct Tabs {
    all: Vec<Tab>,
    at: usize,
    next: u64,
}

/// Where in the history to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Back,
    Forward,
    Last,
}

impl Default for Tabs {
    fn default() -> Self {
        Self {
            all: vec![Tab::default()],
            at: 0,
            next: 1,
        }
    }
}

impl Tabs {
    fn tab(&mut self) -> &mut Tab {
        &mut self.all[self.at]
    }

    pub(super) fn top(&self) -> Option<&Open> {
        self.all[self.at].stack.last()
    }

    pub(super) fn top_mut(&mut self) -> Option<&mut Open> {
        self.all[self.at].stack.last_mut()
    }

    /// Crumbs of the current tab.
    pub(super) fn crumbs(&self) -> impl Iterator<Item = String> {
        self.all[self.at].stack.iter().map(|open| open.view.crumb())
    }

    /// The name of each tab, and which is current.
    pub(super) fn names(&self) -> (Vec<String>, usize) {
        let name = |tab: &Tab| tab.stack.last().map_or_else(String::new, |open| open.view.crumb());
        (self.all.iter().map(name).collect(), self.at)
    }

    /// Views that are open: those that can be reached by going up, in every tab.
    pub(super) fn views(&self) -> impl Iterator<Item = &Open> {
        self.all.iter().flat_map(|tab| &tab.stack)
    }

    pub(super) fn find_mut(&mut self, id: ViewId) -> Option<&mut Open> {
        self.all
            .iter_mut()
            .flat_map(|tab| &mut tab.stack)
            .find(|open| open.id == id)
    }

    fn forget(stacks: &mut Vec<Vec<Open>>, effects: &mut Vec<Effect>) {
        if stacks.len() > REMEMBERED {
            effects.extend(stacks.remove(0).into_iter().map(|open| Effect::Stop(open.id)));
        }
    }
}

impl App {
    /// Puts a view on top.
    pub(super) fn open(&mut self, view: Box<dyn View>, effects: &mut Vec<Effect>) {
        if let Some(open) = self.tabs.top_mut() {
            open.view.covered();
        }
        let id = ViewId(self.tabs.next);
        self.tabs.next += 1;
        self.tabs.tab().stack.push(Open { id, view });
        self.with_view(effects, |view, cx| view.shown(cx));
    }

    /// Begins a new stack with a view; the old one can be come back to.
    pub(super) fn open_anew(&mut self, view: Box<dyn View>, effects: &mut Vec<Effect>) {
        self.tabs.tab().leave();
        let tab = self.tabs.tab();
        let old = std::mem::take(&mut tab.stack);
        if !old.is_empty() {
            tab.past.push(old);
            Tabs::forget(&mut tab.past, effects);
        }
        for left in tab.future.drain(..).flatten() {
            effects.push(Effect::Stop(left.id));
        }
        self.open(view, effects);
    }

    /// Goes one level up.
    pub(super) fn close(&mut self, effects: &mut Vec<Effect>) {
        let tab = self.tabs.tab();
        if tab.stack.len() < 2 {
            if tab.past.is_empty() {
                return self.hint("this is the first view (:q or ctrl-c quits)");
            }
            return self.travel(Way::Back, effects);
        }
        self.fullscreen = false;
        if let Some(closed) = tab.stack.pop() {
            effects.push(Effect::Stop(closed.id));
        }
        self.with_view(effects, |view, cx| view.shown(cx));
    }

    /// Through the stacks that were left.
    pub(super) fn travel(&mut self, way: Way, effects: &mut Vec<Effect>) {
        let tab = self.tabs.tab();
        let forward = match way {
            Way::Back => false,
            Way::Forward => true,
            // The one that was left last: behind, unless we just came back.
            Way::Last => tab.past.is_empty(),
        };
        let (from, to) = match forward {
            true => (&mut tab.future, &mut tab.past),
            false => (&mut tab.past, &mut tab.future),
        };
        let Some(stack) = from.pop() else {
            return self.hint("no other view in this direction");
        };
        for open in &mut tab.stack {
            open.view.left();
        }
        if let Some(open) = tab.stack.last_mut() {
            open.view.covered();
        }
        to.push(std::mem::replace(&mut tab.stack, stack));
        self.with_view(effects, |view, cx| view.shown(cx));
    }

    pub(super) fn new_tab(&mut self, effects: &mut Vec<Effect>) {
        let line = self.tabs.top().and_then(|open| open.view.locator());
        self.tabs.tab().leave();
        self.tabs.all.push(Tab::default());
        self.tabs.at = self.tabs.all.len() - 1;
        self.go(&line.unwrap_or_else(|| "pods".to_owned()), effects);
    }

    pub(super) fn switch_tab(&mut self, effects: &mut Vec<Effect>) {
        if self.tabs.all.len() < 2 {
            return self.hint("there is one tab only (ctrl-t opens another)");
        }
        self.tabs.tab().leave();
        self.tabs.at = (self.tabs.at + 1) % self.tabs.all.len();
        self.with_view(effects, |view, cx| view.shown(cx));
    }

    pub(super) fn close_tab(&mut self, effects: &mut Vec<Effect>) {
        if self.tabs.all.len() < 2 {
            return self.hint("the last tab stays (ctrl-c quits)");
        }
        let closed = self.tabs.all.remove(self.tabs.at);
        let stacks = closed.past.into_iter().chain(closed.future).chain([closed.stack]);
        effects.extend(stacks.flatten().map(|open| Effect::Stop(open.id)));
        self.tabs.at = self.tabs.at.min(self.tabs.all.len() - 1);
        self.with_view(effects, |view, cx| view.shown(cx));
    }

    /// Forgets every view, because the cluster is another.
    pub(super) fn close_all(&mut self) {
        let next = self.tabs.next;
        self.tabs = Tabs {
            next,
            ..Tabs::default()
        };
    }
}
