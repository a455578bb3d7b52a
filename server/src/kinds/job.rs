//! Job: what its spec may say and what of it stays, and the labels by which it knows its Pods.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::selector::LabelSelector;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{dns_label, dns_subdomain, qualified_name};
use serde_json::{Value, json};

use super::check::{Check, default, each, existing, section};
use super::pod_spec::validate::{check_label_selector, check_labels};
use super::{Context, Strategy, pod_spec};

pub mod indexes;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";
/// Upstream's limits.
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_FAILED_OF_MANY: i64 = 10_000;
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
const MAX_MANAGER_BYTES: usize = 63;
/// What may change of the template of a Job that is suspended and has never run.
const SCHEDULING_DIRECTIVES: [&str; 4] = ["affinity", "nodeSelector", "schedulingGates", "tolerations"];

/// Strategy of Job.
pub(super) struct Job;

impl Strategy for Job {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        inherit_labels(object);
        let spec = section(object, "spec");
        let is_set = |spec: &Object, field: &str| spec.get(field).is_some_and(|v| !v.is_null());
        if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
            default(spec, "completions", 1);
        }
        default(spec, "parallelism", 1);
        let per_index = is_set(spec, "backoffLimitPerIndex");
        default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        default(spec, "completionMode", "NonIndexed");
        default(spec, "suspend", false);
        default(spec, "manualSelector", false);
        let policy = is_set(spec, "podFailurePolicy");
        default(
            spec,
            "podReplacementPolicy",
            if policy { "Failed" } else { "TerminatingOrFailed" },
        );
        if let Some(policy) = existing(spec, "podFailurePolicy") {
            for rule in each(policy, "rules") {
                for pattern in each(rule, "onPodConditions") {
                    default(pattern, "status", "True");
                }
            }
        }
        template_defaults(spec);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({}));
        generate_selector(object);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check_status(&check.field("status"));
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            check_generated_selector(&check);
            check_spec(&spec);
            check_selector(&spec);
            check_pod_name(&check, &spec);
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let before = check.beside(old);
        match context.subresource {
            "" => check_spec_update(&check.field("spec"), &before),
            _ => check_status_update(&check, &before),
        }
        check.finish()
    }
}

/// Defaults of a Pod template in a Job's spec.
pub(super) fn template_defaults(spec: &mut Object) {
    if let Some(template) = existing(spec, "template")
        && let Some(pod) = existing(template, "spec")
    {
        pod_spec::set_defaults(pod);
    }
}

/// A Job without labels takes its template's.
fn inherit_labels(object: &mut Object) {
    let labels = object
        .get("spec")
        .and_then(|spec| spec.pointer("/template/metadata/labels"));
    let own = object.metadata().and_then(|m| m.get("labels"));
    let own_empty = own.and_then(Value::as_object).is_none_or(Object::is_empty);
    if let Some(labels) = labels.filter(|labels| labels.is_object()).cloned()
        && own_empty
    {
        object.metadata_mut().insert("labels".into(), labels);
    }
}

/// Labels the template and selects by the uid, unless the user does so by hand.
fn generate_selector(object: &mut Object) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let spec = section(object, "spec");
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let labels = section(section(section(spec, "template"), "metadata"), "labels");
    for (key, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
        default(labels, key, value.as_str());
    }
    default(section(section(spec, "selector"), "matchLabels"), UID, uid);
}

fn check_generated_selector(object: &Check<'_>) {
    let (spec, metadata) = (object.field("spec"), object.field("metadata"));
    if spec.field("manualSelector").bool() || !spec.field("selector").exists() {
        return;
    }
    let labels = spec.field("template").field("metadata").field("labels");
    let (name, uid) = (metadata.field("name").str(), metadata.field("uid").str());
    for (key, value) in [(UID, uid), (OLD_UID, uid), (NAME, name), (OLD_NAME, name)] {
        let path = format!("{}[{key}]", labels.path());
        let detail = format!("must be '{value}'");
        match labels.entries().find(|(label, _)| *label == key) {
            None => labels.report(FieldError::required(path, detail)),
            Some((_, label)) if label.str() != value => {
                let all = labels.value().cloned().unwrap_or_default();
                labels.report(FieldError::invalid(path, all, detail));
            }
            Some(_) => {}
        }
    }
    let mut expected = Object::new();
    for (key, value) in [(UID, uid), (OLD_UID, uid), (NAME, name), (OLD_NAME, name)] {
        expected.insert(key.into(), value.into());
    }
    let selector = spec.field("selector");
    let parsed = LabelSelector::from_object(selector.value());
    if parsed.is_ok_and(|parsed| !parsed.matches(&expected)) {
        selector.invalid("`selector` not auto-generated");
    }
}

fn check_selector(spec: &Check<'_>) {
    let (selector, labels) = (
        spec.field("selector"),
        spec.field("template").field("metadata").field("labels"),
    );
    if !selector.exists() {
        selector.required("");
        return;
    }
    check_label_selector(&selector);
    let none = Object::new();
    if let Ok(parsed) = LabelSelector::from_object(selector.value())
        && !parsed.matches(labels.value().and_then(Value::as_object).unwrap_or(&none))
    {
        labels.invalid("`selector` does not match template `labels`");
    }
}

/// Checks the spec of a Job, or of a CronJob's template for Jobs.
pub(super) fn check_spec(spec: &Check<'_>) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.field(name).not_negative();
    }
    check_mode(spec);
    let manager = spec.field("managedBy");
    if manager.exists() {
        let (domain, path) = manager.str().split_once('/').unwrap_or_default();
        if domain.is_empty() || path.is_empty() {
            manager.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")");
        } else {
            manager.problems(dns_subdomain(domain));
        }
        if manager.str().len() > MAX_MANAGER_BYTES {
            manager.report(FieldError::too_long(manager.path(), MAX_MANAGER_BYTES));
        }
    }
    let failure = spec.field("podFailurePolicy");
    let template = spec.field("template");
    if failure.exists() {
        check_failure_policy(&failure, spec, &template);
    }
    if spec.field("successPolicy").exists() {
        check_success_policy(spec);
    }
    let supported: &[&str] = match failure.exists() {
        true => &["Failed"],
        false => &["Failed", "TerminatingOrFailed"],
    };
    spec.field("podReplacementPolicy").one_of(supported);
    check_labels(&template.field("metadata").field("labels"));
    let pod = template.field("spec");
    pod_spec::validate::validate(&pod);
    let restart = pod.field("restartPolicy");
    match restart.str() {
        "" | "Always" => restart.required("valid values: \"OnFailure\", \"Never\""),
        "Never" | "OnFailure" => {}
        _ => restart.one_of(&["Never", "OnFailure"]),
    }
    if failure.exists() && restart.str() == "OnFailure" {
        restart.invalid("only \"Never\" is supported when podFailurePolicy is specified");
    }
}

fn check_mode(spec: &Check<'_>) {
    let (mode, completions, parallelism) = (
        spec.field("completionMode"),
        spec.field("completions"),
        spec.field("parallelism"),
    );
    let (limit, failed) = (spec.field("backoffLimitPerIndex"), spec.field("maxFailedIndexes"));
    if failed.exists() && !limit.exists() {
        limit.required("when maxFailedIndexes is specified");
    }
    mode.one_of(&["Indexed", "NonIndexed"]);
    if mode.str() != "Indexed" {
        for field in [limit, failed].iter().filter(|field| field.exists()) {
            field.invalid("requires indexed completion mode");
        }
        return;
    }
    if !completions.exists() {
        completions.required("when completion mode is Indexed");
    }
    let at_most = |field: &Check<'_>, most: i64, condition: &str| {
        if field.int().is_some_and(|n| n > most) {
            field.invalid(format!("must be less than or equal to {most}{condition}"));
        }
    };
    at_most(
        &parallelism,
        MAX_INDEXED_PARALLELISM,
        " when completion mode is Indexed",
    );
    let count = completions.int().unwrap_or_default();
    if failed.int().is_some_and(|n| n > count) {
        failed.invalid("must be less than or equal to completions");
    }
    at_most(&failed, MANY_COMPLETIONS, "");
    if count > MANY_COMPLETIONS && limit.exists() {
        if !failed.exists() {
            failed.required(&format!(
                "must be specified when completions is above {MANY_COMPLETIONS}"
            ));
        }
        let condition = format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        at_most(&parallelism, MAX_FAILED_OF_MANY, &condition);
        at_most(&failed, MAX_FAILED_OF_MANY, &condition);
    }
}

fn check_failure_policy(policy: &Check<'_>, spec: &Check<'_>, template: &Check<'_>) {
    let rules = policy.field("rules");
    let count = rules.items().count();
    if count > MAX_RULES {
        rules.report(FieldError::too_many(rules.path(), count, MAX_RULES));
    }
    let containers: Vec<_> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| template.field("spec").field(list).items())
        .map(|container| container.field("name").str())
        .collect();
    for rule in rules.items() {
        let action = rule.field("action");
        if action.str() == "FailIndex" && !spec.field("backoffLimitPerIndex").exists() {
            action.invalid("requires the backoffLimitPerIndex field to be set");
        }
        action.must_be_one_of(&["Count", "FailIndex", "FailJob", "Ignore"]);
        let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
        if codes.exists() {
            check_exit_codes(&codes, &containers);
        }
        let count = conditions.items().count();
        if count > MAX_PATTERNS {
            conditions.report(FieldError::too_many(conditions.path(), count, MAX_PATTERNS));
        }
        for pattern in conditions.items() {
            pattern.field("type").must_obey(qualified_name);
            pattern.field("status").must_be_one_of(&["False", "True", "Unknown"]);
        }
        if codes.exists() && count > 0 {
            rule.invalid("specifying both OnExitCodes and OnPodConditions is not supported");
        }
        if !codes.exists() && count == 0 {
            rule.invalid("specifying one of OnExitCodes and OnPodConditions is required");
        }
    }
}

fn check_exit_codes(codes: &Check<'_>, containers: &[&str]) {
    let (operator, values, name) = (
        codes.field("operator"),
        codes.field("values"),
        codes.field("containerName"),
    );
    operator.must_be_one_of(&["In", "NotIn"]);
    if name.exists() && !containers.contains(&name.str()) {
        name.invalid("must be one of the container or initContainer names in the pod template");
    }
    let count = values.items().count();
    if count == 0 {
        values.invalid("at least one value is required");
    } else if count > MAX_EXIT_CODES {
        values.report(FieldError::too_many(values.path(), count, MAX_EXIT_CODES));
    }
    let mut last = None;
    for value in values.items() {
        if operator.str() == "In" && value.int() == Some(0) {
            value.invalid("must not be 0 for the In operator");
        }
        if last.is_some_and(|last| Some(last) == value.int()) {
            value.duplicate();
        } else if last.is_some_and(|last| value.int() < Some(last)) {
            values.invalid("must be ordered");
            break;
        }
        last = value.int();
    }
}

fn check_success_policy(spec: &Check<'_>) {
    let policy = spec.field("successPolicy");
    if spec.field("completionMode").str() != "Indexed" {
        policy.invalid("requires indexed completion mode");
        return;
    }
    let rules = policy.field("rules");
    let count = rules.items().count();
    if count == 0 {
        rules.required("at least one rules must be specified when the successPolicy is specified");
    }
    if count > MAX_RULES {
        rules.report(FieldError::too_many(rules.path(), count, MAX_RULES));
    }
    let completions = spec.field("completions").int().unwrap_or_default();
    for rule in rules.items() {
        let (count, indexes) = (rule.field("succeededCount"), rule.field("succeededIndexes"));
        if !count.exists() && !indexes.exists() {
            rule.required("at least one of succeededCount or succeededIndexes must be specified");
        }
        count.positive();
        let mut available = completions;
        if indexes.exists() {
            match indexes::parse(indexes.str(), completions) {
                Ok(parsed) => available = indexes::total(&parsed),
                Err(problem) => indexes.invalid(problem),
            }
        }
        if count.int().is_some_and(|n| n > available) {
            count.invalid(match indexes.exists() {
                true => format!("must be less than or equal to {available} (the number of indexes in the specified succeededIndexes field)"),
                false => format!("must be less than or equal to {available} (the number of specified completions)"),
            });
        }
    }
}

/// The longest name among an Indexed Job's Pods must be a host name.
fn check_pod_name(object: &Check<'_>, spec: &Check<'_>) {
    let count = spec.field("completions").int().unwrap_or_default();
    if spec.field("completionMode").str() != "Indexed" || count <= 0 {
        return;
    }
    let name = object.field("metadata").field("name");
    let longest = format!("{}-{}", name.str(), count - 1);
    for problem in dns_label(&longest) {
        name.invalid(format!(
            "will not able to create pod with invalid DNS label: {longest}: {problem}"
        ));
    }
}

fn check_spec_update(spec: &Check<'_>, before: &Check<'_>) {
    let old = before.field("spec");
    check_completions(spec, &old);
    for name in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        spec.field(name).immutable(&old.field(name));
    }
    let (template, old_template) = (spec.field("template"), old.field("template"));
    let never_started = old.field("suspend").bool() && !before.field("status").field("startTime").exists();
    let same = match never_started {
        false => template.same(&old_template),
        true => fixed_part(&template) == fixed_part(&old_template),
    };
    if !same {
        template.invalid("field is immutable");
    }
}

/// A template without what may change of it before a suspended Job is first started.
fn fixed_part(template: &Check<'_>) -> Value {
    let mut template = template.value().cloned().unwrap_or_default();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|name, _| !SCHEDULING_DIRECTIVES.contains(&name.as_str()));
        for list in ["containers", "initContainers"] {
            each(spec, list).for_each(|container| drop(container.remove("resources")));
        }
    }
    template
}

/// Indexed Jobs scale by their completions, together with their parallelism.
fn check_completions(spec: &Check<'_>, old: &Check<'_>) {
    let (completions, before) = (spec.field("completions"), old.field("completions"));
    if completions.same(&before) {
        return;
    }
    let tandem = completions.same(&spec.field("parallelism")) && before.same(&old.field("parallelism"));
    if spec.field("completionMode").str() != "Indexed" || !completions.exists() {
        completions.immutable(&before);
    } else if !tandem {
        completions.invalid("can only be modified in tandem with spec.parallelism");
    }
}

fn check_status(status: &Check<'_>) {
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.field(name).not_negative();
    }
    let has = |kind: &str| {
        status
            .field("conditions")
            .items()
            .any(|c| c.field("type").str() == kind && c.field("status").str() == "True")
    };
    let conditions = status.field("conditions");
    if has("Complete") && has("Failed") {
        conditions.invalid("cannot set Complete=True and Failed=true conditions");
    }
    if status.field("completionTime").exists() && !has("Complete") {
        status
            .field("completionTime")
            .invalid("cannot set completionTime when there is no Complete=True condition");
    }
    let uncounted = status.field("uncountedTerminatedPods");
    uncounted.field("succeeded").unique("");
    uncounted.field("failed").unique("");
}

fn check_status_update(object: &Check<'_>, before: &Check<'_>) {
    let (status, old) = (object.field("status"), before.field("status"));
    let is = |status: &Check<'_>, kind: &str| {
        status
            .field("conditions")
            .items()
            .any(|c| c.field("type").str() == kind && c.field("status").str() == "True")
    };
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if is(&old, kind) && !is(&status, kind) {
            let detail = format!("cannot disable {kind}=True condition");
            status.field("conditions").invalid(detail);
        }
    }
    if is(&old, "Complete") || is(&old, "Failed") {
        for name in ["startTime", "completionTime"] {
            if old.field(name).exists() && !status.field(name).same(&old.field(name)) {
                status
                    .field(name)
                    .invalid("field is immutable once the Job is finished");
            }
        }
    }
}
