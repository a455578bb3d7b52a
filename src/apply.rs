//! `mizzen apply`: brings objects into the state that files describe, by server-side apply.

use std::process::ExitCode;

use anyhow::Context as _;
use mizzen_api::view;

use crate::cli::applying::Applying;
use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Manifest;
use crate::cli::output::{self, Format};
use crate::cli::targets::display;
use crate::cli::{self, Connect, Session, say};

/// Bring objects into the state that files describe.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    applying: Applying,
    /// Ask the server what would happen, without doing it.
    #[arg(long, value_name = "server", num_args = 0..=1, default_missing_value = "server", require_equals = true)]
    dry_run: Option<String>,
    /// Form of the output: json, yaml, name, jsonpath=….
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let mut outcome = Outcome::default();
            for manifest in self.applying.manifests()? {
                outcome.note(self.apply(&session, &manifest).await);
            }
            Ok(outcome.code())
        })
    }

    async fn apply(&self, session: &Session, manifest: &Manifest) -> anyhow::Result<()> {
        let object = &manifest.object;
        let resource = session.resource_of(object).await?;
        let (namespace, name) = (session.namespace_of(&resource, object)?, view::name(object));
        if name.is_empty() {
            return fail(format!(
                "error when applying {:?}: resource name may not be empty",
                manifest.source
            ));
        }
        let call = self.applying.call(&resource, (namespace, name), object);
        let call = call.query_opt("dryRun", self.dry_run.as_ref().map(|_| "All"));
        let applied = session
            .call(call)
            .await
            .with_context(|| format!("error when applying {:?}", manifest.source))?;
        let dry = if self.dry_run.is_some() {
            " (server dry run)"
        } else {
            ""
        };
        match &self.output {
            Some(format) => say(output::format(format, &[(&resource, &applied)], true).trim_end_matches('\n'))?,
            None => say(format!("{} serverside-applied{dry}", display(&resource, name)))?,
        }
        Ok(())
    }
}
