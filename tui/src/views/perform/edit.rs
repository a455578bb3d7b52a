//! Editing by hand: the object's YAML in the user's editor, tried by the server, shown as a difference,
//! and opened again with the reason when it was refused. When somebody else was faster, the change is
//! carried over to the newest version, and shown again.

use mizzen_api::console::action::{self, Deed};
use mizzen_api::console::diff;
use mizzen_api::yaml;
use serde_json::Value;

use super::{Perform, Stage};
use crate::effect::Effect;
use crate::event::Tone;
use crate::tasks::perform::Perform as Job;
use crate::view::{Cx, Do};

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n\
                      # and an empty file will abort the edit. If an error occurs while saving this file will be\n\
                      # reopened with the relevant failures.\n#\n";

/// What is kept of an edit.
#[derive(Debug, Default)]
pub(super) struct Edit {
    /// What the editor gave back last.
    text: String,
    /// What somebody else was faster than, to be carried over to the newest version.
    tried: Option<Tried>,
}

/// An edit that came too late.
#[derive(Debug)]
struct Tried {
    before: Value,
    edited: Value,
    /// Whether its difference was agreed to.
    agreed: bool,
}

impl Perform {
    pub(super) fn begin_edit(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        if let Some(tried) = self.edit.tried.take() {
            let newest = &self.objects[0];
            let untouched = diff::is_untouched(&tried.before, newest);
            let edited = diff::carry_over(&tried.before, &tried.edited, newest);
            self.plans = vec![action::replace(&self.resource, &edited)];
            if untouched && tried.agreed {
                return self.send(cx);
            }
            let mut wanted = self.try_edit(cx);
            if !untouched {
                let what = "somebody changed it meanwhile: your change on top of theirs is shown";
                wanted.push(Do::say(Tone::Warning, what));
            }
            return wanted;
        }
        let mut shown = self.objects[0].clone();
        if let Some(metadata) = shown.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        self.open_editor(&format!("{HEADER}{}", yaml::to_string(&shown)), cx)
    }

    fn open_editor(&mut self, text: &str, cx: &Cx<'_>) -> Vec<Do> {
        self.stage = Stage::Editing;
        vec![Do::Effect(Effect::Edit(cx.id, text.to_owned()))]
    }

    /// The editor gave back a text.
    pub(super) fn edited(&mut self, text: &str, cx: &Cx<'_>) -> Vec<Do> {
        text.clone_into(&mut self.edit.text);
        let empty = text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
        if empty {
            self.stage = Stage::Over;
            return vec![Do::say(Tone::Info, "edit cancelled: the file is empty"), Do::Close];
        }
        let edited: Value = match serde_saphyr::from_str(text) {
            Ok(edited) => edited,
            Err(error) => return self.edit_again(&format!("not YAML: {error}"), cx),
        };
        for field in ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"] {
            if edited.pointer(field) != self.objects[0].pointer(field) {
                return self.edit_again(&format!("{} may not change", &field[1..].replace('/', ".")), cx);
            }
        }
        self.plans = vec![action::replace(&self.resource, &edited)];
        self.try_edit(cx)
    }

    fn try_edit(&mut self, cx: &Cx<'_>) -> Vec<Do> {
        let requests = self.plans.iter().flat_map(|plan| plan.requests.clone()).collect();
        self.start(Stage::Trying, Job::Try(requests), cx)
    }

    /// The server refused the edit: the newest version is read when somebody else was faster, else the
    /// editor opens again with the reason.
    pub(super) fn edit_again(&mut self, why: &str, cx: &Cx<'_>) -> Vec<Do> {
        debug_assert_eq!(self.action.what, Deed::Edit, "only edits come back");
        if why.contains("the object has been modified") {
            self.edit.tried = Some(Tried {
                before: self.objects[0].clone(),
                edited: self.plans[0].requests[0].body.clone(),
                agreed: self.stage == Stage::Sending,
            });
            return self.read(cx);
        }
        let reason: String = why.lines().map(|line| format!("# {line}\n")).collect();
        let body = self.edit.text.lines().filter(|line| !line.starts_with('#'));
        let body: String = body.map(|line| format!("{line}\n")).collect();
        let text = format!("{HEADER}{reason}#\n{body}");
        let mut wanted = self.open_editor(&text, cx);
        wanted.insert(0, Do::say(Tone::Bad, format!("edit: {why}")));
        wanted
    }
}
