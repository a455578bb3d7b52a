//! What every part of Mizzen shares.
//!
//! Nothing here does I/O unless the `client` feature is on, and without it the crate compiles to
//! wasm32: the dashboard runs the same code as the server and the terminal UI.
//!
//! - [`resource`]: the table of kinds that routes, discovery, OpenAPI, RBAC names and views derive from;
//! - [`object`]: an object as JSON, its metadata, and its canonical bytes;
//! - [`convert`]: between the versions of one built-in resource;
//! - [`selector`]: label and field selectors;
//! - [`quantity`], [`duration`]: numbers with units, and spans of time, as people read and write them;
//! - [`schema`]: what is known about every field: types, lists and keys, defaults, protobuf tags, descriptions;
//! - [`decode`]: request bodies to objects, checked against the schema;
//! - [`table`]: the columns of every kind, with what cells mean; [`view`]: reading objects' JSON for people;
//! - [`patch`]: JSON, merge and strategic merge patches;
//! - [`managed`]: owners of fields, and server-side apply;
//! - [`describe`]: all there is to say about one object;
//! - [`relations`]: owners, selected Pods, and what objects use;
//! - [`console`]: what the terminal UI, the dashboard and the CLI decide alike;
//! - [`jsonpath`]: paths and templates as kubectl speaks them;
//! - [`yaml`]: objects as YAML text;
//! - [`openapi`]: the documents that clients read the API from;
//! - [`status`]: the errors of the API, with upstream's reasons, codes and words;
//! - `client`: verbs, reflector and Event recorder over `kube::Client` (feature `client`);

#[cfg(feature = "client")]
pub mod client;
pub mod console;
pub mod convert;
pub mod decode;
pub mod describe;
pub mod duration;
pub mod join_token;
pub mod jsonpath;
pub mod managed;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod relations;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod validation;
pub mod view;
pub mod yaml;
