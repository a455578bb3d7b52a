//! The terminal UI: a console over any Kubernetes, fed by watches.
//!
//! Events ([`event`]) go through one queue into the state ([`app`]), which gives effects ([`effect`]) for the
//! tasks that hold the client ([`tasks`]). Views ([`view`], [`views`]) draw rows ([`data`]) in colours by role
//! ([`theme`]); keys come from one table ([`bindings`]). [`run`] is the loop, [`terminal`] the screen. What the
//! console knows of Kubernetes is in `mizzen_api::console`, which the dashboard uses too.

pub mod app;
pub mod bindings;
pub mod data;
pub mod effect;
pub mod event;
pub mod forwards;
pub mod logs;
pub mod run;
pub mod shell;
pub mod tasks;
pub mod terminal;
pub mod theme;
pub mod view;
pub mod views;

use std::path::PathBuf;

pub use run::run;

/// How to run the console.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the cluster is.
    pub connect: tasks::connect::Options,
    /// What to show first, and how.
    pub setup: app::Setup,
    /// The remap file.
    pub keys: Option<PathBuf>,
    /// Where to write every event.
    pub record: Option<PathBuf>,
    /// Whether to take the mouse.
    pub mouse: bool,
}
