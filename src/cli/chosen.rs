//! Which objects a command changes, and carrying out what the console's model plans for each.

use std::process::ExitCode;
use std::sync::Arc;

use http::Method;
use mizzen_api::console::action::{self, Plan, Refusal, Request};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use super::error::{Failure, Outcome, fail};
use super::manifest::Files;
use super::targets::{self, display};
use super::{Call, Session, say};

/// Objects that are named in files, by labels, or all of a type.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    pub(crate) files: Files,
    /// All objects of the type.
    #[arg(long)]
    pub(crate) all: bool,
    /// Objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Ask the server what would happen, without doing it.
    #[arg(long, value_name = "server", num_args = 0..=1, default_missing_value = "server", require_equals = true)]
    pub(crate) dry_run: Option<String>,
}

/// An object with its resource.
pub(crate) type Object = (Arc<Resource>, Value);

impl Chosen {
    /// The objects: those that are named on the command line, and ours.
    pub(crate) async fn objects(&self, session: &Session, named: &[String]) -> anyhow::Result<Vec<Object>> {
        let mut names = named.to_vec();
        for manifest in self.files.read_if_any()? {
            let resource = session.resource_of(&manifest.object).await?;
            names.push(format!(
                "{}/{}",
                resource.qualified_name(),
                view::name(&manifest.object)
            ));
        }
        let targets = targets::parse(session, &names).await?;
        targets::objects(session, &targets, self.selector.as_deref(), self.all).await
    }

    /// Plans and carries out a change of each object, and says that it is `done`.
    pub(crate) async fn change(
        &self,
        session: &Session,
        named: &[String],
        done: &str,
        plan: impl Fn(&Resource, &Value) -> Result<Plan, Refusal>,
    ) -> anyhow::Result<ExitCode> {
        let mut outcome = Outcome::default();
        for (resource, object) in self.objects(session, named).await? {
            let change = async {
                let plan = plan(&resource, &object).map_err(refused)?;
                carry_out(session, plan, self.dry_run.is_some()).await?;
                Ok(say(format!(
                    "{} {done}{}",
                    display(&resource, view::name(&object)),
                    self.dry()
                ))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn merge(
        &self,
        session: &Session,
        resource: &Resource,
        at: (&str, &str),
        patch: Value,
    ) -> anyhow::Result<Value> {
        let mut request = Request::new(action::Method::Patch, resource, at, patch);
        request.content_type = "application/merge-patch+json";
        if self.dry_run.is_some() {
            request = request.dry_run();
        }
        session.call(call(request)?).await
    }

    /// What is added to the words of what was done for show.
    pub(crate) fn dry(&self) -> &'static str {
        match self.dry_run {
            Some(_) => " (server dry run)",
            None => "",
        }
    }
}

/// Sends a plan's requests in order; gives the last answer.
pub(crate) async fn carry_out(session: &Session, plan: Plan, for_show: bool) -> anyhow::Result<Value> {
    let mut answer = Value::Null;
    for request in plan.requests {
        let request = if for_show { request.dry_run() } else { request };
        answer = session.call(call(request)?).await?;
    }
    Ok(answer)
}

/// A request of the console's model as a call of ours.
pub(crate) fn call(request: Request) -> anyhow::Result<Call> {
    let method = Method::from_bytes(request.method.as_str().as_bytes())?;
    let call = Call::new(method, request.path).body(request.content_type, &request.body);
    Ok(request
        .query
        .into_iter()
        .fold(call, |call, (key, value)| call.query(key, value)))
}

/// What the console's model refuses, as a command's error.
pub(crate) fn refused(refusal: Refusal) -> anyhow::Error {
    Failure(refusal.0).into()
}

/// The arguments that name objects, and those that say what to change: `is_change` tells them apart.
pub(crate) fn split(
    arguments: &[String],
    is_change: impl Fn(&str) -> bool,
    needed: &str,
) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (changes, names): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(|argument| is_change(argument));
    match changes.is_empty() {
        true => fail(needed),
        false => Ok((names, changes)),
    }
}
