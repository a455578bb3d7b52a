//! `mizzen describe`: all there is to say about objects.

use std::process::ExitCode;

use http::Method;
use jiff::Zoned;
use mizzen_api::describe::{self, Need, Related};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::targets::{self, Target};
use crate::cli::{self, Call, Connect, Session, say, tell};

/// Say all there is to say about objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE [NAME…] or TYPE/NAME…; a name may be the beginning of several.
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Look in all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Whether to show Events.
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    show_events: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.describe_all(session).await)
    }

    async fn describe_all(&self, mut session: Session) -> anyhow::Result<ExitCode> {
        if self.all_namespaces {
            session.namespace.clear();
        }
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
        let mut first = true;
        for target in targets::parse(&session, &names).await? {
            let found = match self.find(&session, &target).await {
                Ok(found) => found,
                Err(error) => {
                    outcome.note(Err(error));
                    continue;
                }
            };
            for object in &found {
                let text = self.one(&session, &target.resource, object).await?;
                if !std::mem::take(&mut first) {
                    say("\n")?;
                }
                say(text.trim_end_matches('\n'))?;
            }
        }
        if first && outcome.code() == ExitCode::SUCCESS {
            match session.namespace.as_str() {
                "" => tell("No resources found"),
                namespace => tell(format!("No resources found in {namespace} namespace.")),
            }
        }
        Ok(outcome.code())
    }

    /// The objects of a target; a name that none has may be the beginning of some.
    async fn find(&self, session: &Session, target: &Target) -> anyhow::Result<Vec<Value>> {
        let namespace = target.namespace(session);
        let selector = self.selector.as_deref();
        if target.names.is_empty() {
            return session.list(&target.resource, namespace, selector).await;
        }
        let mut found = Vec::new();
        for name in &target.names {
            match session.get(&target.resource, namespace, name).await {
                Ok(object) => found.push(object),
                Err(error) => {
                    let all = session
                        .list(&target.resource, namespace, selector)
                        .await
                        .unwrap_or_default();
                    let before = found.len();
                    found.extend(all.into_iter().filter(|o| view::name(o).starts_with(name.as_str())));
                    if found.len() == before {
                        return Err(error);
                    }
                }
            }
        }
        Ok(found)
    }

    async fn one(&self, session: &Session, resource: &Resource, object: &Value) -> anyhow::Result<String> {
        let mut related = Related::new();
        for need in describe::needs(resource, object) {
            if need.resource == "events" && !self.show_events {
                continue;
            }
            // What may not be read is left out of the description.
            if let Ok(found) = fetch(session, &need).await {
                related.insert(need.resource, found);
            }
        }
        Ok(describe::describe(resource, object, &related, &Zoned::now()))
    }
}

async fn fetch(session: &Session, need: &Need) -> anyhow::Result<Vec<Value>> {
    let resource = session.resource(need.resource).await?;
    let set = |text: &String| Some(text.clone()).filter(|t| !t.is_empty() && t != view::NONE);
    let call = Call::to(Method::GET, &resource, &need.namespace, "")
        .query_opt("labelSelector", set(&need.labels))
        .query_opt("fieldSelector", set(&need.fields));
    match session.call(call).await?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => fail("the server's answer is no list"),
    }
}
