//! Roles and their bindings.

use serde_json::Value;

use super::Subject;
use super::writer::Writer;
use crate::view::{list, text};

/// Permissions on one resource, or on paths.
struct Rule {
    group: Option<String>,
    resource: Option<String>,
    paths: Vec<String>,
    names: Vec<String>,
    verbs: Vec<String>,
}

pub(super) fn role(subject: &Subject<'_>, out: &mut Writer) {
    subject.name(out);
    subject.labels_and_annotations(out);
    out.line(0, "PolicyRule:");
    out.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    out.line(1, "---------\t-----------------\t--------------\t-----");
    for rule in rules(subject.object) {
        let resource = match (&rule.resource, rule.group.as_deref()) {
            (None, _) => String::new(),
            (Some(resource), None | Some("")) => resource.clone(),
            // The group stands before the subresource.
            (Some(resource), Some(group)) => match resource.split_once('/') {
                Some((resource, subresource)) => format!("{resource}.{group}/{subresource}"),
                None => format!("{resource}.{group}"),
            },
        };
        let list = |texts: &[String]| format!("[{}]", texts.join(" "));
        let (paths, names, verbs) = (list(&rule.paths), list(&rule.names), list(&rule.verbs));
        out.line(1, format!("{resource}\t{paths}\t{names}\t{verbs}"));
    }
}

/// The rules, one resource each; rules that differ in verbs only are one.
fn rules(role: &Value) -> Vec<Rule> {
    let texts =
        |rule: &Value, field: &str| -> Vec<String> { list(rule, field).iter().map(crate::view::scalar).collect() };
    let mut rules: Vec<Rule> = Vec::new();
    for rule in list(role, "/rules") {
        let (names, verbs) = (texts(rule, "/resourceNames"), texts(rule, "/verbs"));
        let mut add = |group: Option<String>, resource: Option<String>, paths: Vec<String>| {
            let same = |r: &&mut Rule| {
                r.group == group && r.resource == resource && r.paths == paths && r.names == names && paths.is_empty()
            };
            match rules.iter_mut().find(same) {
                Some(known) => known.verbs.extend(verbs.iter().cloned()),
                None => rules.push(Rule {
                    group,
                    resource,
                    paths,
                    names: names.clone(),
                    verbs: verbs.clone(),
                }),
            }
        };
        for group in texts(rule, "/apiGroups") {
            for resource in texts(rule, "/resources") {
                add(Some(group.clone()), Some(resource), Vec::new());
            }
        }
        for path in texts(rule, "/nonResourceURLs") {
            add(None, None, vec![path]);
        }
    }
    rules.sort_by_cached_key(sort_key);
    rules
}

/// kubectl sorts rules by how Go prints them.
fn sort_key(rule: &Rule) -> String {
    let (verbs, names, paths) = (rule.verbs.join(" "), rule.names.join(" "), rule.paths.join(" "));
    let group = rule.group.as_deref().unwrap_or_default();
    let resource = rule.resource.as_deref().unwrap_or_default();
    format!(
        "Verbs:[{verbs}],APIGroups:[{group}],Resources:[{resource}],ResourceNames:[{names}],NonResourceURLs:[{paths}],"
    )
}

pub(super) fn binding(subject: &Subject<'_>, out: &mut Writer) {
    subject.name(out);
    subject.labels_and_annotations(out);
    out.line(0, "Role:");
    for (title, path) in [("Kind", "/roleRef/kind"), ("Name", "/roleRef/name")] {
        out.line(1, format!("{title}:\t{}", text(subject.object, path)));
    }
    out.line(0, "Subjects:");
    out.line(1, "Kind\tName\tNamespace");
    out.line(1, "----\t----\t---------");
    for s in list(subject.object, "/subjects") {
        let field = |path| text(s, path);
        out.line(
            1,
            format!("{}\t{}\t{}", field("/kind"), field("/name"), field("/namespace")),
        );
    }
}
