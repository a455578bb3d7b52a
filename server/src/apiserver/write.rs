//! The path of every write: defaults, admission, validation, commit. Handlers say what the object
//! shall become; everything that holds for all writes is here.

use std::sync::Arc;

use axum::body::Bytes;
use http::header::USER_AGENT;
use mizzen_api::convert;
use mizzen_api::decode::FieldValidation;
use mizzen_api::managed::{self, Writer};
use mizzen_api::object::{Object, ObjectExt, encode, splice_revision};
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult, FieldError};
use serde_json::Value;

use super::admission::{AdmissionRequest, Operation};
use super::call::Call;
use super::{decode, meta};
use crate::kinds::{self, Context, rules};
use crate::store::copy::EVENT_TTL;
use crate::store::{Durability, Expect, Put, Record, StoreError};

/// How often a write is computed anew because the object changed meanwhile.
const ATTEMPTS: usize = 10;
/// Longest name of a field manager.
const MANAGER_MAX_BYTES: usize = 128;

/// What the query says about a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but store it.
    pub dry_run: bool,
    /// Who the fields belong to afterwards.
    pub field_manager: String,
    /// Take fields from other managers (apply).
    pub force: bool,
    /// What to do about unknown fields.
    pub validation: FieldValidation,
    /// Whether this is an apply, which has settled already who manages which field.
    pub applies: bool,
}

impl WriteOptions {
    /// Reads and checks the options; `kind` is their kind in messages.
    pub fn read(call: &Call, kind: &str) -> ApiResult<Self> {
        let query = &call.query;
        let mut errors = Vec::new();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_manager = query.get("fieldManager");
        if field_manager.len() > MANAGER_MAX_BYTES {
            errors.push(FieldError::too_long("fieldManager", MANAGER_MAX_BYTES));
        }
        let text = query.get("fieldValidation");
        let validation = FieldValidation::parse(text);
        if validation.is_none() {
            let supported = ["", "Ignore", "Strict", "Warn"];
            errors.push(FieldError::not_supported("fieldValidation", text, &supported));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid_options(kind, &errors));
        }
        Ok(Self {
            dry_run,
            field_manager: managed::manager_name(field_manager, agent(call)).to_owned(),
            force: query.flag("force"),
            validation: validation.unwrap_or_default(),
            applies: false,
        })
    }
}

/// Whether nothing is to be stored.
pub(super) fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<_> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", values.join(","), &["All"]));
    }
    !values.is_empty()
}

fn agent(call: &Call) -> &str {
    let agent = call.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.unwrap_or_default()
}

/// Notes whose the fields are that a write changed.
fn manage(call: &Call, options: &WriteOptions, old: Option<&Object>, object: &mut Object) {
    if options.applies {
        return;
    }
    let writer = Writer {
        manager: &options.field_manager,
        subresource: call.subresource(),
        now: &meta::now(),
    };
    managed::update(old, object, (&*call.resource).into(), writer);
}

/// An object as stored, in the version of the row, with its resourceVersion.
pub(super) fn load(resource: &Resource, record: &Record) -> ApiResult<Object> {
    let mut object = decode::stored(&record.value)?;
    if resource.is_converted() {
        convert::from_stored(resource, &mut object);
    }
    let revision = record.mod_revision.to_string();
    object.metadata_mut().insert("resourceVersion".into(), revision.into());
    Ok(object)
}

/// The bytes to store.
pub(super) fn unload(resource: &Resource, object: &Object) -> Bytes {
    if !resource.is_converted() {
        return encode(object);
    }
    let mut object = object.clone();
    convert::to_stored(resource, &mut object);
    encode(&object)
}

/// The record of an object of the call's namespace; `NotFound` when there is none.
pub(super) async fn read(call: &Call, name: &str) -> ApiResult<Record> {
    let record = call.server.store.get(&call.key(name), None).await;
    let record = record.map_err(|error| call.store_error(error))?;
    record.ok_or_else(|| ApiError::not_found(&call.resource, name))
}

fn put(call: &Call, key: Arc<str>, value: Bytes, expect: Expect) -> Put {
    let (group, plural) = (&*call.resource.group, &*call.resource.plural);
    let heartbeat = matches!(
        (group, plural, call.subresource()),
        ("coordination.k8s.io", "leases", _) | ("", "nodes", "status")
    );
    Put {
        key,
        value,
        expect,
        ttl: (plural == "events").then_some(EVENT_TTL),
        durability: if heartbeat {
            Durability::Relaxed
        } else {
            Durability::Synced
        },
    }
}

fn context<'a>(call: &'a Call) -> Context<'a> {
    Context {
        resource: &call.resource,
        subresource: call.subresource(),
    }
}

/// A write in the terms of admission.
fn admission_request<'a>(
    call: &'a Call,
    options: &WriteOptions,
    name: &'a str,
    object: &'a mut Object,
    old: Option<&'a Object>,
) -> AdmissionRequest<'a> {
    AdmissionRequest {
        user: &call.user,
        operation: if old.is_some() {
            Operation::Update
        } else {
            Operation::Create
        },
        resource: &call.resource,
        subresource: call.subresource(),
        namespace: call.namespace(),
        name,
        object: Some(object),
        old,
        dry_run: options.dry_run,
    }
}

async fn admit(call: &Call, options: &WriteOptions, object: &mut Object, old: Option<&Object>) -> ApiResult<()> {
    // A creation's path has no name; the object may.
    let name = match call.name() {
        "" => object.name().to_owned(),
        name => name.to_owned(),
    };
    let mut request = admission_request(call, options, &name, object, old);
    for plugin in call.server.admission() {
        plugin.admit(&mut request).await?;
    }
    Ok(())
}

async fn admit_final(call: &Call, options: &WriteOptions, object: &mut Object, old: Option<&Object>) -> ApiResult<()> {
    let name = object.name().to_owned();
    let request = admission_request(call, options, &name, object, old);
    for plugin in call.server.admission() {
        plugin.validate(&request).await?;
    }
    Ok(())
}

/// Asks the chain about an object that a subresource is sent, and that is not stored.
pub(super) async fn admit_subresource(call: &Call, options: &WriteOptions, object: &mut Object) -> ApiResult<()> {
    admit(call, options, object, None).await?;
    admit_final(call, options, object, None).await
}

/// Asks the chain about a deletion.
pub(super) async fn admit_deletion(call: &Call, name: &str, old: &Object, dry_run: bool) -> ApiResult<()> {
    let mut request = AdmissionRequest {
        user: &call.user,
        operation: Operation::Delete,
        resource: &call.resource,
        subresource: call.subresource(),
        namespace: call.namespace(),
        name,
        object: None,
        old: Some(old),
        dry_run,
    };
    for plugin in call.server.admission() {
        plugin.admit(&mut request).await?;
    }
    for plugin in call.server.admission() {
        plugin.validate(&request).await?;
    }
    Ok(())
}

/// Puts the request's namespace into the object, or refuses another one.
pub(super) fn place(call: &Call, object: &mut Object) -> ApiResult<()> {
    let namespace = call.namespace();
    if object.namespace().is_empty() {
        if !namespace.is_empty() {
            object.metadata_mut().insert("namespace".into(), namespace.into());
        }
    } else if call.resource.namespaced() && object.namespace() != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Stores a new object; answers with its JSON.
pub(super) async fn create(call: &Call, mut object: Object, options: &WriteOptions) -> ApiResult<Bytes> {
    if !matches!(object.resource_version(), "" | "0") {
        return Err(ApiError::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    place(call, &mut object)?;
    let strategy = kinds::strategy(&call.resource);
    strategy.default(&context(call), &mut object);
    manage(call, options, None, &mut object);
    admit(call, options, &mut object, None).await?;
    meta::begin(&mut object, &call.resource);
    let base = object.meta_str("generateName").to_owned();
    if !object.name().is_empty() || base.is_empty() {
        strategy.prepare_create(&context(call), &mut object);
        return commit_new(call, &mut object, options).await;
    }
    // What a kind makes of its name it makes of each that is tried.
    let mut attempts = ATTEMPTS;
    loop {
        let mut object = object.clone();
        let name = meta::generate_name(&base);
        object.metadata_mut().insert("name".into(), name.into());
        strategy.prepare_create(&context(call), &mut object);
        let stored = commit_new(call, &mut object, options).await;
        attempts -= 1;
        match stored {
            Err(error) if error.reason == "AlreadyExists" && attempts > 0 => {}
            stored => return stored,
        }
    }
}

async fn commit_new(call: &Call, object: &mut Object, options: &WriteOptions) -> ApiResult<Bytes> {
    let strategy = kinds::strategy(&call.resource);
    let mut errors = meta::validate(object, &call.resource);
    errors.extend(strategy.validate(&context(call), object));
    if !errors.is_empty() {
        return Err(ApiError::invalid(&call.resource, object.name(), &errors));
    }
    for warning in strategy.warnings(&context(call), object) {
        call.warn(warning);
    }
    admit_final(call, options, object, None).await?;
    let name = object.name().to_owned();
    let exists = || ApiError::already_exists(&call.resource, &name);
    let key: Arc<str> = call.key(&name).into();
    if options.dry_run {
        let present = call
            .server
            .store
            .get(&key, None)
            .await
            .map_err(|error| call.store_error(error))?;
        return if present.is_some() {
            Err(exists())
        } else {
            Ok(encode(object))
        };
    }
    let value = unload(&call.resource, object);
    match call.server.store.put(put(call, key, value, Expect::Absent)).await {
        Ok(record) => Ok(splice_revision(&record.value, record.mod_revision)),
        Err(StoreError::Conflict { .. }) => Err(exists()),
        Err(error) => Err(call.store_error(error)),
    }
}

/// Changes an object to what `compute` makes of it, as often as it takes; answers with its JSON (in the
/// stored version).
pub(super) async fn change(
    call: &Call,
    name: &str,
    options: &WriteOptions,
    compute: impl FnMut(&Object) -> ApiResult<Object> + Send,
) -> ApiResult<Bytes> {
    let record = read(call, name).await?;
    change_from(call, record, name, options, compute).await
}

/// As [`change`], from a record that was read already.
pub(super) async fn change_from(
    call: &Call,
    mut record: Record,
    name: &str,
    options: &WriteOptions,
    mut compute: impl FnMut(&Object) -> ApiResult<Object> + Send,
) -> ApiResult<Bytes> {
    for _ in 0..ATTEMPTS {
        let old = load(&call.resource, &record)?;
        let mut object = compute(&old)?;
        check_preconditions(call, &mut object, &old)?;
        settle(call, options, &mut object, &old).await?;
        let value = unload(&call.resource, &object);
        if value == record.value {
            return Ok(splice_revision(&record.value, record.mod_revision));
        }
        if options.dry_run {
            return Ok(splice_revision(&value, record.mod_revision));
        }
        let expect = Expect::Revision(record.mod_revision);
        let outcome = if is_finally_deleted(&call.resource, &object) {
            let deleted = call.server.store.delete(&record.key, expect).await;
            deleted.map(|(_, revision)| splice_revision(&value, revision))
        } else {
            let stored = call
                .server
                .store
                .put(put(call, record.key.clone(), value, expect))
                .await;
            stored.map(|record| splice_revision(&record.value, record.mod_revision))
        };
        match outcome {
            Ok(json) => return Ok(json),
            Err(StoreError::Conflict { current: Some(current) }) => record = *current,
            Err(StoreError::Conflict { current: None }) => return Err(ApiError::not_found(&call.resource, name)),
            Err(error) => return Err(call.store_error(error)),
        }
    }
    Err(ApiError::stale(&call.resource, name))
}

/// Whether the object says which state it starts from, and rightly so.
fn check_preconditions(call: &Call, object: &mut Object, old: &Object) -> ApiResult<()> {
    let uid = object.uid();
    if !uid.is_empty() && uid != old.uid() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        );
        return Err(ApiError::conflict(&call.resource, old.name(), why));
    }
    let version = object.resource_version();
    if matches!(version, "" | "0") {
        if !rules::updates_unconditionally(&call.resource) {
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            return Err(ApiError::invalid(&call.resource, old.name(), &[error]));
        }
        let version = old.resource_version().to_owned();
        object.metadata_mut().insert("resourceVersion".into(), version.into());
    } else if version != old.resource_version() {
        return Err(ApiError::stale(&call.resource, old.name()));
    }
    Ok(())
}

/// Brings a changed object into the form in which it may be stored, or says why it may not.
async fn settle(call: &Call, options: &WriteOptions, object: &mut Object, old: &Object) -> ApiResult<()> {
    let strategy = kinds::strategy(&call.resource);
    let context = context(call);
    place(call, object)?;
    meta::carry_over(object, old);
    keep_the_rest(call, object, old);
    strategy.default(&context, object);
    manage(call, options, Some(old), object);
    admit(call, options, object, Some(old)).await?;
    keep_the_rest(call, object, old);
    strategy.prepare_update(&context, object, old);
    meta::count_generation(object, old, &call.resource);
    let mut errors = meta::validate_update(object, old);
    errors.extend(meta::validate(object, &call.resource));
    errors.extend(strategy.validate(&context, object));
    errors.extend(strategy.validate_update(&context, object, old));
    if !errors.is_empty() {
        return Err(ApiError::invalid(&call.resource, old.name(), &errors));
    }
    for warning in strategy.warnings(&context, object) {
        call.warn(warning);
    }
    admit_final(call, options, object, Some(old)).await
}

/// Takes back what this path may not change: the status through the object, all else through the status,
/// all but their parts through other subresources.
fn keep_the_rest(call: &Call, object: &mut Object, old: &Object) {
    let parts: &[&str] = match call.subresource() {
        "" => {
            if call.resource.subresource("status").is_some() {
                keep(object, Some(old), "status");
            }
            return;
        }
        "status" => {
            object.retain(|key, _| matches!(key.as_str(), "metadata" | "status"));
            let rest = old
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"));
            object.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
            keep(object.metadata_mut(), old.metadata(), "ownerReferences");
            return;
        }
        "approval" => &["/status/conditions"],
        "ephemeralcontainers" => &["/spec/ephemeralContainers"],
        "finalize" => &["/spec/finalizers"],
        "resize" => &["/spec/containers", "/spec/initContainers"],
        _ => return,
    };
    let sent = std::mem::replace(object, old.clone());
    for part in parts {
        let (section, field) = part[1..].split_once('/').unwrap_or_default();
        let value = sent.get(section).and_then(|section| section.get(field)).cloned();
        let section = object.entry(section).or_insert_with(|| Value::Object(Object::new()));
        match (section.as_object_mut(), value) {
            (Some(section), Some(value)) => drop(section.insert(field.into(), value)),
            (Some(section), None) => drop(section.remove(field)),
            (None, _) => {}
        }
    }
    keep(object.metadata_mut(), sent.metadata(), "managedFields");
}

fn keep(object: &mut Object, old: Option<&Object>, key: &str) {
    match old.and_then(|old| old.get(key)) {
        Some(value) => object.insert(key.into(), value.clone()),
        None => object.remove(key),
    };
}

/// Whether something still has to happen before the object may go.
pub(super) fn has_finalizers(resource: &Resource, object: &Object) -> bool {
    let is_filled = |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if is_filled(object.metadata().and_then(|metadata| metadata.get("finalizers"))) {
        return true;
    }
    // A Namespace holds on to its content by finalizers in its spec.
    &*resource.plural == "namespaces"
        && resource.group.is_empty()
        && is_filled(object.get("spec").and_then(|spec| spec.get("finalizers")))
}

fn is_finally_deleted(resource: &Resource, object: &Object) -> bool {
    let grace = object
        .metadata()
        .and_then(|metadata| metadata.get("deletionGracePeriodSeconds"));
    !object.meta_str("deletionTimestamp").is_empty()
        && grace.and_then(Value::as_i64).unwrap_or_default() == 0
        && !has_finalizers(resource, object)
}
