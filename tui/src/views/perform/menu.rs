//! Everything that can be done to the selected objects, with the keys; what is forbidden is struck out and
//! says what is missing.

use std::sync::Arc;

use mizzen_api::console::action::{self, Action, Danger};
use mizzen_api::resource::Resource;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::widgets::{Row as Cells, Table};
use serde::Serialize;
use serde_json::Value;

use super::{Perform, forbidden, keys_of};
use crate::bindings::Act;
use crate::data::Row;
use crate::view::{Cx, Do, View};

/// The view.
#[derive(Debug, Serialize)]
pub(super) struct Menu {
    #[serde(skip)]
    resource: Arc<Resource>,
    keys: Vec<(String, String)>,
    entries: Vec<Entry>,
    at: usize,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(skip)]
    action: &'static Action,
    name: &'static str,
    forbidden: Option<String>,
}

impl Menu {
    pub(super) fn new(resource: Arc<Resource>, rows: &[Arc<Row>], cx: &Cx<'_>) -> Self {
        let keys = keys_of(rows);
        let entries = action::actions(&resource).map(|action| Entry {
            action,
            name: action.name,
            forbidden: forbidden(action, &resource, &keys, cx),
        });
        Self {
            entries: entries.collect(),
            resource,
            keys,
            at: 0,
        }
    }

    /// Begins the action under the cursor.
    fn choose(&self) -> Option<Vec<Do>> {
        let entry = self.entries.get(self.at)?;
        if let Some(why) = &entry.forbidden {
            return Some(Do::why(why.clone()));
        }
        let one = matches!(
            entry.action.what,
            action::Deed::Edit | action::Deed::Rollback | action::Deed::Drain
        );
        if one && self.keys.len() > 1 {
            return Some(Do::why(format!("{} takes one object at a time", entry.name)));
        }
        let perform = Perform::new(entry.action, self.resource.clone(), self.keys.clone());
        Some(vec![Do::Close, Do::Open(Box::new(perform))])
    }
}

impl View for Menu {
    fn crumb(&self) -> String {
        "actions".to_owned()
    }

    fn title(&self, _cx: &Cx<'_>) -> String {
        match self.keys.as_slice() {
            [(_, name)] => format!("what can be done to {name}"),
            many => format!("what can be done to {} {}", many.len(), self.resource.plural),
        }
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn contexts(&self) -> Vec<&'static str> {
        vec!["table"]
    }

    fn draw(&self, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
        let theme = cx.theme;
        let rows = self.entries.iter().enumerate().map(|(at, entry)| {
            let style = match (&entry.forbidden, entry.action.danger) {
                (Some(_), _) => theme.muted.add_modifier(Modifier::CROSSED_OUT),
                (None, Danger::High) => theme.fail,
                (None, Danger::Medium) => theme.warn,
                (None, Danger::Low) => theme.text,
            };
            let style = if at == self.at {
                style.patch(theme.selected)
            } else {
                style
            };
            let why = entry.forbidden.as_deref().unwrap_or(entry.action.description);
            Cells::new([entry.action.key.to_owned(), entry.name.to_owned(), why.to_owned()]).style(style)
        });
        let widths = [Constraint::Length(8), Constraint::Length(12), Constraint::Fill(1)];
        frame.render_widget(Table::new(rows, widths).column_spacing(2), area);
    }

    fn act(&mut self, act: Act, _cx: &Cx<'_>) -> Option<Vec<Do>> {
        let last = self.entries.len().saturating_sub(1);
        match act {
            Act::Up => self.at = self.at.saturating_sub(1),
            Act::Down => self.at = (self.at + 1).min(last),
            Act::Top => self.at = 0,
            Act::Bottom => self.at = last,
            Act::Enter => return self.choose(),
            _ => {
                // The keys of the actions work here too.
                let deed = super::deed(act)?;
                self.at = self.entries.iter().position(|entry| entry.action.what == deed)?;
                return self.choose();
            }
        }
        Some(Vec::new())
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
