//! The command prompt: `:KIND [NS[,NS]] [/FILTER] [LABELS] [@CONTEXT]`, and the words that are no kinds.

use crate::bindings::Act;
use crate::effect::Effect;
use crate::theme::Theme;
use crate::views;

use super::{App, Link};

impl App {
    /// Runs a command line; a view that it opens begins a new stack.
    pub(super) fn go(&mut self, line: &str, effects: &mut Vec<Effect>) {
        self.run(line, false, effects);
    }

    /// Runs a command line; a view that it opens lies above the present one.
    pub(super) fn go_above(&mut self, line: &str, effects: &mut Vec<Effect>) {
        self.run(line, true, effects);
    }

    fn run(&mut self, line: &str, above: bool, effects: &mut Vec<Effect>) {
        let line = line.trim();
        let (line, context) = match line.rsplit_once('@') {
            Some((line, context)) if line.ends_with(' ') && !context.contains([' ', '/']) => {
                (line.trim(), Some(context))
            }
            _ => (line, None),
        };
        if let Some(context) = context.filter(|c| *c != self.world.cluster.context) {
            self.setup.view = line.to_owned();
            return self.use_context(context.to_owned(), effects);
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest.trim()) {
            ("q" | "q!" | "qa" | "qa!" | "quit" | "exit", _) => return effects.push(Effect::Quit),
            ("readonly" | "ro!", _) => return self.act(Act::ReadOnly, effects),
            ("skin", "") => return self.act(Act::Skin, effects),
            ("skin", name) => {
                return match Theme::named(name) {
                    Some(theme) => self.world.theme = theme,
                    None => self.hint(format!("there is no skin {name:?}")),
                };
            }
            ("ctx" | "context" | "contexts", name) if !name.is_empty() => {
                return self.use_context(name.to_owned(), effects);
            }
            ("ns" | "namespace" | "namespaces", name) if !name.is_empty() => {
                let namespaces = views::namespaces(name);
                return self.use_namespaces(namespaces, effects);
            }
            _ => {}
        }
        let namespaces = self.world.namespaces.clone();
        match views::open(line, &namespaces, &self.world.cx(crate::event::ViewId::default())) {
            Ok(opened) => {
                if let Some(namespaces) = opened.namespaces {
                    self.world.namespaces = namespaces;
                    self.prefer_namespaces();
                }
                match above {
                    true => self.open(opened.view, effects),
                    false => self.open_anew(opened.view, effects),
                }
            }
            Err(error) => self.hint(error),
        }
    }

    /// Connects to another context; every view closes.
    pub(super) fn use_context(&mut self, context: String, effects: &mut Vec<Effect>) {
        let known = &self.world.cluster.contexts;
        if !known.is_empty() && known.iter().all(|c| c.name != context) {
            return self.hint(format!("there is no context {context:?} in the kubeconfig"));
        }
        let stopped: Vec<_> = self.tabs.views().map(|open| Effect::Stop(open.id)).collect();
        effects.extend(stopped);
        self.close_all();
        self.watched.clear();
        self.unused.clear();
        self.rights_asked.clear();
        self.world.rights.clear();
        self.world.data.clear();
        self.world.forwards.clear();
        self.world.favourites.clear();
        self.world.discovered = false;
        self.namespaces_given = false;
        self.link = Link::Connecting;
        self.world.cluster.context.clone_from(&context);
        effects.push(Effect::Connect(Some(context)));
    }
}
