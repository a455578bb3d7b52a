//! `mizzen delete`: deletes objects and waits until they are gone.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use mizzen_api::client::rest::is_not_found;
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::{Value, json};

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::output::Format;
use crate::cli::targets::{self, display, type_name};
use crate::cli::{self, Call, Connect, Session, follow, say, tell, wait_time};

/// Delete objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// All objects of the type.
    #[arg(long)]
    all: bool,
    /// Objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Objects with these field values.
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// What becomes of objects that these own: background, foreground or orphan.
    #[arg(long, value_name = "HOW", default_value = "background", num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    cascade: Cascade,
    /// Seconds that Pods get to end.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace_period: Option<i64>,
    /// Do not wait for the node to confirm. Needs a grace period of 0, which it implies.
    #[arg(long)]
    force: bool,
    /// As --grace-period=1.
    #[arg(long)]
    now: bool,
    /// Wait until the objects are gone.
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = wait_time)]
    timeout: Duration,
    /// An object that does not exist is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// Ask the server what would happen, without doing it.
    #[arg(long, value_name = "server", num_args = 0..=1, default_missing_value = "server", require_equals = true)]
    dry_run: Option<String>,
    /// Form of the output: name.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// An object to delete.
struct Doomed {
    resource: Arc<Resource>,
    namespace: String,
    name: String,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.delete_all(session).await)
    }

    async fn delete_all(&self, mut session: Session) -> anyhow::Result<ExitCode> {
        if self.all_namespaces {
            session.namespace.clear();
        }
        if self.force && self.grace() == Some(0) {
            tell(
                "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.",
            );
        }
        let mut outcome = Outcome::default();
        let mut gone = Vec::new();
        for doomed in self.doomed(&session).await? {
            match self.delete(&session, &doomed).await {
                Ok(Some(uid)) => gone.push((doomed, uid)),
                Ok(None) => {}
                Err(error) => outcome.note(Err(error)),
            }
        }
        if self.wait && self.dry_run.is_none() {
            for (doomed, uid) in &gone {
                outcome.note(self.wait_for(&session, doomed, uid).await);
            }
        }
        Ok(outcome.code())
    }

    async fn doomed(&self, session: &Session) -> anyhow::Result<Vec<Doomed>> {
        let mut doomed = Vec::new();
        for manifest in self.files.read_if_any()? {
            let resource = session.resource_of(&manifest.object).await?;
            doomed.push(Doomed {
                namespace: session.namespace_of(&resource, &manifest.object)?.to_owned(),
                name: view::name(&manifest.object).to_owned(),
                resource,
            });
        }
        if self.arguments.is_empty() && !doomed.is_empty() {
            return Ok(doomed);
        }
        for target in targets::parse(session, &self.arguments).await? {
            let namespace = target.namespace(session).to_owned();
            let resource = target.resource;
            let named = target.names.into_iter().map(|name| Doomed {
                resource: resource.clone(),
                namespace: namespace.clone(),
                name,
            });
            let before = doomed.len();
            doomed.extend(named);
            if doomed.len() > before {
                continue;
            }
            if !self.all && self.selector.is_none() && self.field_selector.is_none() {
                return fail("resource(s) were provided, but no name was specified");
            }
            let call = Call::to(Method::GET, &resource, &namespace, "")
                .query_opt("labelSelector", self.selector.clone())
                .query_opt("fieldSelector", self.field_selector.clone());
            let found = session.call(call).await?;
            doomed.extend(view::list(&found, "/items").iter().map(|o| Doomed {
                resource: resource.clone(),
                namespace: view::namespace(o).to_owned(),
                name: view::name(o).to_owned(),
            }));
        }
        if doomed.is_empty() {
            tell("No resources found");
        }
        Ok(doomed)
    }

    fn grace(&self) -> Option<i64> {
        match (self.grace_period, self.force, self.now) {
            (Some(seconds), _, _) if seconds >= 0 => Some(seconds),
            (_, true, _) => Some(0),
            (_, _, true) => Some(1),
            _ => None,
        }
    }

    /// Deletes an object; gives its uid when it is worth waiting for.
    async fn delete(&self, session: &Session, doomed: &Doomed) -> anyhow::Result<Option<String>> {
        let propagation = match self.cascade {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        };
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        if let Some(seconds) = self.grace() {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if self.dry_run.is_some() {
            options["dryRun"] = json!(["All"]);
        }
        let call = Call::to(Method::DELETE, &doomed.resource, &doomed.namespace, &doomed.name)
            .body("application/json", &options);
        let answer = match session.call(call).await {
            Err(error) if self.ignore_not_found && error.downcast_ref().is_some_and(is_not_found) => return Ok(None),
            answer => answer?,
        };
        self.print(doomed)?;
        Ok(Some(uid_of(&answer).to_owned()))
    }

    fn print(&self, doomed: &Doomed) -> anyhow::Result<()> {
        if matches!(self.output, Some(Format::Name)) {
            return Ok(say(display(&doomed.resource, &doomed.name))?);
        }
        let done = if self.force && self.grace() == Some(0) {
            "force deleted"
        } else {
            "deleted"
        };
        let from = match doomed.resource.namespaced() {
            true => format!(" from {} namespace", doomed.namespace),
            false => String::new(),
        };
        let dry = if self.dry_run.is_some() {
            " (server dry run)"
        } else {
            ""
        };
        let line = format!("{} {:?} {done}{from}{dry}", type_name(&doomed.resource), doomed.name);
        Ok(say(line)?)
    }

    async fn wait_for(&self, session: &Session, doomed: &Doomed, uid: &str) -> anyhow::Result<()> {
        let timeout = (!self.timeout.is_zero()).then_some(self.timeout);
        let at = (&*doomed.namespace, &*doomed.name);
        let gone = follow::until(session, &doomed.resource, at, timeout, |object| {
            // Another object of the same name is not the one that was deleted.
            let still_there = object.is_some_and(|o| uid.is_empty() || view::text(o, "/metadata/uid") == uid);
            Ok((!still_there).then_some(()))
        });
        match gone.await? {
            Some(()) => Ok(()),
            None => fail(format!(
                "timed out waiting for the condition on {}",
                display(&doomed.resource, &doomed.name)
            )),
        }
    }
}

/// The answer to a deletion is the object, or a Status about it.
fn uid_of(answer: &Value) -> &str {
    view::text_or(answer, "/metadata/uid", view::text(answer, "/details/uid"))
}
