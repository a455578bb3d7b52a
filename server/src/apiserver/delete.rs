//! `delete` and `deletecollection`: at once, after a grace period, or when the finalizers are done.

use axum::body::{Body, Bytes};
use http::{Response, StatusCode};
use mizzen_api::decode::{Expected, FieldValidation};
use mizzen_api::object::{Object, ObjectExt, splice_revision};
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, read_body};
use super::write::{self, admit_deletion, dry_run, has_finalizers};
use super::{decode, meta, response, view};
use crate::kinds::{self, rules};
use crate::store::{Expect, Put, Record, StoreError};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS: usize = 10;

/// Upstream's `DeleteOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DeleteOptions {
    dry_run: Vec<String>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    preconditions: Option<Preconditions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body when there is one, else from the query.
    fn read(call: &Call, bytes: &Bytes) -> ApiResult<Self> {
        let options = if bytes.is_empty() {
            Self::from_query(call)?
        } else {
            Self::from_body(call, bytes)?
        };
        options.check()?;
        Ok(options)
    }

    fn from_query(call: &Call) -> ApiResult<Self> {
        let query = &call.query;
        let text = |name: &str| Some(query.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            dry_run: query.all("dryRun").map(str::to_owned).collect(),
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            orphan_dependents: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            propagation_policy: text("propagationPolicy"),
            preconditions: None,
        })
    }

    fn from_body(call: &Call, bytes: &Bytes) -> ApiResult<Self> {
        // Some clients send the options in the group of what they delete.
        let head: Head = serde_json::from_slice(bytes).unwrap_or_default();
        let (group, version) = head.api_version.rsplit_once('/').unwrap_or(("", "v1"));
        let expected = Expected {
            group,
            version,
            kind: "DeleteOptions",
        };
        let object = decode::kind(call, bytes, expected, FieldValidation::Ignore)?;
        serde_json::from_value(Value::Object(object)).map_err(|error| ApiError::bad_request(error.to_string()))
    }

    /// From a part of another object.
    pub(super) fn from_value(value: Option<Value>) -> ApiResult<Self> {
        let Some(value) = value else { return Ok(Self::default()) };
        let options: Self = serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))?;
        options.check()?;
        Ok(options)
    }

    /// Deletes nothing after all.
    pub(super) fn make_dry_run(&mut self) {
        self.dry_run = vec!["All".to_owned()];
    }

    fn check(&self) -> ApiResult<()> {
        let mut errors = Vec::new();
        dry_run(self.dry_run.iter().map(String::as_str), &mut errors);
        if let Some(policy) = &self.propagation_policy {
            let supported = ["Background", "Foreground", "Orphan"];
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid("propagationPolicy", policy.as_str(), why));
            } else if !supported.contains(&policy.as_str()) {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    policy.as_str(),
                    &supported,
                ));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid_options("DeleteOptions", &errors))
        }
    }

    fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// The garbage collector's finalizer that this deletion asks for: `Some("")` for none at all,
    /// `None` when the object's own decide.
    fn collector_finalizer(&self, call: &Call) -> Option<&'static str> {
        match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
            (Some("Foreground"), _) => Some(FOREGROUND),
            (Some(_), _) | (None, Some(false)) => Some(""),
            (None, None) if rules::orphans_by_default(&call.resource) => Some(ORPHAN),
            (None, None) => None,
        }
    }

    fn check_preconditions(&self, call: &Call, object: &Object) -> ApiResult<()> {
        let Some(wanted) = &self.preconditions else {
            return Ok(());
        };
        let pairs = [
            ("UID", &wanted.uid, object.uid()),
            ("ResourceVersion", &wanted.resource_version, object.resource_version()),
        ];
        for (what, wanted, found) in pairs {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                return Err(ApiError::conflict(&call.resource, object.name(), why));
            }
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
}

/// What became of a deletion.
pub(super) struct Outcome {
    /// The object as it last was, or as it now waits for its end.
    json: Bytes,
    gone: bool,
}

/// Deletes one object.
pub(super) async fn delete(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let bytes = read_body(body).await?;
    let options = DeleteOptions::read(call, &bytes)?;
    let outcome = delete_one(call, call.name(), &options).await?;
    let waits_for_dependents = !outcome.gone && options.orphan_dependents == Some(false);
    let code = if waits_for_dependents {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    if !outcome.gone || rules::answers_deleted(&call.resource) {
        return call.object(code, &outcome.json);
    }
    let object = decode::stored(&outcome.json)?;
    let mut details = json!({"name": object.name(), "kind": call.resource.plural, "uid": object.uid()});
    if !call.resource.group.is_empty() {
        details["group"] = call.resource.group.as_ref().into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    response::document(call.accept, code, status.to_string().into())
}

/// Deletes an object of the call's namespace.
pub(super) async fn delete_one(call: &Call, name: &str, options: &DeleteOptions) -> ApiResult<Outcome> {
    let mut record = write::read(call, name).await?;
    for _ in 0..ATTEMPTS {
        let old = write::load(&call.resource, &record)?;
        options.check_preconditions(call, &old)?;
        admit_deletion(call, name, &old, options.is_dry_run()).await?;
        match commit(call, &record, &old, options).await {
            Ok(outcome) => return Ok(outcome),
            Err(StoreError::Conflict { current: Some(current) }) => record = *current,
            Err(StoreError::Conflict { current: None }) => return Err(ApiError::not_found(&call.resource, name)),
            Err(error) => return Err(call.store_error(error)),
        }
    }
    Err(ApiError::stale(&call.resource, name))
}

async fn commit(call: &Call, record: &Record, old: &Object, options: &DeleteOptions) -> Result<Outcome, StoreError> {
    let marked = mark(call, old, options);
    let expect = Expect::Revision(record.mod_revision);
    let store = &call.server.store;
    let Some(object) = marked else {
        if options.is_dry_run() {
            let json = splice_revision(&record.value, record.mod_revision);
            return Ok(Outcome { json, gone: true });
        }
        let (last, revision) = store.delete(&record.key, expect).await?;
        let json = splice_revision(&last.value, revision);
        return Ok(Outcome { json, gone: true });
    };
    let value = write::unload(&call.resource, &object);
    if options.is_dry_run() || value == record.value {
        let json = splice_revision(&value, record.mod_revision);
        return Ok(Outcome { json, gone: false });
    }
    let put = Put {
        key: record.key.clone(),
        value,
        expect,
        ttl: None,
        durability: crate::store::Durability::Synced,
    };
    let record = store.put(put).await?;
    let json = splice_revision(&record.value, record.mod_revision);
    Ok(Outcome { json, gone: false })
}

/// The object marked as being deleted; `None` when it can go at once.
fn mark(call: &Call, old: &Object, options: &DeleteOptions) -> Option<Object> {
    let mut object = old.clone();
    set_collector_finalizer(&mut object, options.collector_finalizer(call));
    let strategy = kinds::strategy(&call.resource);
    let grace = strategy
        .deletion_grace_seconds(old, options.grace_period_seconds)
        .unwrap_or_default()
        .max(0);
    let waits = grace > 0 || has_finalizers(&call.resource, &object);
    if !waits {
        return None;
    }
    let running = old
        .metadata()
        .and_then(|m| m.get("deletionGracePeriodSeconds"))
        .and_then(Value::as_i64);
    let deleting = !old.meta_str("deletionTimestamp").is_empty();
    // A deletion that runs already can only become shorter.
    if deleting && running.unwrap_or_default() <= grace {
        return Some(object);
    }
    let metadata = object.metadata_mut();
    metadata.insert("deletionTimestamp".into(), meta::in_seconds(grace).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| !deleting) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    strategy.prepare_delete(&mut object);
    Some(object)
}

fn set_collector_finalizer(object: &mut Object, wanted: Option<&'static str>) {
    let Some(wanted) = wanted else { return };
    let metadata = object.metadata_mut();
    let mut list = metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    list.retain(|finalizer| !matches!(finalizer.as_str(), Some(ORPHAN | FOREGROUND)));
    if !wanted.is_empty() {
        list.push(wanted.into());
    }
    if list.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), list.into());
    }
}

/// Deletes every object that the selectors select.
pub(super) async fn delete_collection(call: &Call, body: Body) -> ApiResult<Response<Body>> {
    let bytes = read_body(body).await?;
    let options = DeleteOptions::read(call, &bytes)?;
    let filter = call.filter()?;
    call.server
        .cache
        .wait_fresh()
        .await
        .map_err(|error| call.cache_error(error))?;
    let snapshot = call.server.cache.snapshot(&call.prefix());
    let mut deleted = Vec::new();
    for entry in snapshot.entries.values().filter(|entry| filter.matches(entry)) {
        match delete_one(call, &entry.name, &options).await {
            Ok(outcome) => deleted.push(view::served(&call.resource, &outcome.json)?),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let mut out = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},"items":["#,
        call.resource.kind,
        call.resource.api_version(),
        snapshot.revision
    )
    .into_bytes();
    out.extend_from_slice(&deleted.join(&b","[..]));
    out.extend_from_slice(b"]}");
    response::document(call.accept, StatusCode::OK, out.into())
}
