//! Everything that can happen to the console: one enum, through one queue, into [`crate::app::App::update`].
//!
//! Events serialise: `--record FILE` writes them as JSON lines and a test replays them. Nothing that an
//! update reads may come from elsewhere; even the time is part of an event ([`Stamped`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;
use mizzen_api::resource::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Batch, Source};

/// A view, for as long as it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ViewId(pub u64);

/// An event and when it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size: columns, rows.
    Resize(u16, u16),
    /// A timer that [`crate::app::App::due`] asked for.
    Tick,
    /// The program was continued after a stop; the screen must be painted anew.
    Continued,
    /// The terminal went away or somebody asked us to end.
    Terminated,
    /// The answer to [`crate::effect::Effect::Connect`].
    Connected(Result<Cluster, String>),
    /// The server's version.
    Version(String),
    /// What the server serves, first or anew.
    Discovered(Vec<Resource>),
    /// Rows of a watch.
    Data(Arc<Source>, Batch),
    /// What one may do in a namespace.
    Rights(String, Result<crate::data::Rights, String>),
    /// News of a port-forward.
    Forward(u64, crate::forwards::News),
    /// Something for one view: the answer of a job, or of a dialog.
    Reply(ViewId, Reply),
    /// News for people, for the history pane.
    Notice(Notice),
}

/// The cluster that we are connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Context of the kubeconfig.
    pub context: String,
    /// All contexts of the kubeconfig.
    pub contexts: Vec<ContextInfo>,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the user.
    pub user: String,
    /// Address of the server.
    pub server: String,
    /// Namespace of the context.
    pub namespace: String,
    /// Version of the server; empty until it has said.
    #[serde(default)]
    pub version: String,
}

/// A context of the kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextInfo {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Its user.
    pub user: String,
    /// Its namespace.
    pub namespace: String,
}

/// What a job or a dialog tells the view that started it. A new job adds variants as it needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// An object, as the server has it.
    Object(Value),
    /// Text to show.
    Text(String),
    /// The answers of a dialog.
    Answered(Answer),
    /// A dialog was left without an answer.
    Cancelled,
    /// What became of each of several things.
    Each(Vec<Result<Value, String>>),
    /// Bytes of a stream.
    Output(Vec<u8>),
    /// News of the logs that the view follows, and which request for them they belong to.
    Log(u64, crate::tasks::logs::News),
    /// News of a process in a container.
    Process(crate::tasks::process::News),
    /// A job is done, with words on how it went.
    Done(String),
    /// A job failed.
    Failed(String),
}

/// What a dialog was answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What the view called the dialog.
    pub dialog: String,
    /// Label of the button.
    pub button: String,
    /// Values of the fields, by label; a box that is ticked holds `true`.
    pub values: BTreeMap<String, String>,
}

/// How a notice is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tone {
    /// For information.
    Info,
    /// It worked.
    Good,
    /// Worth a look.
    Warning,
    /// It failed.
    Bad,
}

/// News for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// The equivalent command, where there is one.
    pub command: Option<String>,
}

impl Notice {
    /// A notice without a command.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
            command: None,
        }
    }
}
