//! `mizzen diff`: what applying files would change.

use std::process::ExitCode;

use mizzen_api::client::rest::is_not_found;
use mizzen_api::console::diff::{self, Noise};
use mizzen_api::view;
use serde_json::Value;

use crate::cli::applying::Applying;
use crate::cli::manifest::Manifest;
use crate::cli::{self, Connect, Session, say};

/// Show what applying files would change; the exit code is 1 when something would.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    applying: Applying,
    #[command(flatten)]
    connect: Connect,
}

/// What a difference ends the program with, and an error: as `diff` and kubectl do.
const DIFFERENT: u8 = 1;

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let mut code = ExitCode::SUCCESS;
            for manifest in self.applying.manifests()? {
                if self.differs(&session, &manifest).await? {
                    code = ExitCode::from(DIFFERENT);
                }
            }
            Ok(code)
        })
    }

    async fn differs(&self, session: &Session, manifest: &Manifest) -> anyhow::Result<bool> {
        let object = &manifest.object;
        let resource = session.resource_of(object).await?;
        let (namespace, name) = (session.namespace_of(&resource, object)?, view::name(object));
        let live = match session.get(&resource, namespace, name).await {
            Err(error) if error.downcast_ref().is_some_and(is_not_found) => Value::Null,
            live => live?,
        };
        let call = self
            .applying
            .call(&resource, (namespace, name), object)
            .query("dryRun", "All");
        let merged = session.call(call).await?;
        let hunks = diff::objects(&live, &merged, Noise::default());
        if hunks.is_empty() {
            return Ok(false);
        }
        let version = resource.api_version().replace('/', ".");
        let file = [&*version, &*resource.kind, namespace, name].join(".");
        say(format!(
            "diff -u -N LIVE/{file} MERGED/{file}\n--- LIVE/{file}\n+++ MERGED/{file}"
        ))?;
        say(diff::unified(&hunks).join("\n"))?;
        Ok(true)
    }
}
