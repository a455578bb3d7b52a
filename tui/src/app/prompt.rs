//! The line at which commands and filters are typed.

use std::collections::BTreeSet;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::data::Source;
use crate::effect::Effect;
use crate::views;

use super::App;

/// Command lines that are remembered.
const REMEMBERED: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Command,
    Filter,
}

/// An open prompt.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) purpose: Purpose,
    pub(super) text: String,
    /// What the filter was before.
    before: String,
    /// Completions of the text, and which of them is offered.
    pub(super) offers: Vec<String>,
    pub(super) offer: usize,
    pub(super) error: Option<String>,
}

impl Prompt {
    pub(super) fn new(purpose: Purpose, text: &str) -> Self {
        Self {
            purpose,
            text: text.to_owned(),
            before: text.to_owned(),
            offers: Vec::new(),
            offer: 0,
            error: None,
        }
    }

    pub(super) fn set_error(&mut self, error: Option<String>) {
        self.error = error;
    }

    pub(super) fn paste(&mut self, text: &str) {
        self.text.extend(text.chars().filter(|c| !c.is_control()));
    }

    /// What would be added by accepting the offer.
    pub(super) fn ghost(&self) -> &str {
        let offer = self.offers.get(self.offer).map_or("", String::as_str);
        offer.strip_prefix(self.text.as_str()).unwrap_or_default()
    }
}

impl App {
    pub(super) fn prompt_key(&mut self, key: KeyEvent, effects: &mut Vec<Effect>) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => return self.leave_prompt(effects),
            KeyCode::Char('c') if control => return self.leave_prompt(effects),
            KeyCode::Enter => return self.enter_prompt(effects),
            KeyCode::Char('e') if control => return self.enter_prompt(effects),
            KeyCode::Tab | KeyCode::Right => {
                let ghost = prompt.ghost().to_owned();
                prompt.text.push_str(&ghost);
            }
            KeyCode::Char('f') if control => {
                let ghost = prompt.ghost().to_owned();
                prompt.text.push_str(&ghost);
            }
            KeyCode::Up | KeyCode::Down => {
                let count = prompt.offers.len().max(1);
                let step = if key.code == KeyCode::Up { count - 1 } else { 1 };
                prompt.offer = (prompt.offer + step) % count;
                return;
            }
            KeyCode::Backspace => {
                if prompt.text.pop().is_none() && prompt.purpose == Purpose::Command {
                    return self.leave_prompt(effects);
                }
            }
            KeyCode::Char('u' | 'w') if control => prompt.text.clear(),
            KeyCode::Char(c) if !control => prompt.text.push(c),
            _ => return,
        }
        self.prompt_changed(effects);
    }

    pub(super) fn prompt_changed(&mut self, effects: &mut Vec<Effect>) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        prompt.offer = 0;
        if prompt.purpose == Purpose::Filter {
            let text = prompt.text.clone();
            self.set_filter(&text, effects);
        }
        self.complete();
    }

    /// Opens the prompt.
    pub(super) fn ask(&mut self, purpose: Purpose, text: &str) {
        self.prompt = Some(Prompt::new(purpose, text));
        self.complete();
    }

    /// Offers ends of what is typed: names that fit, and what was typed before.
    pub(super) fn complete(&mut self) {
        let (text, purpose) = match &self.prompt {
            Some(prompt) => (prompt.text.clone(), prompt.purpose),
            None => return,
        };
        let mut offers: Vec<String> = Vec::new();
        if text.is_empty() {
            // Nothing is offered until somebody goes up, to what was typed last.
            let known = match purpose {
                Purpose::Command => &self.history,
                Purpose::Filter => &self.filters,
            };
            offers.push(String::new());
            offers.extend(known.iter().cloned());
        } else if purpose == Purpose::Filter {
            let old = self.filters.iter().rev();
            offers.extend(old.filter(|l| l.starts_with(&text) && **l != text).cloned());
        } else {
            let namespaces = match text.contains(' ') {
                true => self.known_namespaces(),
                false => Vec::new(),
            };
            let old = self.history.iter().rev();
            let old = old.filter(|l| l.starts_with(&text) && **l != text);
            let cx = self.world.cx(crate::event::ViewId::default());
            offers.extend(views::completions(&text, &namespaces, &cx));
            offers.extend(old.cloned());
        }
        if let Some(prompt) = &mut self.prompt {
            prompt.offers = offers;
        }
    }

    /// Whether the prompt is where a namespace may stand, so that their names are wanted.
    pub(super) fn completes_namespaces(&self) -> bool {
        let prompt = self.prompt.as_ref();
        prompt.is_some_and(|p| p.purpose == Purpose::Command && p.text.contains(' '))
    }

    /// Those that the server lists; where it does not let us, those in use and those of the rows on screen.
    fn known_namespaces(&self) -> Vec<String> {
        let data = &self.world.data;
        let listed = self.world.registry.resolve("namespaces").and_then(|namespaces| {
            let store = data.get(&Source::of(namespaces, ""))?;
            (!store.is_empty()).then_some(store)
        });
        let mut names: BTreeSet<&str> = self.world.favourites.iter().map(String::as_str).collect();
        match listed {
            Some(store) => names.extend(store.rows().map(|row| &*row.row.name)),
            None => {
                let sources = self.tabs.top().map(|open| open.view.sources()).unwrap_or_default();
                let stores = sources.iter().filter_map(|source| data.get(source));
                names.extend(stores.flat_map(|s| s.rows()).map(|row| &*row.row.namespace));
                names.remove("");
            }
        }
        names.into_iter().map(str::to_owned).collect()
    }

    fn leave_prompt(&mut self, effects: &mut Vec<Effect>) {
        if let Some(prompt) = self.prompt.take()
            && prompt.purpose == Purpose::Filter
        {
            self.set_filter(&prompt.before, effects);
        }
    }

    fn enter_prompt(&mut self, effects: &mut Vec<Effect>) {
        let Some(prompt) = self.prompt.take() else {
            return;
        };
        let line = prompt.text.trim().to_owned();
        if line.is_empty() {
            return;
        }
        let known = match prompt.purpose {
            Purpose::Command => &mut self.history,
            Purpose::Filter => &mut self.filters,
        };
        known.retain(|old| *old != line);
        known.push(line.clone());
        if known.len() > REMEMBERED {
            known.remove(0);
        }
        if prompt.purpose == Purpose::Command {
            self.go(&line, effects);
        }
    }
}
