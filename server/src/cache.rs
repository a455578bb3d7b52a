//! The watch cache: the whole state in memory as ordered snapshots, and the recent past as events.
//!
//! It follows the store by one watch over everything, holds each object once as the bytes that are
//! sent ([`Entry`]), and hands every event to the watchers whose filter matches.

use std::sync::Arc;

use bytes::Bytes;
use mizzen_api::resource::Resource;

use crate::store::Revision;

/// An object as the cache holds it: shared bytes, and what filters look at.
#[derive(Debug)]
pub struct Entry {
    /// Store key.
    pub key: Arc<str>,
    /// `metadata.resourceVersion`.
    pub revision: Revision,
    /// The object's JSON, `resourceVersion` in place: what gets, lists and watches send.
    pub json: Bytes,
    /// `metadata.namespace`; empty for cluster scope.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.labels`, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the kind's selectable fields, such as `spec.nodeName`.
    pub fields: Box<[(&'static str, Box<str>)]>,
}

/// Reads of the latest state for the server's own use (authorization, admission, allocation).
pub trait Reader: Send + Sync {
    /// One object.
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>>;
    /// All objects of a resource, in a namespace or (with `None`) everywhere, in key order.
    fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Entry>>;
    /// Revision at which anything of the resource last changed: whoever derives from it checks this.
    fn last_change(&self, resource: &Resource) -> Revision;
}
