//! The client side of the API, for components, consoles and tools (feature `client`).
//!
//! - [`rest`]: verbs on any resource, with small types of the caller's choosing;
//! - [`reflector`]: a shared, watched copy of one resource as a projection;
//! - [`discovery`]: what a server serves, as a registry;
//! - [`events`]: the Event recorder, with upstream's aggregation and series.

pub mod discovery;
pub mod events;
pub mod reflector;
pub mod rest;
