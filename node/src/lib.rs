//! The node agent: container runtime, pod network, Services, DNS and the kubelet.
//!
//! It meets the control plane only through the API: everything here takes a
//! [`kube::Client`] and knows nothing of the server crate.

pub mod agent;
pub mod cleanup;
pub mod containerd;
pub mod dns;
pub mod images;
pub mod join;
pub mod kubelet;
pub mod kubelet_api;
pub mod names;
pub mod network;
pub mod proxy;
pub mod services;
pub mod simulate;

pub use agent::{Agent, AgentConfig};
