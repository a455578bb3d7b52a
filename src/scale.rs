//! `mizzen scale`: changes how many Pods a workload has.

use std::process::ExitCode;

use jiff::Timestamp;
use mizzen_api::console::action::{Answers, Deed, plan, refuse};
use mizzen_api::view;

use crate::cli::chosen::Chosen;
use crate::cli::{self, Connect, Session};

/// Set the number of Pods of Deployments and the like.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as TYPE NAME… or TYPE/NAME….
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// How many Pods there should be.
    #[arg(long, value_name = "COUNT")]
    replicas: u32,
    /// Only when there are this many now.
    #[arg(long, value_name = "COUNT")]
    current_replicas: Option<i64>,
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
        let answers = Answers::from([("replicas".to_owned(), self.replicas.to_string())]);
        self.chosen
            .change(session, &self.arguments, "scaled", |resource, object| {
                let current = view::int(object, "/spec/replicas");
                match self.current_replicas {
                    Some(wanted) if wanted != current => {
                        refuse(format!("Expected replicas to be {wanted}, was {current}"))
                    }
                    _ => plan(Deed::Scale, resource, object, &answers, Timestamp::now()),
                }
            })
            .await
    }
}
