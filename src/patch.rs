//! `mizzen patch`: changes fields of objects.

use std::process::ExitCode;

use mizzen_api::console::action::{Method, Plan, Request, command};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::view;
use serde_json::Value;

use crate::cli::chosen::{Chosen, carry_out};
use crate::cli::error::{Outcome, fail};
use crate::cli::output::{self, Format};
use crate::cli::targets::display;
use crate::cli::{self, Connect, Session, say};

/// Change fields of objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// The patch, as JSON or YAML.
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    patch: Option<String>,
    /// File with the patch.
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    patch_file: Option<std::path::PathBuf>,
    /// How it is meant.
    #[arg(long = "type", value_name = "TYPE", default_value = "strategic")]
    kind: Kind,
    /// Subresource to change, such as status or scale.
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Form of the output: json, yaml, name, jsonpath=….
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Kind {
    /// Lists are merged by their keys, for kinds that are built in.
    Strategic,
    /// Lists are replaced.
    Merge,
    /// A list of operations.
    Json,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        let patch = self.read()?;
        cli::run(connect, async |session| self.patch_all(&session, &patch).await)
    }

    fn read(&self) -> anyhow::Result<Value> {
        let text = match (&self.patch, &self.patch_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)?,
            (None, None) => return fail("must specify --patch or --patch-file containing the contents of the patch"),
        };
        serde_saphyr::from_str(&text).or_else(|error| fail(format!("unable to parse {text:?}: {error}")))
    }

    async fn patch_all(&self, session: &Session, patch: &Value) -> anyhow::Result<ExitCode> {
        let mut outcome = Outcome::default();
        for (resource, object) in self.chosen.objects(session, &self.arguments).await? {
            let change = async {
                let plan = self.plan(&resource, &object, patch)?;
                let after = carry_out(session, plan, self.chosen.dry_run.is_some()).await?;
                let same = after.pointer("/metadata/resourceVersion") == object.pointer("/metadata/resourceVersion");
                match &self.output {
                    Some(format) => say(output::format(format, &[(&resource, &after)], true).trim_end_matches('\n'))?,
                    None => {
                        let done = if same { "patched (no change)" } else { "patched" };
                        let name = display(&resource, view::name(&object));
                        say(format!("{name} {done}{}", self.chosen.dry()))?;
                    }
                }
                Ok(())
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }

    fn plan(&self, resource: &Resource, object: &Value, patch: &Value) -> anyhow::Result<Plan> {
        let content_type = match self.kind {
            // Only what is built in says by which keys its lists are merged.
            Kind::Strategic
                if builtin()
                    .by_path(&resource.group, &resource.version, &resource.plural)
                    .is_none() =>
            {
                return fail("application/strategic-merge-patch+json is not supported by this kind: try --type merge");
            }
            Kind::Strategic => "application/strategic-merge-patch+json",
            Kind::Merge => "application/merge-patch+json",
            Kind::Json => "application/json-patch+json",
        };
        let at = (view::namespace(object), view::name(object));
        let mut request = Request::new(Method::Patch, resource, at, patch.clone());
        request.content_type = content_type;
        if let Some(subresource) = &self.subresource {
            request = request.of(subresource);
        }
        Ok(Plan {
            requests: vec![request],
            question: String::new(),
            command: command(at.0, &["patch", &display(resource, at.1)]),
        })
    }
}
