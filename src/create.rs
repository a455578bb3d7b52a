//! `mizzen create`: makes objects, from files or from a few flags.

mod access;
mod config;
mod workload;

use std::process::ExitCode;

use anyhow::Context as _;
use http::Method;
use mizzen_api::{duration, view};
use serde_json::{Value, json};

use crate::cli::error::{Outcome, fail};
use crate::cli::manifest::Files;
use crate::cli::output::{self, Format};
use crate::cli::targets::display;
use crate::cli::{self, Call, Connect, Session, say};

/// Make objects, from files or from flags.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    generator: Option<Generator>,
}

/// How an object is made, and what is said of it.
#[derive(Clone, clap::Args)]
pub(crate) struct Making {
    /// Do not do it: only print what would be sent (client), or let the server check it (server).
    #[arg(long, global = true, value_name = "WHO", default_value = "none", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// Form of the output: json, yaml, name, jsonpath=….
    #[arg(short, long, global = true, value_name = "FORMAT")]
    output: Option<Format>,
    /// Name under which the fields are managed.
    #[arg(long, global = true, value_name = "NAME", default_value = "mizzen-create")]
    field_manager: String,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum DryRun {
    None,
    Client,
    Server,
}

/// The table of generators: each makes one object from its flags.
#[derive(clap::Subcommand)]
enum Generator {
    /// A namespace.
    #[command(visible_alias = "ns")]
    Namespace(Named),
    /// A service account.
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount(Named),
    /// A Deployment.
    #[command(visible_alias = "deploy")]
    Deployment(workload::Deployment),
    /// A Job.
    Job(workload::Job),
    /// A CronJob.
    #[command(name = "cronjob", visible_alias = "cj")]
    CronJob(workload::CronJob),
    /// A Service.
    #[command(visible_alias = "svc")]
    Service(workload::Service),
    /// A ConfigMap.
    #[command(name = "configmap", visible_alias = "cm")]
    ConfigMap(config::ConfigMap),
    /// A Secret.
    Secret(config::Secret),
    /// A Role.
    Role(access::Role),
    /// A ClusterRole.
    #[command(name = "clusterrole")]
    ClusterRole(access::Role),
    /// A RoleBinding.
    #[command(name = "rolebinding")]
    RoleBinding(access::Binding),
    /// A ClusterRoleBinding.
    #[command(name = "clusterrolebinding")]
    ClusterRoleBinding(access::Binding),
    /// A token of a service account; prints it.
    Token(Token),
}

#[derive(clap::Args)]
struct Named {
    /// Name of the object.
    name: String,
}

#[derive(clap::Args)]
struct Token {
    /// Name of the service account.
    name: String,
    /// How long the token should be good.
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,
    /// Whom it is for.
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.files.is_empty() && self.generator.is_none() {
            return fail("must specify one of -f and a kind of object to create");
        }
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.create_all(&session).await)
    }

    async fn create_all(&self, session: &Session) -> anyhow::Result<ExitCode> {
        if let Some(Generator::Token(token)) = &self.generator {
            return token.print(session).await;
        }
        let mut outcome = Outcome::default();
        if let Some(generator) = &self.generator {
            let object = match generator {
                Generator::Job(job) if job.from()?.is_some() => {
                    let name = job.from()?.unwrap_or_default();
                    let resource = session.resource("cronjobs").await?;
                    let call = Call::to(Method::GET, &resource, &session.namespace, name);
                    job.of(&session.call(call).await?)
                }
                generator => generator.object()?,
            };
            outcome.note(self.making.make(session, &object, "created").await);
        }
        for manifest in self.files.read_if_any()? {
            let created = self.making.make(session, &manifest.object, "created").await;
            outcome.note(created.with_context(|| format!("error when creating {:?}", manifest.source)));
        }
        Ok(outcome.code())
    }
}

impl Making {
    /// Makes the object, and says that it is `done`.
    pub(crate) async fn make(&self, session: &Session, object: &Value, done: &str) -> anyhow::Result<()> {
        if self.dry_run == DryRun::Client
            && let Some(format @ (Format::Json | Format::Yaml)) = &self.output
        {
            // Nothing needs to be asked of a server.
            let any = mizzen_api::resource::builtin()
                .iter()
                .next()
                .context("no built-in resources")?;
            return Ok(say(
                output::format(format, &[(any, object)], true).trim_end_matches('\n')
            )?);
        }
        let resource = session.resource_of(object).await?;
        let namespace = session.namespace_of(&resource, object)?;
        let created = match self.dry_run {
            DryRun::Client => object.clone(),
            DryRun::None | DryRun::Server => {
                let call = Call::to(Method::POST, &resource, namespace, "")
                    .query("fieldManager", self.field_manager.clone())
                    .query("fieldValidation", "Strict")
                    .query_opt("dryRun", (self.dry_run == DryRun::Server).then_some("All"))
                    .body("application/json", object);
                session.call(call).await?
            }
        };
        let dry = match self.dry_run {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        };
        match &self.output {
            Some(format) => say(output::format(format, &[(&resource, &created)], true).trim_end_matches('\n'))?,
            None => say(format!("{} {done}{dry}", display(&resource, view::name(&created))))?,
        }
        Ok(())
    }
}

impl Generator {
    fn object(&self) -> anyhow::Result<Value> {
        let simple =
            |kind: &str, named: &Named| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": named.name}});
        match self {
            Self::Namespace(named) => Ok(simple("Namespace", named)),
            Self::ServiceAccount(named) => Ok(simple("ServiceAccount", named)),
            Self::Deployment(args) => args.object(),
            Self::Job(args) => args.object(),
            Self::CronJob(args) => Ok(args.object()),
            Self::Service(args) => args.object(),
            Self::ConfigMap(args) => args.object(),
            Self::Secret(args) => args.object(),
            Self::Role(args) => args.object("Role"),
            Self::ClusterRole(args) => args.object("ClusterRole"),
            Self::RoleBinding(args) => args.object("RoleBinding"),
            Self::ClusterRoleBinding(args) => args.object("ClusterRoleBinding"),
            Self::Token(_) => fail("a token is not an object"),
        }
    }
}

impl Token {
    async fn print(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let resource = session.resource("serviceaccounts").await?;
        let mut request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": self.audience}});
        if let Some(text) = &self.duration {
            request["spec"]["expirationSeconds"] = duration::parse(text).or_else(fail)?.as_secs().into();
        }
        let call = Call::to(Method::POST, &resource, &session.namespace, &self.name)
            .sub("token")
            .body("application/json", &request);
        let answer = session.call(call).await?;
        say(view::text(&answer, "/status/token"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `key=value`
fn pair<'a>(text: &'a str, flag: &str) -> anyhow::Result<(&'a str, &'a str)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => fail(format!("invalid {flag} {text:?}, expected key=value")),
    }
}

#[cfg(test)]
mod tests;
