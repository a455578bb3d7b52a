//! `mizzen set`: changes what is changed most: images.

use std::process::ExitCode;

use jiff::Timestamp;
use mizzen_api::console::action::{Answers, Deed, plan};
use mizzen_api::view;
use serde_json::Value;

use crate::cli::chosen::{Chosen, carry_out, refused, split};
use crate::cli::error::{Outcome, fail};
use crate::cli::targets::display;
use crate::cli::{self, Connect, Session, say};

/// Change images.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Change the images of containers: TYPE NAME… CONTAINER=IMAGE….
    Image(Image),
}

#[derive(clap::Args)]
struct Image {
    /// Objects as TYPE NAME… or TYPE/NAME…, then CONTAINER=IMAGE; * is every container.
    #[arg(value_name = "TYPE NAME CONTAINER=IMAGE")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let What::Image(mut image) = self.what;
        cli::run(std::mem::take(&mut image.connect), async |session| {
            image.set(&session).await
        })
    }
}

impl Image {
    async fn set(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let needed = "at least one image update is required";
        let (names, changes) = split(&self.arguments, |argument| argument.contains('='), needed)?;
        let mut outcome = Outcome::default();
        for (resource, object) in self.chosen.objects(session, &names).await? {
            let change = async {
                let answers = answers(&object, &changes)?;
                // What is so already is not told again.
                if answers.is_empty() {
                    return Ok(());
                }
                let plan = plan(Deed::SetImage, &resource, &object, &answers, Timestamp::now()).map_err(refused)?;
                carry_out(session, plan, self.chosen.dry_run.is_some()).await?;
                let name = display(&resource, view::name(&object));
                Ok(say(format!("{name} image updated{}", self.chosen.dry()))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }
}

/// Containers whose images change.
fn answers(object: &Value, changes: &[String]) -> anyhow::Result<Answers> {
    let images = mizzen_api::console::action::images(object);
    let mut answers = Answers::new();
    for (name, image) in changes.iter().filter_map(|change| change.split_once('=')) {
        let meant: Vec<_> = images.iter().filter(|(own, _)| name == "*" || own == name).collect();
        if meant.is_empty() {
            return fail(format!("unable to find container named {name:?}"));
        }
        let changed = meant.into_iter().filter(|(_, old)| old != image);
        answers.extend(changed.map(|(own, _)| (own.clone(), image.to_owned())));
    }
    Ok(answers)
}
