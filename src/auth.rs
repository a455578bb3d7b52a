//! `mizzen auth`: what one may do, and who one is.

use std::process::ExitCode;

use http::Method;
use mizzen_api::view::{self, flag, list, text};
use serde_json::{Value, json};

use crate::cli::output::Columns;
use crate::cli::{self, Call, Connect, Session, say};

/// Ask what you may do, or who you are.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Whether you may do something: VERB TYPE[/NAME], or VERB /PATH.
    #[command(name = "can-i")]
    CanI(CanI),
    /// Who you are to the server.
    #[command(name = "whoami")]
    WhoAmI(WhoAmI),
}

#[derive(clap::Args)]
struct CanI {
    /// Verb, and what it is about.
    #[arg(value_name = "VERB TYPE", num_args = 0..=3)]
    arguments: Vec<String>,
    /// List all that you may do in the namespace.
    #[arg(long)]
    list: bool,
    /// Subresource, such as log.
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Say nothing: the exit code tells.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct WhoAmI {
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::CanI(mut args) => cli::run(std::mem::take(&mut args.connect), async |session| {
                args.ask(&session).await
            }),
            What::WhoAmI(args) => cli::run(args.connect, async |session| whoami(&session).await),
        }
    }
}

/// What is asked for by its right name.
const VERBS: [&str; 15] = [
    "*",
    "approve",
    "bind",
    "create",
    "delete",
    "deletecollection",
    "escalate",
    "get",
    "impersonate",
    "list",
    "patch",
    "sign",
    "update",
    "use",
    "watch",
];

/// Has a review answered.
async fn review(session: &Session, group: &str, kind: &str, spec: Value) -> anyhow::Result<Value> {
    let plural = format!("{}s", kind.to_lowercase());
    let path = mizzen_api::resource::collection_path(group, "v1", &plural, "");
    let mut review = json!({"apiVersion": format!("{group}/v1"), "kind": kind});
    if !spec.is_null() {
        review["spec"] = spec;
    }
    session
        .call(Call::new(Method::POST, path).body("application/json", &review))
        .await
}

async fn whoami(session: &Session) -> anyhow::Result<ExitCode> {
    let answer = review(session, "authentication.k8s.io", "SelfSubjectReview", Value::Null).await?;
    let user = &answer["status"]["userInfo"];
    let words = |list: &[Value]| {
        let words: Vec<_> = list.iter().filter_map(Value::as_str).collect();
        format!("[{}]", words.join(" "))
    };
    let mut lines = vec![["ATTRIBUTE".to_owned(), "VALUE".to_owned()].to_vec()];
    lines.push(vec!["Username".to_owned(), text(user, "/username").to_owned()]);
    if !text(user, "/uid").is_empty() {
        lines.push(vec!["UID".to_owned(), text(user, "/uid").to_owned()]);
    }
    lines.push(vec!["Groups".to_owned(), words(list(user, "/groups"))]);
    for (key, values) in view::map(user, "/extra").into_iter().flatten() {
        let values = values.as_array().map_or(&[][..], Vec::as_slice);
        lines.push(vec![format!("Extra: {key}"), words(values)]);
    }
    say(Columns::default().lay_out(&lines).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

impl CanI {
    async fn ask(&self, session: &Session) -> anyhow::Result<ExitCode> {
        if self.list {
            return all(session).await;
        }
        let [verb, what, names @ ..] = self.arguments.as_slice() else {
            return cli::error::fail("you must specify two arguments: verb resource or verb resource/resourceName.");
        };
        if !VERBS.contains(&verb.as_str()) && !what.starts_with('/') {
            cli::tell(format!("Warning: verb '{verb}' is not a known verb\n"));
        }
        let namespace = if self.all_namespaces { "" } else { &session.namespace };
        let spec = if what.starts_with('/') {
            json!({"nonResourceAttributes": {"verb": verb, "path": what}})
        } else {
            let (what, name) = what
                .split_once('/')
                .unwrap_or((what, names.first().map_or("", String::as_str)));
            let (group, resource) = match session.registry().await?.resolve(what) {
                Some(row) => {
                    if !row.namespaced() && !namespace.is_empty() {
                        let within = match &*row.group {
                            "" => String::new(),
                            group => format!(" in group '{group}'"),
                        };
                        cli::tell(format!(
                            "Warning: resource '{}' is not namespace scoped{within}\n",
                            row.plural
                        ));
                    }
                    (row.group.to_string(), row.plural.to_string())
                }
                None if what == "*" => ("*".to_owned(), "*".to_owned()),
                None => {
                    cli::tell(format!("Warning: the server doesn't have a resource type '{what}'\n"));
                    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
                    (group.to_owned(), resource.to_owned())
                }
            };
            json!({"resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": resource,
                "subresource": self.subresource, "name": name}})
        };
        let answer = review(session, "authorization.k8s.io", "SelfSubjectAccessReview", spec).await?;
        let allowed = flag(&answer, "/status/allowed");
        if !self.quiet {
            let reason = text(&answer, "/status/reason");
            let reason = if reason.is_empty() || allowed {
                String::new()
            } else {
                format!(" - {reason}")
            };
            say(format!("{}{reason}", if allowed { "yes" } else { "no" }))?;
        }
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// All that one may do in the namespace.
async fn all(session: &Session) -> anyhow::Result<ExitCode> {
    let spec = json!({"namespace": session.namespace});
    let answer = review(session, "authorization.k8s.io", "SelfSubjectRulesReview", spec).await?;
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = list(rule, field).iter().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let shown = |list: &[String]| format!("[{}]", list.join(" "));
    let headings = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];
    // Each line with what kubectl sorts by: the rule as Go prints it.
    let mut lines: Vec<([String; 5], Vec<String>)> = Vec::new();
    for rule in list(&answer, "/status/resourceRules") {
        let (names, verbs) = (shown(&words(rule, "/resourceNames")), shown(&words(rule, "/verbs")));
        for group in words(rule, "/apiGroups") {
            for resource in words(rule, "/resources") {
                let rule = [&verbs, &format!("[{group}]"), &format!("[{resource}]"), &names, "[]"];
                let resource = match &*group {
                    "" => resource,
                    group => format!("{resource}.{group}"),
                };
                lines.push((
                    rule.map(str::to_owned),
                    vec![resource, "[]".to_owned(), names.clone(), verbs.clone()],
                ));
            }
        }
    }
    for rule in list(&answer, "/status/nonResourceRules") {
        let verbs = shown(&words(rule, "/verbs"));
        for url in words(rule, "/nonResourceURLs") {
            let url = format!("[{url}]");
            let rule = [&verbs, "[]", "[]", "[]", &*url];
            lines.push((
                rule.map(str::to_owned),
                vec![String::new(), url, "[]".to_owned(), verbs.clone()],
            ));
        }
    }
    lines.sort();
    let rules = lines.into_iter().map(|(_, line)| line);
    let lines: Vec<_> = std::iter::once(headings.map(str::to_owned).to_vec())
        .chain(rules)
        .collect();
    say(Columns::default().lay_out(&lines).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
