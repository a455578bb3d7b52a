//! `mizzen top`: what nodes and Pods use, by `metrics.k8s.io`.

use std::io::Write as _;
use std::process::ExitCode;

use http::Method;
use mizzen_api::quantity::Quantity;
use mizzen_api::view::{self, list, text};
use serde_json::Value;

use crate::cli::error::fail;
use crate::cli::output::Columns;
use crate::cli::{self, Call, Connect, Session, tell};

/// Show what nodes and Pods use.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Nodes, and how much of each is used.
    #[command(alias = "no", alias = "node")]
    Nodes(Nodes),
    /// Pods.
    #[command(alias = "po", alias = "pod")]
    Pods(Pods),
}

#[derive(clap::Args)]
struct Shown {
    /// Name; all without one.
    name: Option<String>,
    /// Those with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// The busiest first, by cpu or memory.
    #[arg(long, value_name = "cpu|memory")]
    sort_by: Option<String>,
    /// Leave headings out.
    #[arg(long)]
    no_headers: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct Nodes {
    #[command(flatten)]
    shown: Shown,
    /// Shares of all there is, not of what Pods may have.
    #[arg(long)]
    show_capacity: bool,
}

#[derive(clap::Args)]
struct Pods {
    #[command(flatten)]
    shown: Shown,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Each container for itself.
    #[arg(long)]
    containers: bool,
}

/// Thousandths of a processor, and bytes.
#[derive(Clone, Copy, Default)]
struct Use {
    cpu: Quantity,
    memory: Quantity,
}

/// A row: what stands before the numbers, and the use itself.
type Row = (Vec<String>, Use);

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Nodes(mut nodes) => cli::run(std::mem::take(&mut nodes.shown.connect), async |session| {
                nodes.show(&session).await
            }),
            What::Pods(mut pods) => cli::run(std::mem::take(&mut pods.shown.connect), async |mut session| {
                if pods.all_namespaces {
                    session.namespace.clear();
                }
                pods.show(&session).await
            }),
        }
    }
}

impl Use {
    fn read(resources: &Value) -> Self {
        let read = |name: &str| text(resources, name).parse().unwrap_or_default();
        Self {
            cpu: read("/cpu"),
            memory: read("/memory"),
        }
    }

    fn cells(self) -> [String; 2] {
        [self.millicores(), self.mebibytes()]
    }

    fn millicores(self) -> String {
        format!("{}m", self.cpu.millis())
    }

    fn mebibytes(self) -> String {
        format!("{}Mi", self.memory.value() >> 20)
    }
}

impl Shown {
    async fn metrics(&self, session: &Session, plural: &str) -> anyhow::Result<Vec<Value>> {
        let Some(resource) = session
            .registry()
            .await?
            .by_path("metrics.k8s.io", "v1beta1", plural)
            .cloned()
        else {
            return fail("Metrics API not available");
        };
        let name = self.name.as_deref().unwrap_or_default();
        let call = Call::to(Method::GET, &resource, &session.namespace, name)
            .query_opt("labelSelector", self.selector.as_deref().filter(|_| name.is_empty()));
        let mut answer = session.call(call).await?;
        Ok(match answer["items"].take() {
            Value::Array(items) => items,
            _ => vec![answer],
        })
    }

    fn print(&self, headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        if !self.no_headers {
            lines.push(headings.iter().map(|&heading| heading.to_owned()).collect());
        }
        lines.extend_from_slice(rows);
        // The last column is padded, too.
        lines
            .iter_mut()
            .for_each(|line: &mut Vec<String>| line.push(String::new()));
        Ok(std::io::stdout().write_all(Columns::default().lay_out(&lines).as_bytes())?)
    }

    fn sort(&self, rows: &mut [Row]) -> anyhow::Result<()> {
        match self.sort_by.as_deref() {
            None | Some("") => rows.sort_by(|a, b| a.0.cmp(&b.0)),
            Some("cpu") => rows.sort_by_key(|(_, used)| std::cmp::Reverse(used.cpu.millis())),
            Some("memory") => rows.sort_by_key(|(_, used)| std::cmp::Reverse(used.memory.value())),
            Some(_) => return fail("--sort-by accepts only cpu or memory"),
        }
        Ok(())
    }
}

impl Nodes {
    async fn show(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let metrics = self.shown.metrics(session, "nodes").await?;
        let nodes = session.resource("nodes").await?;
        let nodes = session.list(&nodes, "", self.shown.selector.as_deref()).await?;
        let mut rows: Vec<Row> = metrics
            .iter()
            .map(|each| (vec![view::name(each).to_owned()], Use::read(&each["usage"])))
            .collect();
        self.shown.sort(&mut rows)?;
        let from = if self.show_capacity {
            "/status/capacity"
        } else {
            "/status/allocatable"
        };
        let share = |used: i64, of: i64| match of {
            0 => "<unknown>".to_owned(),
            of => format!("{}%", used * 100 / of),
        };
        let mut lines: Vec<Vec<String>> = Vec::new();
        for (name, used) in rows {
            let node = nodes.iter().find(|node| view::name(node) == name[0]);
            let most = node
                .and_then(|node| node.pointer(from))
                .map(Use::read)
                .unwrap_or_default();
            let mut line = name;
            line.extend([used.millicores(), share(used.cpu.millis(), most.cpu.millis())]);
            line.extend([used.mebibytes(), share(used.memory.value(), most.memory.value())]);
            lines.push(line);
        }
        // Nodes that tell nothing are listed as such, unless one was asked for.
        for node in nodes.iter().filter(|_| self.shown.name.is_none()) {
            let name = view::name(node);
            if !metrics.iter().any(|each| view::name(each) == name) {
                let unknown = || "<unknown>".to_owned();
                lines.push(vec![name.to_owned(), unknown(), unknown(), unknown(), unknown()]);
            }
        }
        self.shown
            .print(&["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], &lines)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Pods {
    async fn show(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let metrics = self.shown.metrics(session, "pods").await?;
        if metrics.is_empty() {
            match self.all_namespaces {
                true => tell("No resources found"),
                false => tell(format!("No resources found in {} namespace.", session.namespace)),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows: Vec<Row> = Vec::new();
        for each in &metrics {
            let mut named = Vec::new();
            named.extend(self.all_namespaces.then(|| view::namespace(each).to_owned()));
            named.push(view::name(each).to_owned());
            let containers = list(each, "/containers")
                .iter()
                .map(|c| (text(c, "/name"), Use::read(&c["usage"])));
            if self.containers {
                rows.extend(containers.map(|(name, used)| ([named.clone(), vec![name.to_owned()]].concat(), used)));
                continue;
            }
            let total = containers.fold(Use::default(), |sum, (_, used)| Use {
                cpu: sum.cpu + used.cpu,
                memory: sum.memory + used.memory,
            });
            rows.push((named, total));
        }
        self.shown.sort(&mut rows)?;
        let mut headings = Vec::new();
        headings.extend(self.all_namespaces.then_some("NAMESPACE"));
        headings.push(if self.containers { "POD" } else { "NAME" });
        headings.extend(self.containers.then_some("NAME"));
        headings.extend(["CPU(cores)", "MEMORY(bytes)"]);
        let lines: Vec<_> = rows
            .into_iter()
            .map(|(named, used)| named.into_iter().chain(used.cells()).collect())
            .collect();
        self.shown.print(&headings, &lines)?;
        Ok(ExitCode::SUCCESS)
    }
}
