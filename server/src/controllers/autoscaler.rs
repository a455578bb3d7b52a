//! HorizontalPodAutoscaler: as many replicas as metrics ask for, within bounds and as fast as allowed.
//!
//! Metrics have no events, so each autoscaler is looked at every fifteen seconds, as upstream does. The
//! arithmetic is in [`replicas`] and [`behavior`]; everything else that it needs is read when it is needed.
//! Metrics other than those of resources need an API that somebody else serves, and say so.

mod behavior;
mod replicas;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::core::params::ListParams;
use mizzen_api::client::events::{Recorder, Severity};
use mizzen_api::client::reflector::{Key, Projection, Reflector};
use mizzen_api::client::rest::{self, Gvr, List, Rest};
use mizzen_api::quantity::Quantity;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use self::behavior::{Behavior, History};
use self::replicas::{Proposal, Target, Usage};
use super::kinds::Pod;
use super::{Context, Controller, Next};
use crate::projection::{Meta, Watched, projection, update};

const KIND: (&str, &str) = ("autoscaling/v2", "HorizontalPodAutoscaler");
const METRICS: Gvr<'static> = Gvr::new("metrics.k8s.io", "v1beta1", "pods");
const PERIOD: Duration = Duration::from_secs(15);
const TOLERANCE: f64 = 0.1;
/// How long a Pod's processor use says little about it.
const WARM_UP: SignedDuration = SignedDuration::from_secs(300);

/// An autoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Autoscaler {
    metadata: Meta,
    spec: Spec,
    status: Status,
}
projection!(Autoscaler, "autoscaling", "v2", "horizontalpodautoscalers");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scale_target_ref: Reference,
    min_replicas: Option<i64>,
    max_replicas: i64,
    metrics: Vec<Value>,
    behavior: Behavior,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_version: Box<str>,
    kind: Box<str>,
    name: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    last_scale_time: Option<Timestamp>,
    conditions: Vec<Value>,
}

struct Autoscalers {
    rest: Rest,
    autoscalers: Arc<Reflector<Autoscaler>>,
    histories: Mutex<HashMap<Key, History>>,
    events: Recorder,
}

/// Builds the controller.
pub(super) fn build(context: &Context<'_>) -> Arc<dyn Controller> {
    let controller = Autoscalers {
        rest: context.rest.clone(),
        autoscalers: context.caches.of(),
        histories: Mutex::default(),
        events: context.events.clone(),
    };
    let queue = context.queue.clone();
    controller.autoscalers.subscribe(move |change| {
        let spec = |autoscaler: Option<&Arc<Autoscaler>>| autoscaler.map(|a| a.metadata.generation);
        if change.old.is_none() || spec(change.old) != spec(change.new) {
            queue.add(change.latest().key());
        }
    });
    Arc::new(controller)
}

/// What one look comes to, to be written into the status.
#[derive(Default)]
struct Outcome {
    current: i64,
    desired: i64,
    scaled: bool,
    metrics: Vec<Value>,
    conditions: Vec<(&'static str, &'static str, String, String)>,
}

impl Outcome {
    fn set(&mut self, kind: &'static str, status: bool, reason: impl Into<String>, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        self.conditions.push((kind, status, reason.into(), message.into()));
    }
}

#[async_trait]
impl Controller for Autoscalers {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            self.histories.lock().remove(key);
            return Ok(Next::Change);
        };
        let outcome = self.look(key, &autoscaler).await;
        let now = Timestamp::now();
        let written = update(&self.rest, &Autoscaler::AT, &autoscaler.metadata, "status", |live| {
            write(&mut live["status"], &autoscaler, &outcome, now);
        });
        match written.await {
            Err(error) if !rest::is_conflict(&error) => Err(error.into()),
            _ => Ok(Next::After(PERIOD)),
        }
    }
}

impl Autoscalers {
    fn warn(&self, autoscaler: &Autoscaler, reason: &str, message: &str) {
        let about = autoscaler.metadata.reference(KIND.0, KIND.1);
        self.events
            .event(&about, Severity::Warning, reason.to_owned(), message.to_owned());
    }

    async fn look(&self, key: &Key, autoscaler: &Autoscaler) -> Outcome {
        let mut outcome = Outcome::default();
        let target = &autoscaler.spec.scale_target_ref;
        let mut scale = match self.scale(key, target).await {
            Ok(scale) => scale,
            Err(why) => {
                let message = format!("the HPA controller was unable to get the target's current scale: {why}");
                self.warn(autoscaler, "FailedGetScale", &why);
                outcome.set("AbleToScale", false, "FailedGetScale", message);
                return outcome;
            }
        };
        let current = scale["spec"]["replicas"].as_i64().unwrap_or_default();
        let selector = scale["status"]["selector"].as_str().unwrap_or_default().to_owned();
        (outcome.current, outcome.desired) = (scale["status"]["replicas"].as_i64().unwrap_or(current), current);
        outcome.set(
            "AbleToScale",
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        let Some((desired, reason)) = self.desired(key, autoscaler, current, &selector, &mut outcome).await else {
            return outcome;
        };
        outcome.desired = desired;
        if desired == current {
            outcome.set(
                "AbleToScale",
                true,
                "ReadyForNewScale",
                "recommended size matches current size",
            );
            return outcome;
        }
        scale["spec"]["replicas"] = json!(desired);
        let (at, about) = (resource(target), autoscaler.metadata.reference(KIND.0, KIND.1));
        let name = (&*key.namespace, &*target.name);
        let replaced = match &at {
            Some(at) => self
                .rest
                .replace::<Value>(at, name, "scale", &scale)
                .await
                .map_err(|error| rest::message(&error)),
            None => Err("the target is gone".to_owned()),
        };
        match replaced {
            Ok(_) => {
                let message = format!("New size: {desired}; reason: {reason}");
                self.events
                    .event(&about, Severity::Normal, "SuccessfulRescale", message);
                let message = format!("the HPA controller was able to update the target scale to {desired}");
                outcome.set("AbleToScale", true, "SucceededRescale", message);
                outcome.scaled = true;
                let mut histories = self.histories.lock();
                histories
                    .entry(key.clone())
                    .or_default()
                    .scaled(Timestamp::now(), current, desired);
            }
            Err(why) => {
                let message = format!("New size: {desired}; reason: {reason}; error: {why}");
                self.warn(autoscaler, "FailedRescale", &message);
                let message = format!("the HPA controller was unable to update the target scale: {why}");
                outcome.set("AbleToScale", false, "FailedUpdateScale", message);
            }
        }
        outcome
    }

    async fn scale(&self, key: &Key, target: &Reference) -> Result<Value, String> {
        let at = resource(target).ok_or_else(|| format!("no matches for kind {:?}", target.kind))?;
        let request = kube::core::Request::new(at.path(&key.namespace)).get_subresource("scale", &target.name);
        self.rest.send(request).await.map_err(|error| rest::message(&error))
    }

    /// The number of replicas to go to and why; `None` when nothing can be said.
    async fn desired(
        &self,
        key: &Key,
        autoscaler: &Autoscaler,
        current: i64,
        selector: &str,
        outcome: &mut Outcome,
    ) -> Option<(i64, String)> {
        let (least, most) = (autoscaler.spec.min_replicas.unwrap_or(1), autoscaler.spec.max_replicas);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            outcome.set("ScalingActive", false, "ScalingDisabled", message);
            return None;
        }
        if current > most {
            return Some((most, "Current number of replicas above Spec.MaxReplicas".to_owned()));
        }
        if current < least {
            return Some((least, "Current number of replicas below Spec.MinReplicas".to_owned()));
        }
        let (wanted, reason) = self.ask_metrics(key, autoscaler, current, selector, outcome).await?;
        let mut histories = self.histories.lock();
        let history = histories.entry(key.clone()).or_default();
        let (desired, held) = behavior::follow(
            &autoscaler.spec.behavior,
            history,
            (current, wanted),
            (least, most),
            Timestamp::now(),
        );
        if let Some(held) = held {
            outcome.set(
                "AbleToScale",
                true,
                held,
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            );
        }
        let limited = match wanted {
            wanted if wanted > most => (
                "TooManyReplicas",
                "the desired replica count is more than the maximum replica count",
            ),
            wanted if wanted < least => (
                "TooFewReplicas",
                "the desired replica count is less than the minimum replica count",
            ),
            _ => ("DesiredWithinRange", "the desired count is within the acceptable range"),
        };
        outcome.set(
            "ScalingLimited",
            limited.0 != "DesiredWithinRange",
            limited.0,
            limited.1,
        );
        Some((desired, reason))
    }

    /// The most that any metric asks for.
    async fn ask_metrics(
        &self,
        key: &Key,
        autoscaler: &Autoscaler,
        current: i64,
        selector: &str,
        outcome: &mut Outcome,
    ) -> Option<(i64, String)> {
        let mut best: Option<(i64, String, String)> = None;
        let mut failure: Option<(String, String)> = None;
        for metric in &autoscaler.spec.metrics {
            match self.ask_metric(key, autoscaler, metric, current, selector).await {
                Ok((proposal, status, name)) => {
                    outcome.metrics.push(status);
                    if best.as_ref().is_none_or(|(replicas, ..)| proposal.replicas > *replicas) {
                        let word = if proposal.replicas > current { "above" } else { "below" };
                        let reason = match proposal.replicas {
                            replicas if replicas < current => "All metrics below target".to_owned(),
                            _ => format!("{name} {word} target"),
                        };
                        best = Some((proposal.replicas, reason, name));
                    }
                }
                Err(problem) => failure = failure.or(Some(problem)),
            }
        }
        if let Some((reason, why)) = &failure
            && best.as_ref().is_none_or(|(replicas, ..)| *replicas < current)
        {
            let message = format!("the HPA was unable to compute the replica count: {why}");
            self.warn(autoscaler, reason, why);
            outcome.set("ScalingActive", false, reason.clone(), message);
            return None;
        }
        let (replicas, reason, name) = best?;
        let message = format!("the HPA was able to successfully calculate a replica count from {name}");
        outcome.set("ScalingActive", true, "ValidMetricFound", message);
        Some((replicas, reason))
    }

    async fn ask_metric(
        &self,
        key: &Key,
        autoscaler: &Autoscaler,
        metric: &Value,
        current: i64,
        selector: &str,
    ) -> Result<(Proposal, Value, String), (String, String)> {
        let kind = metric["type"].as_str().unwrap_or_default();
        let field = match kind {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            _ => {
                let api = if kind == "External" { "external" } else { "custom" };
                let why =
                    format!("unable to get metric of type {kind}: the server does not serve {api}.metrics.k8s.io");
                return Err((format!("FailedGet{kind}Metric"), why));
            }
        };
        let source = &metric[field];
        let (name, container) = (
            source["name"].as_str().unwrap_or_default(),
            source["container"].as_str(),
        );
        let target = match source["target"]["averageUtilization"].as_i64() {
            Some(percent) => Target::Utilization(percent),
            None => Target::Average(read(&source["target"]["averageValue"]).unwrap_or_default()),
        };
        let failed = |why: String| {
            let what = if matches!(target, Target::Utilization(_)) {
                "utilization"
            } else {
                "usage"
            };
            (
                format!("FailedGet{kind}Metric"),
                format!("failed to get {name} {what}: {why}"),
            )
        };
        let usage = self
            .usage(key, selector, name, container, target)
            .await
            .map_err(failed)?;
        let of = |rules: &Option<behavior::Rules>| {
            let own = rules.as_ref().and_then(|rules| rules.tolerance);
            own.map_or(TOLERANCE, Quantity::as_f64)
        };
        let behavior = &autoscaler.spec.behavior;
        let tolerance = (of(&behavior.scale_down), of(&behavior.scale_up));
        let proposal = replicas::propose(&usage, target, current, tolerance)
            .ok_or_else(|| failed("did not receive metrics for targeted pods (pods might be unready)".to_owned()))?;
        let mut value = json!({"averageValue": show(name, proposal.average)});
        if let Some(percent) = proposal.utilization {
            value["averageUtilization"] = json!(percent);
        }
        let mut status = json!({"name": name, "current": value});
        let mut words = format!("{name} resource");
        if let Some(container) = container {
            status["container"] = json!(container);
            words = format!("{name} container resource");
        }
        words += match target {
            Target::Utilization(_) => " utilization (percentage of request)",
            Target::Average(_) => "",
        };
        let mut full = json!({"type": kind});
        full[field] = status;
        Ok((proposal, full, words))
    }

    /// What the Pods use and request of a resource.
    async fn usage(
        &self,
        key: &Key,
        selector: &str,
        resource: &str,
        container: Option<&str>,
        target: Target,
    ) -> Result<Usage, String> {
        let params = ListParams::default().labels(selector);
        let metrics: rest::Result<List<Value>> = self.rest.list(&METRICS, &key.namespace, &params).await;
        let metrics = metrics.map_err(|error| {
            let why = rest::message(&error);
            format!("unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {why}")
        })?;
        let pods: rest::Result<List<Value>> = self.rest.list(&Pod::AT, &key.namespace, &params).await;
        let pods = pods.map_err(|error| rest::message(&error))?;
        let counted = |each: &&Value| container.is_none_or(|name| each["name"] == name);
        let mut usage = Usage::default();
        for pod in &pods.items {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            if !pod["metadata"]["deletionTimestamp"].is_null() || phase == "Failed" || phase == "Succeeded" {
                continue;
            }
            let containers = pod["spec"]["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(counted);
            if matches!(target, Target::Utilization(_)) {
                let mut total = 0.0;
                for each in containers {
                    total += read(&each["resources"]["requests"][resource]).ok_or_else(|| {
                        let container = each["name"].as_str().unwrap_or_default();
                        format!("missing request for {resource} in container {container} of Pod {name}")
                    })?;
                }
                usage.requested.insert(name.clone(), total);
            }
            let metric = metrics.items.iter().find(|metric| metric["metadata"]["name"] == *name);
            if phase == "Pending" {
                usage.unready.push(name);
            } else if let Some(metric) = metric {
                if resource == "cpu" && is_warming_up(pod, metric) {
                    usage.unready.push(name);
                    continue;
                }
                let containers = metric["containers"].as_array().into_iter().flatten().filter(counted);
                let used = containers.filter_map(|each| read(&each["usage"][resource])).sum();
                usage.used.insert(name, used);
            } else {
                usage.missing.push(name);
            }
        }
        Ok(usage)
    }
}

/// Whether a Pod's processor use is still that of its start.
fn is_warming_up(pod: &Value, metric: &Value) -> bool {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let (Some(ready), Some(started)) = (ready, time(&pod["status"]["startTime"])) else {
        return true;
    };
    let (is_ready, since) = (
        ready["status"] == "True",
        time(&ready["lastTransitionTime"]).unwrap_or(started),
    );
    if started + WARM_UP > Timestamp::now() {
        let window = metric["window"]
            .as_str()
            .and_then(|text| text.trim_end_matches('s').parse::<f64>().ok());
        let window = SignedDuration::try_from_secs_f64(window.unwrap_or_default()).unwrap_or_default();
        let taken = time(&metric["timestamp"]).unwrap_or_else(Timestamp::now);
        return !is_ready || taken < since + window;
    }
    !is_ready && started + SignedDuration::from_secs(30) > since
}

/// Where objects of the target's kind are.
fn resource(target: &Reference) -> Option<Gvr<'static>> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let rows = mizzen_api::resource::builtin();
    let row = rows.by_kind(group, version, &target.kind)?;
    let row: &'static mizzen_api::resource::Resource = row;
    row.subresource("scale")?;
    Some(Gvr::new(&row.group, &row.version, &row.plural))
}

/// An amount in whole units.
fn read(value: &Value) -> Option<f64> {
    let quantity: Quantity = match value {
        Value::String(text) => text.parse().ok()?,
        Value::Number(number) => number.to_string().parse().ok()?,
        _ => return None,
    };
    Some(quantity.as_f64())
}

/// An amount as the API writes it.
fn show(resource: &str, amount: f64) -> String {
    match resource {
        "cpu" => Quantity::from_millis((amount * 1000.0).round() as i64).to_string(),
        _ => format!("{}", amount.round() as i64),
    }
}

fn write(status: &mut Value, autoscaler: &Autoscaler, outcome: &Outcome, now: Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    status["observedGeneration"] = json!(autoscaler.metadata.generation);
    status["currentReplicas"] = json!(outcome.current);
    status["desiredReplicas"] = json!(outcome.desired);
    status["currentMetrics"] = match outcome.metrics.is_empty() {
        true => Value::Null,
        false => json!(outcome.metrics),
    };
    let last = autoscaler.status.last_scale_time;
    if let Some(last) = if outcome.scaled { Some(now) } else { last } {
        status["lastScaleTime"] = json!(last);
    }
    let mut conditions = autoscaler.status.conditions.clone();
    for (kind, state, reason, message) in &outcome.conditions {
        let known = conditions.iter().position(|condition| condition["type"] == *kind);
        let same = known.is_some_and(|at| conditions[at]["status"] == *state);
        let since = match known {
            Some(at) if same => conditions[at]["lastTransitionTime"].clone(),
            _ => json!(now),
        };
        let condition =
            json!({"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": since});
        match known {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
    status["conditions"] = conditions.into();
}
