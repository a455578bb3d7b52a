//! What every cluster has from its first start, brought about idempotently at every start.

pub mod policy;

/// Annotation of RBAC objects that are brought up to date at start unless a user sets it to `false`.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
