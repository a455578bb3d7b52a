//! What an update wants done in the world: the only way from state to I/O.
//!
//! To add work with the cluster: write a struct in a file under `tasks/` that implements
//! [`crate::tasks::Job`], start it with [`Effect::Start`] from a view, and read its answers in
//! [`crate::view::View::reply`] (add variants to [`crate::event::Reply`] where none fits). A job ends
//! by itself, or when its view closes. No list anywhere has to be extended.

use std::path::PathBuf;
use std::sync::Arc;

use crate::data::Source;
use crate::event::ViewId;
use crate::tasks::Job;

/// Something to do outside of the state.
#[derive(Debug)]
pub enum Effect {
    /// Connect to a context, or to the current one.
    Connect(Option<String>),
    /// Read the credentials of this context again, because the server refuses the old ones.
    Renew(Option<String>),
    /// Begin to watch.
    Watch(Arc<Source>),
    /// No view looks at this any more.
    Unwatch(Arc<Source>),
    /// Ask what one may do in a namespace.
    Rights(String),
    /// Start a job for a view.
    Start(ViewId, Box<dyn Job>),
    /// Something for the running jobs of a view.
    Send(ViewId, Input),
    /// End the jobs of a view.
    Stop(ViewId),
    /// Put text on the clipboard (OSC 52).
    Copy(String),
    /// Write a file.
    Save(PathBuf, String),
    /// Stop as `Ctrl-Z` in a shell does.
    Suspend,
    /// Leave the screen to an editor for a file; the view gets [`crate::event::Reply::Text`] if it was changed.
    Edit(ViewId, String),
    /// End the program.
    Quit,
}

/// Input of a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes for a process.
    Bytes(Vec<u8>),
    /// Its terminal's size: columns, rows.
    Size(u16, u16),
    /// Go on with something that was held back.
    Go,
}
