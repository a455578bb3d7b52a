//! `mizzen get`: shows objects, and follows their changes.

use std::cmp::Ordering;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use futures::StreamExt as _;
use http::Method;
use jiff::Timestamp;
use mizzen_api::client::rest::is_not_found;
use mizzen_api::jsonpath::{self, Path};
use mizzen_api::resource::Resource;
use mizzen_api::view;
use serde_json::Value;

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::output::{self, Columns, Dress, Format, Rows};
use crate::cli::targets::{self, Target};
use crate::cli::{self, Call, Connect, Session, tell};

/// Show objects.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to show: TYPE [NAME…], TYPE/NAME…, or TYPE,TYPE.
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Form of the output: wide, json, yaml, name, jsonpath=…, custom-columns=….
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// After showing what there is, show every change.
    #[arg(short, long)]
    watch: bool,
    /// Show changes only.
    #[arg(long)]
    watch_only: bool,
    /// Look in all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these field values.
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// Show all labels.
    #[arg(long)]
    show_labels: bool,
    /// Show these labels as columns.
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Put the kind before names.
    #[arg(long)]
    show_kind: bool,
    /// Show metadata.managedFields in JSON and YAML.
    #[arg(long)]
    show_managed_fields: bool,
    /// Sort by the value at this JSON path.
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Leave headings out.
    #[arg(long)]
    no_headers: bool,
    /// An object that does not exist is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// Show this subresource of the objects.
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| Get { args: self, session }.run().await)
    }
}

struct Get {
    args: Args,
    session: Session,
}

/// What was found of one resource.
struct Found {
    resource: Arc<Resource>,
    rows: Rows,
    /// Where a watch continues.
    revision: String,
}

impl Get {
    async fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.args.all_namespaces {
            self.session.namespace.clear();
        }
        let targets = self.targets().await?;
        let mut outcome = Outcome::default();
        let mut found = Vec::new();
        for target in &targets {
            found.extend(self.fetch(target, &mut outcome).await?);
        }
        for one in &mut found {
            self.sort(&mut one.rows)?;
        }
        if self.args.watch || self.args.watch_only {
            return self.watch(&targets, found).await;
        }
        let single = targets.len() == 1 && targets[0].names.len() == 1;
        match self.args.output.clone() {
            None | Some(Format::Wide) => {
                self.print_tables(&found, matches!(outcome.code(), c if c == ExitCode::SUCCESS))?
            }
            Some(format) => self.print(&format, &found, single)?,
        }
        Ok(outcome.code())
    }

    async fn targets(&self) -> anyhow::Result<Vec<Target>> {
        if self.args.files.is_empty() {
            return targets::parse(&self.session, &self.args.arguments).await;
        }
        let mut targets = Vec::new();
        for manifest in self.args.files.read()? {
            targets.push(Target {
                resource: self.session.resource_of(&manifest.object).await?,
                names: vec![view::name(&manifest.object).to_owned()],
            });
        }
        Ok(targets)
    }

    /// A call about a target: to one of its objects by name, or to all that are selected.
    fn call(&self, target: &Target, name: &str) -> Call {
        let namespace = target.namespace(&self.session);
        let accept = match self.args.output {
            None | Some(Format::Wide) => Rows::accept(&target.resource),
            Some(_) => "application/json",
        };
        let call = Call::to(Method::GET, &target.resource, namespace, name).accept(accept);
        let call = match (&self.args.subresource, name) {
            (Some(subresource), name) if !name.is_empty() => call.sub(subresource),
            _ => call,
        };
        let call = match accept.contains("as=Table") {
            true => call.query("includeObject", "Object"),
            false => call,
        };
        match name {
            "" => call
                .query_opt("labelSelector", self.args.selector.clone())
                .query_opt("fieldSelector", self.args.field_selector.clone()),
            _ => call,
        }
    }

    async fn fetch(&self, target: &Target, outcome: &mut Outcome) -> anyhow::Result<Vec<Found>> {
        let names: Vec<&str> = match target.names.as_slice() {
            [] => vec![""],
            names => names.iter().map(String::as_str).collect(),
        };
        let mut found = Vec::new();
        for name in names {
            let mut answer = match self.session.call(self.call(target, name)).await {
                Ok(answer) => answer,
                Err(error) => {
                    let error = if name.is_empty() {
                        self.explain(&target.resource, error)
                    } else {
                        error
                    };
                    let absent = error.downcast_ref().is_some_and(is_not_found);
                    if !(absent && self.args.ignore_not_found) {
                        outcome.note(Err(error));
                    }
                    continue;
                }
            };
            let revision = view::text(&answer, "/metadata/resourceVersion").to_owned();
            self.tidy(&target.resource, &mut answer);
            found.push(Found {
                resource: target.resource.clone(),
                rows: Rows::read(&target.resource, answer, Timestamp::now()),
                revision,
            });
        }
        Ok(found)
    }

    /// A list that makes no sense to the server usually has a selector that makes none.
    fn explain(&self, resource: &Resource, error: anyhow::Error) -> anyhow::Error {
        let Ok(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>().ok_or(()) else {
            return error;
        };
        if !matches!(status.code, 400 | 404) {
            return error;
        }
        let mut status = status.clone();
        status.message = format!(
            "Unable to find \"{}/{}, Resource={}\" that match label selector {:?}, field selector {:?}: {}",
            resource.group,
            resource.version,
            resource.plural,
            self.args.selector.as_deref().unwrap_or_default(),
            self.args.field_selector.as_deref().unwrap_or_default(),
            status.message
        );
        kube::Error::Api(status).into()
    }

    /// Gives items of a list their kind, and hides who manages which field.
    fn tidy(&self, resource: &Resource, answer: &mut Value) {
        let hide = |object: &mut Value| {
            if let (Some(metadata), false) = (
                object.get_mut("metadata").and_then(Value::as_object_mut),
                self.args.show_managed_fields,
            ) {
                metadata.remove("managedFields");
            }
        };
        hide(answer);
        if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
            for item in items {
                hide(item);
                let Value::Object(fields) = item else { continue };
                fields
                    .entry("apiVersion")
                    .or_insert_with(|| resource.api_version().into());
                fields.entry("kind").or_insert_with(|| (&*resource.kind).into());
            }
        }
    }

    fn sort(&self, rows: &mut Rows) -> anyhow::Result<()> {
        let Some(path) = &self.args.sort_by else { return Ok(()) };
        let path = Path::parse(path).or_else(fail)?;
        rows.rows.sort_by(|(_, a), (_, b)| {
            let key = |object| path.find(object).first().copied().cloned().unwrap_or_default();
            compare(&key(a), &key(b))
        });
        Ok(())
    }

    fn dress(&self, several: bool) -> Dress {
        Dress {
            wide: matches!(self.args.output, Some(Format::Wide)),
            namespace: false,
            kind: several || self.args.show_kind,
            labels: self.args.show_labels,
            label_columns: self.args.label_columns.clone(),
            no_headers: self.args.no_headers,
        }
    }

    fn print_tables(&self, found: &[Found], all_well: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        // Objects that were named one by one share a table with the others of their kind.
        let mut groups: Vec<Vec<&Found>> = Vec::new();
        for one in found.iter().filter(|f| !f.rows.rows.is_empty()) {
            match groups.last_mut() {
                Some(group) if Arc::ptr_eq(&group[0].resource, &one.resource) => group.push(one),
                _ => groups.push(vec![one]),
            }
        }
        if groups.is_empty() && all_well && !self.args.ignore_not_found {
            self.tell_nothing(found);
        }
        let several = groups.len() > 1 || found.iter().any(|f| !Arc::ptr_eq(&f.resource, &found[0].resource));
        for (at, group) in groups.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            let resource = &group[0].resource;
            let dress = Dress {
                namespace: self.args.all_namespaces && resource.namespaced(),
                ..self.dress(several)
            };
            let mut lines = Vec::new();
            if !dress.no_headers {
                lines.push(dress.headings(&group[0].rows));
            }
            for one in group {
                lines.extend(one.rows.rows.iter().map(|row| dress.cells(resource, &one.rows, row)));
            }
            write!(out, "{}", Columns::default().lay_out(&lines))?;
        }
        Ok(())
    }

    fn tell_nothing(&self, found: &[Found]) {
        let namespaced = found.iter().any(|f| f.resource.namespaced());
        match namespaced && !self.args.all_namespaces {
            true => tell(format!("No resources found in {} namespace.", self.session.namespace)),
            false => tell("No resources found"),
        }
    }

    fn print(&self, format: &Format, found: &[Found], single: bool) -> anyhow::Result<()> {
        let objects: Vec<_> = found
            .iter()
            .flat_map(|f| f.rows.rows.iter().map(|(_, object)| (&*f.resource, object)))
            .collect();
        if objects.is_empty() && single {
            return Ok(());
        }
        let mut text = String::new();
        if let (Format::CustomColumns(columns), false) = (format, self.args.no_headers) {
            let mut rows = vec![columns.iter().map(|(heading, _)| heading.clone()).collect()];
            rows.extend(objects.iter().map(|(_, object)| output::custom_cells(format, object)));
            text.push_str(&Columns::default().lay_out(&rows));
        } else {
            text.push_str(&output::format(format, &objects, single));
        }
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    async fn watch(&self, targets: &[Target], found: Vec<Found>) -> anyhow::Result<ExitCode> {
        let ([target], true) = (targets, found.len() <= 1) else {
            return fail("you may only specify a single resource type");
        };
        let resource = &target.resource;
        let dress = Dress {
            namespace: self.args.all_namespaces && resource.namespaced(),
            ..self.dress(false)
        };
        let mut columns = Columns::default();
        let mut headed = dress.no_headers;
        let mut revision = String::new();
        for one in found {
            revision.clone_from(&one.revision);
            if !self.args.watch_only {
                self.print_change(&dress, resource, &one.rows, &mut columns, &mut headed)?;
            }
        }
        let call = match target.names.as_slice() {
            [name] => self
                .call(target, "")
                .query("fieldSelector", format!("metadata.name={name}")),
            _ => self.call(target, ""),
        };
        let mut events = self.session.watch(call.query("resourceVersion", revision)).await?;
        while let Some(event) = events.next().await {
            let mut object = event?["object"].take();
            self.tidy(resource, &mut object);
            let rows = Rows::read(resource, object, Timestamp::now());
            self.print_change(&dress, resource, &rows, &mut columns, &mut headed)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_change(
        &self,
        dress: &Dress,
        resource: &Resource,
        rows: &Rows,
        columns: &mut Columns,
        headed: &mut bool,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match &self.args.output {
            None | Some(Format::Wide) => {
                let mut lines = Vec::new();
                if !*headed && !rows.rows.is_empty() {
                    lines.push(dress.headings(rows));
                    *headed = true;
                }
                lines.extend(rows.rows.iter().map(|row| dress.cells(resource, rows, row)));
                write!(out, "{}", columns.lay_out(&lines))?;
            }
            Some(format) => {
                for (_, object) in &rows.rows {
                    if matches!(format, Format::Yaml) && std::mem::replace(headed, true) {
                        writeln!(out, "---")?;
                    }
                    write!(out, "{}", output::format(format, &[(resource, object)], true))?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

/// The order of two values of any type: numbers by size, everything else as text.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => jsonpath::display(a).cmp(&jsonpath::display(b)),
    }
}
