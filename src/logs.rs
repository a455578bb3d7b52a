//! `mizzen logs`: what containers print.

use std::process::ExitCode;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mizzen_api::client::logs::{self, Options, Since, Source};
use mizzen_api::client::rest::{Rest, is_not_found, message};
use mizzen_api::{duration, view};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use crate::cli::error::{Failure, Outcome, fail};
use crate::cli::{self, Connect, Session, pods};

/// Print what containers print.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD", required_unless_present = "selector")]
    pod: Option<String>,
    /// Container, where the Pod has several.
    #[arg(value_name = "CONTAINER", conflicts_with = "container")]
    positional_container: Option<String>,
    /// Container, where the Pod has several.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// All containers of the Pods.
    #[arg(long)]
    all_containers: bool,
    /// Pods with these labels.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "pod")]
    selector: Option<String>,
    /// Go on as more is printed.
    #[arg(short, long)]
    follow: bool,
    /// Of the container before its last restart.
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines; -1 is all. With a selector the default is 10.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only what is younger than this.
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Only what was printed after this time.
    #[arg(long, value_name = "TIME")]
    since_time: Option<String>,
    /// Start each line with its time.
    #[arg(long)]
    timestamps: bool,
    /// Start each line with its Pod and container.
    #[arg(long)]
    prefix: bool,
    /// Only so many bytes.
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<i64>,
    /// Logs to follow at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    max_log_requests: usize,
    #[command(flatten)]
    connect: Connect,
}

/// kubectl says where it looked for the Pod.
fn absent(session: &Session, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref().filter(|e| is_not_found(e)).map(message) {
        Some(what) => Failure(format!(
            "error from server (NotFound): {what} in namespace {:?}",
            session.namespace
        ))
        .into(),
        None => error,
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.print_all(&session).await)
    }

    async fn print_all(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let sources = self.sources(session).await?;
        let rest = session.rest();
        let mut outcome = Outcome::default();
        if !self.follow {
            for source in &sources {
                outcome.note(self.print(&rest, source).await);
            }
            return Ok(outcome.code());
        }
        if sources.len() > self.max_log_requests {
            return fail(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
                sources.len(),
                self.max_log_requests
            ));
        }
        let mut all: FuturesUnordered<_> = sources.iter().map(|s| self.print(&rest, s)).collect();
        while let Some(result) = all.next().await {
            outcome.note(result);
        }
        Ok(outcome.code())
    }

    async fn sources(&self, session: &Session) -> anyhow::Result<Vec<Source>> {
        let found = match (&self.pod, &self.selector) {
            (Some(name), _) if self.all_containers => pods::of(session, name).await.map_err(|e| absent(session, e))?,
            (Some(name), _) => vec![pods::one(session, name).await.map_err(|e| absent(session, e))?],
            (None, selector) => {
                let resource = session.resource("pods").await?;
                session.list(&resource, &session.namespace, selector.as_deref()).await?
            }
        };
        let mut sources = Vec::new();
        for pod in &found {
            for container in self.containers(pod)? {
                sources.push(Source {
                    namespace: view::namespace(pod).to_owned(),
                    pod: view::name(pod).to_owned(),
                    container,
                });
            }
        }
        Ok(sources)
    }

    fn containers(&self, pod: &Value) -> anyhow::Result<Vec<String>> {
        let all = pods::containers(pod);
        if self.all_containers {
            return Ok(all.into_iter().map(str::to_owned).collect());
        }
        match self.container.as_ref().or(self.positional_container.as_ref()) {
            Some(name) if !all.contains(&name.as_str()) => {
                fail(format!("container {name} is not valid for pod {}", view::name(pod)))
            }
            Some(name) => Ok(vec![name.clone()]),
            None => Ok(vec![pods::default_container(pod)?]),
        }
    }

    fn options(&self) -> anyhow::Result<Options> {
        let since = match (&self.since, &self.since_time) {
            (Some(since), _) => {
                let seconds = duration::parse(since).or_else(fail)?.as_secs().max(1);
                Some(Since::Seconds(seconds))
            }
            (None, Some(time)) => match time.parse() {
                Ok(time) => Some(Since::Time(time)),
                Err(error) => return fail(format!("since-time {time:?} is not an RFC 3339 time: {error}")),
            },
            (None, None) => None,
        };
        let tail = match (self.tail, &self.selector) {
            (Some(lines), _) => Some(lines).filter(|lines| *lines >= 0),
            (None, Some(_)) => Some(10),
            (None, None) => None,
        };
        Ok(Options {
            follow: self.follow,
            previous: self.previous,
            timestamps: self.timestamps,
            tail,
            since,
            limit_bytes: self.limit_bytes,
        })
    }

    async fn print(&self, rest: &Rest, source: &Source) -> anyhow::Result<()> {
        let mut log = logs::open(rest, source, &self.options()?).await?;
        let mut out = tokio::io::stdout();
        let mixed = self.prefix || (self.follow && self.selector.is_some());
        if !mixed {
            tokio::io::copy_buf(&mut log, &mut out).await?;
            return Ok(out.flush().await?);
        }
        // Whole lines, so that several logs do not mix within one.
        let prefix = match self.prefix {
            true => format!("[pod/{}/{}] ", source.pod, source.container),
            false => String::new(),
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            line.extend_from_slice(prefix.as_bytes());
            if log.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            out.write_all(&line).await?;
            out.flush().await?;
        }
    }
}
