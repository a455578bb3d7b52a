//! The model of the consoles: everything that the terminal UI, the dashboard and the CLI decide alike.
//!
//! Pure functions and plain data: no I/O, no clock but the time that is handed in, nothing that does not
//! compile to wasm32. A console keeps [`rows::Row`]s in a [`rows::Index`], narrows them by a
//! [`filter::Filter`], is told where to go by a [`command::Command`] or a [`locator::Locator`], and
//! changes things through the requests that [`action`] builds.
//!
//! - [`filter`]: what `/` in a table takes;
//! - [`follow`]: when to list, watch and wait;
//! - [`headings`]: the columns of a table, ours or the server's;
//! - [`locator`]: a view or an object as text that can be shared;
//! - [`loglevel`]: how bad a line of a log is;
//! - [`command`]: what `:` takes, and how it is completed;
//! - [`rows`]: rows of a table, and their order under filter and sort, kept up to date change by change;
//! - [`action`]: what can be done to objects, and the requests that do it;
//! - [`assist`]: what may stand at a place in a manifest, from OpenAPI;
//! - [`metrics`]: what is used, beside what was asked for;
//! - [`panel`]: a Deployment, a Service or a node in a few lines;
//! - [`policy`]: what roles grant, and to whom;
//! - [`rights`]: what one may do, and which right is missing;
//! - [`rollout`]: how far changes of workloads have come, and what they were before;
//! - [`diff`]: what differs between two objects, line by line;
//! - [`highlight`]: what the parts of a line of YAML or JSON are;
//! - [`summary`]: how many of a kind are well, and how much of a cluster is in use;
//! - [`template`]: what a new object may look like;
//! - [`timeline`]: events in time, by object;
//! - [`topology`]: Services, workloads and nodes as a map;
//! - [`tree`]: what hangs on what, by ownership and by reference;
//! - [`workloads`]: all kinds that run something, in one table.

pub mod action;
pub mod assist;
pub mod command;
pub mod diff;
pub mod filter;
pub mod follow;
pub mod headings;
pub mod highlight;
pub mod locator;
pub mod loglevel;
pub mod metrics;
pub mod panel;
pub mod policy;
pub mod rights;
pub mod rollout;
pub mod rows;
pub mod summary;
pub mod template;
pub mod timeline;
pub mod topology;
pub mod tree;
pub mod workloads;
