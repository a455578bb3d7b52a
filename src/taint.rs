//! `mizzen taint`: keeps Pods off nodes that they do not tolerate.

use std::process::ExitCode;

use mizzen_api::view::{self, list, text};
use serde_json::{Value, json};

use crate::cli::chosen::{Chosen, split};
use crate::cli::error::{Outcome, fail};
use crate::cli::targets::display;
use crate::cli::{self, Connect, Session, say};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Set or remove taints of nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// node NAME…, then KEY=VALUE:EFFECT or KEY:EFFECT to set, KEY- or KEY:EFFECT- to remove.
    #[arg(value_name = "node NAME KEY=VALUE:EFFECT")]
    arguments: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Replace values that are there.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    connect: Connect,
}

/// One change.
#[derive(Debug, PartialEq)]
struct Change<'a> {
    key: &'a str,
    value: &'a str,
    effect: &'a str,
    remove: bool,
}

impl<'a> Change<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let remove = text.ends_with('-');
        let (mark, effect) = text
            .strip_suffix('-')
            .unwrap_or(text)
            .split_once(':')
            .unwrap_or((text.trim_end_matches('-'), ""));
        let (key, value) = mark.split_once('=').unwrap_or((mark, ""));
        let known = EFFECTS.contains(&effect) || remove && effect.is_empty();
        if key.is_empty() {
            return fail(format!("invalid taint spec: {text}"));
        }
        if !known {
            return fail(format!("invalid taint effect: {effect}, unsupported taint effect"));
        }
        Ok(Self {
            key,
            value,
            effect,
            remove,
        })
    }

    fn is_about(&self, taint: &Value) -> bool {
        text(taint, "/key") == self.key && (self.effect.is_empty() || text(taint, "/effect") == self.effect)
    }
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(mut self) -> anyhow::Result<ExitCode> {
        let connect = std::mem::take(&mut self.connect);
        cli::run(connect, async |session| self.taint_all(&session).await)
    }

    async fn taint_all(&self, session: &Session) -> anyhow::Result<ExitCode> {
        let is_change = |argument: &str| argument.contains([':', '=']) || argument.ends_with('-');
        let (names, changes) = split(&self.arguments, is_change, "at least one taint update is required")?;
        let changes: Vec<_> = changes
            .iter()
            .map(|text| Change::parse(text))
            .collect::<Result<_, _>>()?;
        let mut outcome = Outcome::default();
        for (resource, node) in self.chosen.objects(session, &names).await? {
            let change = async {
                if resource.plural != "nodes" {
                    return fail(format!(
                        "invalid resource type {}, only node is supported",
                        resource.plural
                    ));
                }
                let name = view::name(&node).to_owned();
                // Mostly only the node's status changed.
                let again = |_: &Value| true;
                let set = async |node: &Value| {
                    let taints = taints(&name, list(node, "/spec/taints"), &changes, self.overwrite)?;
                    let version = text(node, "/metadata/resourceVersion");
                    // The list is replaced as a whole, so nobody may have changed it meanwhile.
                    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
                    self.chosen
                        .merge(session, &resource, ("", &name), patch)
                        .await
                        .map(drop)
                };
                session.change(&resource, node, again, set).await?;
                let done = match changes.iter().all(|change| change.remove) {
                    true => "untainted",
                    false => "tainted",
                };
                Ok(say(format!(
                    "{} {done}{}",
                    display(&resource, &name),
                    self.chosen.dry()
                ))?)
            };
            outcome.note(change.await);
        }
        Ok(outcome.code())
    }
}

/// A node's taints after the changes.
fn taints(node: &str, before: &[Value], changes: &[Change<'_>], overwrite: bool) -> anyhow::Result<Vec<Value>> {
    let mut taints = before.to_vec();
    for change in changes {
        let known = taints.iter().position(|taint| change.is_about(taint));
        match (known, change.remove) {
            (Some(_), true) => taints.retain(|taint| !change.is_about(taint)),
            (None, true) => return fail(format!("taint {:?} not found", change.key)),
            (Some(_), false) if !overwrite => {
                let key = change.key;
                return fail(format!(
                    "node {node} already has {key} taint(s) with same effect(s) and --overwrite is false"
                ));
            }
            (at, false) => {
                let mut taint = json!({"key": change.key, "effect": change.effect});
                if !change.value.is_empty() {
                    taint["value"] = json!(change.value);
                }
                match at {
                    Some(at) => taints[at] = taint,
                    None => taints.push(taint),
                }
            }
        }
    }
    Ok(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_set_replaced_and_removed() {
        let before = [json!({"key": "a", "effect": "NoSchedule", "value": "1"})];
        let check = |changes: &[&str], overwrite| {
            let changes: Result<Vec<_>, _> = changes.iter().map(|text| Change::parse(text)).collect();
            match changes.and_then(|changes| taints("one", &before, &changes, overwrite)) {
                Ok(taints) => Value::from(taints).to_string(),
                Err(error) => error.to_string(),
            }
        };
        insta::assert_snapshot!(check(&["b=2:NoExecute"], false), @r#"[{"effect":"NoSchedule","key":"a","value":"1"},{"effect":"NoExecute","key":"b","value":"2"}]"#);
        insta::assert_snapshot!(check(&["a=2:NoSchedule"], false), @r#"node one already has a taint(s) with same effect(s) and --overwrite is false"#);
        insta::assert_snapshot!(check(&["a=2:NoSchedule"], true), @r#"[{"effect":"NoSchedule","key":"a","value":"2"}]"#);
        insta::assert_snapshot!(check(&["a:NoSchedule-"], false), @r#"[]"#);
        insta::assert_snapshot!(check(&["a-"], false), @r#"[]"#);
        insta::assert_snapshot!(check(&["b-"], false), @r#"taint "b" not found"#);
        insta::assert_snapshot!(check(&["b=1:Never"], false), @r#"invalid taint effect: Never, unsupported taint effect"#);
    }
}
