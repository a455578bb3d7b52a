//! The node agent: container runtime, pod network, Services, DNS and the kubelet.

pub mod containerd;
pub mod images;
