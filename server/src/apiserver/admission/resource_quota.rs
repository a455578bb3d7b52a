//! Quotas: nothing is admitted into a namespace beyond its hard limits.
//!
//! Whatever a write would use is first charged to `status.used` of every quota that it concerns, by
//! compare-and-put: of two writes that race for the last of something, one is refused. Charges for what
//! was then not stored, and usage that ends, are given back by a recount, which the quota controller asks
//! for by writing the status: `used` is then computed here, from one snapshot plus the charges whose
//! objects are not there yet, so that a recount cannot overlook a write that is under way.
//!
//! State: [`ResourceQuota::charges`] and a lock per namespace.

mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mizzen_api::object::{Object, ObjectExt, encode};
use mizzen_api::quantity::Quantity;
use mizzen_api::resource::Resource;
use mizzen_api::status::{ApiError, ApiResult};
use parking_lot::Mutex;
use serde_json::json;

use self::usage::Amounts;
use super::{Admission, AdmissionRequest, Operation, refuse};
use crate::apiserver::authorization::builtin_row;
use crate::apiserver::decode;
use crate::cache::{Reader, object_key};
use crate::kinds::check::section;
use crate::store::{Durability, Expect, Put, Store, StoreError};

/// Who recounts.
const CONTROLLER: &str = "system:serviceaccount:kube-system:resourcequota-controller";
/// How long an object may take from its charge to the store.
const PATIENCE: Duration = Duration::from_secs(10);
const ATTEMPTS: usize = 10;

/// The plugin; the last of the chain, so that nothing is charged that others refuse.
pub struct ResourceQuota {
    reader: Arc<dyn Reader>,
    store: Arc<dyn Store>,
    quotas: Arc<Resource>,
    namespaces: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Vec<Charge>>>>>,
    /// Rows of kinds that were ever charged for, built in or not.
    rows: Mutex<HashMap<String, Arc<Resource>>>,
}

/// What was charged for an object that may not be stored yet.
#[derive(Debug)]
struct Charge {
    resource: Arc<Resource>,
    name: String,
    object: Object,
    /// What was charged: for an update, what it uses more than before.
    delta: Amounts,
    at: Instant,
}

impl ResourceQuota {
    /// A plugin that reads here and charges there.
    pub fn new(reader: Arc<dyn Reader>, store: Arc<dyn Store>) -> Self {
        Self {
            reader,
            store,
            quotas: builtin_row("", "resourcequotas"),
            namespaces: Mutex::default(),
            rows: Mutex::default(),
        }
    }

    fn namespace(&self, name: &str) -> Arc<tokio::sync::Mutex<Vec<Charge>>> {
        self.namespaces.lock().entry(name.to_owned()).or_default().clone()
    }

    fn row(&self, resource: &Resource) -> Arc<Resource> {
        let mut rows = self.rows.lock();
        let name = resource.qualified_name().into_owned();
        rows.entry(name).or_insert_with(|| Arc::new(resource.clone())).clone()
    }

    /// The quotas of a namespace that take an object in.
    fn concerned(&self, request: &AdmissionRequest<'_>, object: &Object) -> ApiResult<Vec<Object>> {
        let entries = self.reader.list(&self.quotas, Some(request.namespace)).into_iter();
        let mut quotas = Vec::new();
        for entry in entries {
            let quota = decode::stored(&entry.json)?;
            if usage::in_scope(&quota, request.resource, object) {
                quotas.push(quota);
            }
        }
        Ok(quotas)
    }

    async fn charge(&self, request: &AdmissionRequest<'_>, object: &Object) -> ApiResult<()> {
        let quotas = self.concerned(request, object)?;
        if quotas.is_empty() {
            return Ok(());
        }
        let row = self.row(request.resource);
        let namespace = self.namespace(request.namespace);
        let mut charges = namespace.lock().await;
        charges.retain(|charge| charge.at.elapsed() < PATIENCE);
        let mut delta = usage::of(request.resource, object);
        if let Some(old) = request.old {
            let mut paid = usage::of(request.resource, old);
            // An update that is tried again, after a conflict, was charged the first time.
            let same = |charge: &&Charge| charge.name == object.name() && Arc::ptr_eq(&charge.resource, &row);
            for charge in charges.iter().filter(same) {
                usage::raise(&mut paid, usage::of(&row, &charge.object));
            }
            for (name, before) in paid {
                *delta.entry(name).or_insert(Quantity::ZERO) -= before;
            }
        }
        delta.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
        if delta.is_empty() {
            return Ok(());
        }
        for quota in &quotas {
            self.charge_one(request, object, quota.name(), &delta).await?;
        }
        if !request.dry_run {
            charges.push(Charge {
                resource: row,
                name: object.name().to_owned(),
                object: object.clone(),
                delta,
                at: Instant::now(),
            });
        }
        Ok(())
    }

    /// Charges one quota, or refuses in upstream's words.
    async fn charge_one(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Object,
        name: &str,
        delta: &Amounts,
    ) -> ApiResult<()> {
        let key = object_key(&self.quotas, request.namespace, name);
        for _ in 0..ATTEMPTS {
            let record = self.store.get(&key, None).await.map_err(ApiError::internal)?;
            let Some(record) = record else { return Ok(()) };
            let mut quota = decode::stored(&record.value)?;
            let spec = usage::amounts(&quota, "/spec/hard");
            let hard = match usage::amounts(&quota, "/status/hard") {
                // Nobody counted yet: until then the limits are what the spec says.
                hard if hard.is_empty() => spec,
                hard => hard,
            };
            if request.is("", "pods")
                && let Some(open) = usage::left_open(object, &hard)
            {
                return Err(refuse(request, format_args!("failed quota: {name}: {open}")));
            }
            let wanted: Amounts = delta
                .iter()
                .filter(|(name, _)| hard.contains_key(*name))
                .map(|(name, amount)| (name.clone(), *amount))
                .collect();
            if wanted.is_empty() {
                return Ok(());
            }
            let mut used = usage::amounts(&quota, "/status/used");
            let unknown: Vec<_> = wanted
                .keys()
                .filter(|name| !used.contains_key(*name))
                .cloned()
                .collect();
            if !unknown.is_empty() {
                let unknown = unknown.join(",");
                return Err(refuse(
                    request,
                    format_args!("status unknown for quota: {name}, resources: {unknown}"),
                ));
            }
            let before = used.clone();
            usage::add(&mut used, wanted.clone());
            let exceeded = |name: &String| wanted.contains_key(name) && used[name] > hard[name];
            let pick = |amounts: &Amounts| -> Amounts {
                let picked = amounts.iter().filter(|(name, _)| exceeded(name));
                picked.map(|(name, amount)| (name.clone(), *amount)).collect()
            };
            let over = pick(&wanted);
            if !over.is_empty() {
                let (requested, used, limited) = (
                    usage::show(&over),
                    usage::show(&pick(&before)),
                    usage::show(&pick(&hard)),
                );
                return Err(refuse(
                    request,
                    format_args!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"),
                ));
            }
            if request.dry_run {
                return Ok(());
            }
            section(&mut quota, "status").insert("used".into(), json!(used));
            let put = Put {
                key: record.key.clone(),
                value: encode(&quota),
                expect: Expect::Revision(record.mod_revision),
                ttl: None,
                durability: Durability::Synced,
            };
            match self.store.put(put).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(ApiError::internal(error)),
            }
        }
        Err(ApiError::stale(&self.quotas, name))
    }

    /// What is used of what a quota limits: by what is there, and by what is on its way.
    async fn recount(&self, quota: &Object, namespace: &str, charges: &mut Vec<Charge>) -> ApiResult<Amounts> {
        self.reader.fresh().await;
        charges.retain(|charge| {
            let there = self.reader.get(&charge.resource, namespace, &charge.name).is_some();
            !there && charge.at.elapsed() < PATIENCE
        });
        let limited = usage::amounts(quota, "/spec/hard");
        let mut used: Amounts = limited.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
        let mut kinds: Vec<_> = limited.keys().filter_map(|name| usage::kinds_of(name)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for (group, plural) in kinds {
            let Some(row) = self.find_row(group, plural) else {
                continue;
            };
            for entry in self.reader.list(&row, Some(namespace)) {
                let object = decode::stored(&entry.json)?;
                if usage::in_scope(quota, &row, &object) {
                    add_limited(&mut used, usage::of(&row, &object));
                }
            }
        }
        for charge in charges.iter() {
            if usage::in_scope(quota, &charge.resource, &charge.object) {
                add_limited(&mut used, charge.delta.clone());
            }
        }
        Ok(used)
    }

    fn find_row(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        let rows = mizzen_api::resource::builtin();
        let builtin = rows.iter().find(|row| row.group == group && row.plural == plural);
        let qualified = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        builtin.cloned().or_else(|| self.rows.lock().get(&qualified).cloned())
    }
}

fn add_limited(used: &mut Amounts, mut more: Amounts) {
    more.retain(|name, _| used.contains_key(name));
    usage::add(used, more);
}

#[async_trait]
impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> ApiResult<()> {
        let counts = request.is("", "resourcequotas")
            && request.operation == Operation::Update
            && request.subresource == "status"
            && request.user.name == CONTROLLER;
        if !counts {
            return Ok(());
        }
        let namespace = self.namespace(request.namespace);
        let mut charges = namespace.lock().await;
        let Some(quota) = request.old.cloned() else {
            return Ok(());
        };
        let used = self.recount(&quota, request.namespace, &mut charges).await?;
        if let Some(status) = request.object_mut("status") {
            status.insert("used".into(), json!(used));
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> ApiResult<()> {
        let resizes = request.is("", "pods") && request.subresource == "resize";
        let whole = request.subresource.is_empty() || resizes;
        if request.namespace.is_empty() || !whole || request.resource.storage.is_none() {
            return Ok(());
        }
        let writes = match request.operation {
            Operation::Create => true,
            Operation::Update => resizes || usage::follows_updates(request.resource),
            Operation::Delete => {
                // It is stored, whatever its charge was.
                let namespace = self.namespaces.lock().get(request.namespace).cloned();
                if let Some(namespace) = namespace {
                    let plural = &request.resource.plural;
                    let mut charges = namespace.lock().await;
                    charges.retain(|charge| charge.name != request.name || charge.resource.plural != *plural);
                }
                false
            }
            Operation::Connect => false,
        };
        match request.object.as_deref() {
            Some(object) if writes => self.charge(request, object).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
