//! `mizzen api-resources`: what the server serves.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use mizzen_api::resource::Resource;

use crate::cli::output::{Columns, Format};
use crate::cli::{self, Connect};

/// List the resources that the server serves.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only resources in namespaces, or (=false) only those outside.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    namespaced: Option<bool>,
    /// Only resources of this group.
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only resources with all of these verbs.
    #[arg(long, value_name = "VERB", value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only resources of these categories.
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    categories: Vec<String>,
    /// Form of the output: wide or name.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Leave headings out.
    #[arg(long)]
    no_headers: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| {
            let mut rows: Vec<Arc<Resource>> = Vec::new();
            for row in session.registry().await?.iter().filter(|r| self.wants(r)) {
                // Of several versions the preferred one, which comes first.
                if !rows.iter().any(|r| r.group == row.group && r.plural == row.plural) {
                    rows.push(row.clone());
                }
            }
            rows.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
            Ok(std::io::stdout()
                .write_all(self.print(&rows).as_bytes())
                .map(|()| ExitCode::SUCCESS)?)
        })
    }

    fn wants(&self, row: &Resource) -> bool {
        self.namespaced.is_none_or(|n| n == row.namespaced())
            && self.api_group.as_ref().is_none_or(|g| *g == row.group)
            && self.verbs.iter().all(|v| row.allows(v))
            && self.categories.iter().all(|c| row.categories.iter().any(|r| r == c))
            && !row.verbs.is_empty()
    }

    fn print(&self, rows: &[Arc<Resource>]) -> String {
        if matches!(self.output, Some(Format::Name)) {
            return rows.iter().map(|r| format!("{}\n", r.qualified_name())).collect();
        }
        let wide = matches!(self.output, Some(Format::Wide));
        let mut lines = Vec::new();
        if !self.no_headers {
            let mut headings = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
            headings.extend(wide.then_some(["VERBS", "CATEGORIES"]).into_iter().flatten());
            lines.push(headings.into_iter().map(str::to_owned).collect());
        }
        for r in rows {
            let mut cells = vec![
                r.plural.to_string(),
                r.short_names.join(","),
                r.api_version().into_owned(),
                r.namespaced().to_string(),
                r.kind.to_string(),
            ];
            if wide {
                cells.extend([r.verbs.join(","), r.categories.join(",")]);
            }
            lines.push(cells);
        }
        Columns::default().lay_out(&lines)
    }
}
