//! `mizzen edit`: changes an object in an editor.

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use mizzen_api::console::{action, diff};
use mizzen_api::resource::Resource;
use mizzen_api::{view, yaml};
use serde_json::Value;

use crate::cli::chosen::{Chosen, carry_out};
use crate::cli::error::{fail, words};
use crate::cli::targets::display;
use crate::cli::{self, Connect, Session, say, tell};

/// What stands above the object.
const HEAD: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n\
    # and an empty file will abort the edit. If an error occurs while saving this file will be\n\
    # reopened with the relevant failures.\n#\n";

/// Change objects in an editor ($KUBE_EDITOR, $EDITOR or vi).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            for (resource, object) in self.chosen.objects(&session, &self.arguments).await? {
                edit(&session, &resource, object, self.chosen.dry_run.is_some()).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Opens the editor until the server takes what it gives back, or it gives back what it got.
async fn edit(session: &Session, resource: &Resource, mut object: Value, for_show: bool) -> anyhow::Result<()> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let file = tempfile::Builder::new()
        .prefix("mizzen-edit-")
        .suffix(".yaml")
        .tempfile()?
        // Editors may put another file in its place.
        .into_temp_path();
    let before = yaml::to_string(&object);
    let mut text = format!("{HEAD}{before}");
    loop {
        std::fs::write(&file, &text)?;
        open(&file)?;
        let edited = std::fs::read_to_string(&file)?;
        let body: String = edited
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        if body.trim().is_empty() || body == before {
            tell("Edit cancelled, no changes made.");
            return Ok(());
        }
        let sent = send(session, resource, &object, &body, for_show).await;
        let Err(error) = sent else {
            return Ok(say(format!("{} edited", display(resource, view::name(&object))))?);
        };
        if edited == text {
            // The second try was no other than the first.
            let kept = file.keep().context("cannot keep the file")?;
            tell(words(&error));
            tell(format!(
                "A copy of your changes has been stored to {:?}",
                kept.display().to_string()
            ));
            return fail("Edit cancelled, no valid changes were saved.");
        }
        let why: String = words(&error).lines().map(|line| format!("# {line}\n")).collect();
        text = format!("{HEAD}{why}#\n{body}");
    }
}

async fn send(
    session: &Session,
    resource: &Resource,
    before: &Value,
    body: &str,
    for_show: bool,
) -> anyhow::Result<()> {
    let edited: Value = serde_saphyr::from_str(body).or_else(|error| fail(error.to_string()))?;
    let untouched = |newest: &Value| diff::is_untouched(before, newest);
    let replace = async |newest: &Value| {
        let mut plan = action::replace(resource, &diff::carry_over(before, &edited, newest));
        for request in &mut plan.requests {
            // A misspelt field would be gone without a word.
            request.query.push(("fieldValidation", "Strict"));
        }
        carry_out(session, plan, for_show).await.map(drop)
    };
    session.change(resource, before.clone(), untouched, replace).await
}

fn open(file: &std::path::Path) -> anyhow::Result<()> {
    let editor = ["KUBE_EDITOR", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let editor = editor
        .filter(|editor| !editor.is_empty())
        .unwrap_or_else(|| "vi".to_owned());
    // Editors are configured with arguments, as shells read them.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(file)
        .status();
    match status.with_context(|| format!("cannot start {editor}"))?.success() {
        true => Ok(()),
        false => fail(format!("there was a problem with the editor {editor:?}")),
    }
}
