//! `mizzen events`: what happened, in order.

use std::io::Write as _;
use std::process::ExitCode;

use futures::StreamExt as _;
use http::Method;
use jiff::Timestamp;
use mizzen_api::view::{self, text};
use serde_json::Value;

use crate::cli::error::fail;
use crate::cli::output::{self, Columns, Dress, Format, Rows};
use crate::cli::{self, Call, Connect, Session, tell};

/// Show what happened, the latest last.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only about this object, as TYPE/NAME.
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only these types: Normal, Warning.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Go on with what happens next.
    #[arg(short, long)]
    watch: bool,
    /// Leave headings out.
    #[arg(long)]
    no_headers: bool,
    /// Form of the output: json or yaml.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    connect: Connect,
}

/// The column of the object: this command tells its kind in full.
const OBJECT: usize = 3;

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |mut session| {
            if self.all_namespaces {
                session.namespace.clear();
            }
            self.show(&session).await
        })
    }

    async fn show(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let resource = session.resource("events.v1.").await?;
        let fields = match &self.about {
            Some(about) => Some(self.fields(session, about).await?),
            None => None,
        };
        let call =
            || Call::to(Method::GET, &resource, &session.namespace, "").query_opt("fieldSelector", fields.as_deref());
        let mut answer = session.call(call()).await?;
        let revision = text(&answer, "/metadata/resourceVersion").to_owned();
        let mut events = match answer["items"].take() {
            Value::Array(events) => events,
            _ => Vec::new(),
        };
        events.retain(|event| self.wants(event));
        events.sort_by_key(happened);
        if events.is_empty() && !self.watch {
            match session.namespace.as_str() {
                "" => tell("No events found."),
                namespace => tell(format!("No events found in {namespace} namespace.")),
            }
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(format) = &self.output {
            let objects: Vec<_> = events.iter().map(|event| (&*resource, event)).collect();
            write!(std::io::stdout(), "{}", output::format(format, &objects, false))?;
            return Ok(ExitCode::SUCCESS);
        }
        let dress = Dress {
            namespace: self.all_namespaces,
            ..Dress::default()
        };
        let mut columns = Columns::default();
        let mut headed = self.no_headers;
        let mut print = |events: Vec<Value>| {
            let list = serde_json::json!({"items": events});
            let rows = Rows::read(&resource, list, Timestamp::now());
            let mut lines = Vec::new();
            if !std::mem::replace(&mut headed, true) {
                lines.push(dress.headings(&rows));
            }
            let at = usize::from(dress.namespace) + OBJECT;
            lines.extend(rows.rows.iter().map(|row| {
                let mut cells = dress.cells(&resource, &rows, row);
                let about = |field: &str| text(&row.1, &format!("/involvedObject/{field}"));
                cells[at] = format!("{}/{}", about("kind"), about("name"));
                cells
            }));
            write!(std::io::stdout(), "{}", columns.lay_out(&lines))
        };
        print(events)?;
        if !self.watch {
            return Ok(ExitCode::SUCCESS);
        }
        let mut changes = session.watch(call().query("resourceVersion", revision)).await?;
        while let Some(change) = changes.next().await {
            let mut change = change?;
            let event = change["object"].take();
            if change["type"] != "DELETED" && self.wants(&event) {
                print(vec![event])?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wants(&self, event: &Value) -> bool {
        self.types.is_empty()
            || self
                .types
                .iter()
                .any(|kind| kind.eq_ignore_ascii_case(text(event, "/type")))
    }

    async fn fields(&self, session: &Session, about: &str) -> anyhow::Result<String> {
        let Some((kind, name)) = about.split_once('/') else {
            return fail("--for must be in resource/name form");
        };
        let resource = session.resource(kind).await?;
        Ok(format!(
            "involvedObject.kind={},involvedObject.name={name}",
            resource.kind
        ))
    }
}

/// When an Event happened last.
fn happened(event: &Value) -> Option<Timestamp> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .iter()
    .find_map(|path| view::time(event, path))
}
