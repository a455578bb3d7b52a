//! The client side of the API, for components, consoles and tools (feature `client`).
//!
//! - [`rest`]: verbs on any resource, with small types of the caller's choosing;
//! - [`feed`]: one collection followed, with what comes in order;
//! - [`reflector`]: a shared, watched copy of one resource as a projection;
//! - [`discovery`]: what a server serves, as a registry;
//! - [`kubeconfig`]: where the cluster is, [`connection`]: a client of it that notices when it is gone, [`lanes`]: its
//!   connections;
//! - [`events`]: the Event recorder, with upstream's aggregation and series;
//! - [`files`]: files that hold keys;
//! - [`pods`]: the Pods behind a name, now and as they come and go;
//! - [`exec`]: commands in containers, and attaching to what runs there;
//! - [`logs`]: what containers print, of one or of many at once;
//! - [`forward`]: local ports that lead into Pods;
//! - [`transfer`]: files to and from containers.

pub mod connection;
pub mod discovery;
pub mod events;
pub mod exec;
pub mod feed;
pub mod files;
pub mod forward;
pub mod kubeconfig;
pub mod lanes;
pub mod logs;
pub mod pods;
pub mod reflector;
pub mod rest;
pub mod tls;
pub mod transfer;
