//! The control plane: everything between a request and a committed, watched object, and the loops
//! that turn desired state into Bindings and children.
//!
//! Invariant: knows nothing of nodes' insides (`node`); meets them only through the API.

pub mod apiserver;
pub mod bootstrap;
pub mod cache;
pub mod control_plane;
pub mod controllers;
pub mod cron;
pub mod identity;
pub mod join;
pub mod kinds;
pub mod leader;
pub mod pki;
pub mod projection;
pub mod scheduler;
pub mod store;
