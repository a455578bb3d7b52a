//! The node agent: container runtime, pod network, Services, DNS and the kubelet.

pub mod cleanup;
pub mod containerd;
pub mod dns;
pub mod images;
pub mod names;
pub mod network;
pub mod proxy;
pub mod services;
