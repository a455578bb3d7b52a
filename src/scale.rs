//! `mizzen scale`: changes how many Pods a workload has.

use std::process::ExitCode;

use http::Method;
use mizzen_api::client::rest::{is_not_found, message};
use mizzen_api::view;
use serde_json::json;

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::targets::{self, display};
use crate::cli::{self, Call, Connect, Session, say};

/// Set the number of Pods of Deployments and the like.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// How many Pods there should be.
    #[arg(long, value_name = "COUNT")]
    replicas: u32,
    /// Only when there are this many now.
    #[arg(long, value_name = "COUNT")]
    current_replicas: Option<i64>,
    /// All objects of the type.
    #[arg(long)]
    all: bool,
    /// Objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.scale_all(&session).await)
    }

    async fn scale_all(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let mut names = self.arguments.clone();
        for manifest in self.files.read_if_any()? {
            let resource = session.resource_of(&manifest.object).await?;
            names.push(format!(
                "{}/{}",
                resource.qualified_name(),
                view::name(&manifest.object)
            ));
        }
        let targets = targets::parse(session, &names).await?;
        let mut outcome = Outcome::default();
        let found = targets::objects(session, &targets, self.selector.as_deref(), self.all).await;
        let found = match found {
            Err(error) if error.downcast_ref().is_some_and(is_not_found) => {
                let what = error.downcast_ref().map(message).unwrap_or_default();
                return fail(format!("no objects passed to scale {what}"));
            }
            found => found?,
        };
        for (resource, object) in found {
            let change = async {
                let name = view::name(&object);
                let current = view::int(&object, "/spec/replicas");
                if self.current_replicas.is_some_and(|wanted| wanted != current) {
                    let wanted = self.current_replicas.unwrap_or_default();
                    return fail(format!("Expected replicas to be {wanted}, was {current}"));
                }
                let call = Call::to(Method::PATCH, &resource, view::namespace(&object), name)
                    .sub("scale")
                    .body(
                        "application/merge-patch+json",
                        &json!({"spec": {"replicas": self.replicas}}),
                    );
                session.call(call).await?;
                Ok(say(format!("{} scaled", display(&resource, name)))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }
}
