//! Changing labels or annotations: `key=value` sets, `key-` removes.

use std::process::ExitCode;

use mizzen_api::view;
use serde_json::{Map, Value, json};

use super::chosen::{Chosen, split};
use super::error::{Outcome, fail};
use super::targets::display;
use super::{Session, say};

/// What `label` and `annotate` take alike.
#[derive(clap::Args)]
pub(crate) struct Marks {
    /// Objects as TYPE NAME… or TYPE/NAME…, then KEY=VALUE to set or KEY- to remove.
    #[arg(value_name = "TYPE NAME KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Replace values that are there.
    #[arg(long)]
    overwrite: bool,
}

/// Words that differ between labels and annotations.
pub(crate) struct Words {
    /// Field of the metadata.
    pub(crate) field: &'static str,
    /// What was done when something was set.
    pub(crate) done: &'static str,
    /// What was done when something was only removed.
    pub(crate) undone: &'static str,
    /// What was done when everything was so already.
    pub(crate) unchanged: &'static str,
}

impl Marks {
    /// Runs the command.
    pub(crate) async fn run(self, session: Session, words: Words) -> anyhow::Result<ExitCode> {
        let is_change = |a: &str| (a.contains('=') && !a.starts_with('=')) || a.ends_with('-');
        let needed = format!("at least one {} update is required", words.field.trim_end_matches('s'));
        let (names, changes) = split(&self.arguments, is_change, &needed)?;
        let objects = self.chosen.objects(&session, &names).await?;
        let mut outcome = Outcome::default();
        for (resource, object) in &objects {
            let change = async {
                let patch = patch(&changes, object, self.overwrite, &words)?;
                let at = (view::namespace(object), view::name(object));
                let before = object.pointer(&format!("/metadata/{}", words.field));
                let after = self.chosen.merge(&session, resource, at, patch).await?;
                let same = before == after.pointer(&format!("/metadata/{}", words.field));
                let only_removed = changes.iter().all(|c| c.ends_with('-') && !c.contains('='));
                let done = match (same, only_removed) {
                    (true, _) => words.unchanged,
                    (false, true) => words.undone,
                    (false, false) => words.done,
                };
                Ok(say(format!("{} {done}{}", display(resource, at.1), self.chosen.dry()))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }
}

fn patch(changes: &[String], object: &Value, overwrite: bool, words: &Words) -> anyhow::Result<Value> {
    let present = view::map(object, &format!("/metadata/{}", words.field));
    let mut entries = Map::new();
    for change in changes {
        let (key, value) = match change.split_once('=') {
            Some((key, value)) => (key, json!(value)),
            None => (change.trim_end_matches('-'), Value::Null),
        };
        let old = present.and_then(|p| p.get(key)).and_then(Value::as_str);
        if value.is_null() && old.is_none() {
            say(format!("{} {key:?} not found.", words.field.trim_end_matches('s')))?;
        }
        if let (Some(old), false, Some(new)) = (old, overwrite, value.as_str())
            && old != new
        {
            return fail(format!("'{key}' already has a value ({old}), and --overwrite is false"));
        }
        entries.insert(key.to_owned(), value);
    }
    Ok(json!({"metadata": {words.field: entries}}))
}
