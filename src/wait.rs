//! `mizzen wait`: waits until something is true of objects.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use mizzen_api::jsonpath::{self, Path};
use mizzen_api::view;
use serde_json::Value;

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::targets::{self, display};
use crate::cli::{self, Connect, Session, follow, say, wait_time};

/// Wait until something is true of objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// What to wait for: condition=NAME[=STATUS], jsonpath={PATH}[=VALUE], create, delete.
    #[arg(long = "for", value_name = "WHAT")]
    until: Until,
    /// How long to wait for each object.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = wait_time)]
    timeout: Duration,
    /// All objects of the type.
    #[arg(long)]
    all: bool,
    /// Objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone)]
enum Until {
    Created,
    Deleted,
    Condition(String, String),
    Value(Path, Option<String>),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, status) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Self::Condition(name.to_lowercase(), status.to_lowercase()));
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let rest = rest.trim_matches('\'');
            let (path, value) = match rest.split_once("}=") {
                Some((path, value)) => (format!("{path}}}"), Some(value.trim_matches('"').to_owned())),
                None => (rest.to_owned(), None),
            };
            return Ok(Self::Value(Path::parse(&path)?, value));
        }
        match text.to_lowercase().as_str() {
            "create" => Ok(Self::Created),
            "delete" => Ok(Self::Deleted),
            _ => Err(format!("unrecognized condition: {text:?}")),
        }
    }
}

impl Until {
    fn holds(&self, object: Option<&Value>) -> bool {
        let Some(object) = object else {
            return matches!(self, Self::Deleted);
        };
        match self {
            Self::Created => true,
            Self::Deleted => false,
            Self::Condition(name, status) => view::list(object, "/status/conditions").iter().any(|c| {
                // A condition about an older generation says nothing about this one.
                let stale = view::int_opt(c, "/observedGeneration")
                    .is_some_and(|observed| observed < view::int(object, "/metadata/generation"));
                view::text(c, "/type").to_lowercase() == *name
                    && view::text(c, "/status").to_lowercase() == *status
                    && !stale
            }),
            Self::Value(path, value) => {
                let found = path.find(object);
                match value {
                    Some(value) => found.iter().any(|v| jsonpath::display(v) == *value),
                    None => !found.is_empty(),
                }
            }
        }
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.wait_all(&session).await)
    }

    async fn wait_all(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let mut names = self.arguments.clone();
        for manifest in self.files.read_if_any()? {
            let resource = session.resource_of(&manifest.object).await?;
            names.push(format!(
                "{}/{}",
                resource.qualified_name(),
                view::name(&manifest.object)
            ));
        }
        let mut outcome = Outcome::default();
        let mut any = false;
        for target in targets::parse(session, &names).await? {
            let namespace = target.namespace(session).to_owned();
            let mut names = target.names.clone();
            if names.is_empty() {
                let listed = session
                    .list(&target.resource, &namespace, self.selector.as_deref())
                    .await?;
                names.extend(listed.iter().map(|o| view::name(o).to_owned()));
            }
            for name in &names {
                any = true;
                outcome.note(self.wait_one(session, &target.resource, (&namespace, name)).await);
            }
        }
        match any || matches!(self.until, Until::Deleted) {
            true => Ok(outcome.code()),
            false => fail("no matching resources found"),
        }
    }

    async fn wait_one(
        &self,
        session: &Session,
        resource: &mizzen_api::resource::Resource,
        at: (&str, &str),
    ) -> anyhow::Result<()> {
        if !matches!(self.until, Until::Created | Until::Deleted) {
            // What does not exist is a mistake in the name, not something to wait for.
            session.get(resource, at.0, at.1).await?;
        }
        let timeout = Some(self.timeout).filter(|t| !t.is_zero());
        let decide = |object: Option<&Value>| Ok(self.until.holds(object).then_some(()));
        let shown = display(resource, at.1);
        match follow::until(session, resource, at, timeout, decide).await? {
            Some(()) if matches!(self.until, Until::Created) => Ok(say(format!("{shown} created"))?),
            Some(()) if matches!(self.until, Until::Deleted) => Ok(say(format!("{shown} deleted"))?),
            Some(()) => Ok(say(format!("{shown} condition met"))?),
            None => fail(format!(
                "timed out waiting for the condition on {}/{}",
                resource.plural, at.1
            )),
        }
    }
}
