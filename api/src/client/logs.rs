//! What containers print.
//!
//! [`open`] reads the log of one container. [`follow`] keeps up with many: containers that start again, Pods of a
//! workload that come and go, connections that break. Its [`Follower`] is fed by one task, which starts a task per
//! open log; all end when it is dropped. The channel is bounded: a slow reader slows the server down, nothing is lost.
//!
//! - `plan`: which logs to open when, without I/O;
//! - `blocks`: bytes cut into whole lines, and where to resume;
//! - `merge`: several logs as one, in the order of time;
//! - `follower`: carries the plan out.

mod blocks;
mod follower;
mod merge;
mod plan;

use jiff::Timestamp;
use kube::core::Request;
use kube::core::subresource::LogParams;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncBufRead;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

pub use blocks::split_time;
pub use follower::{Event, Follower, follow, older};

use super::pods::PODS;
use super::rest::{Rest, Result};

/// One container whose log is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// So many seconds ago.
    Seconds(i64),
    /// A time.
    Time(Timestamp),
}

/// How much of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Go on as more is printed.
    pub follow: bool,
    /// Of the instance before the last restart.
    pub previous: bool,
    /// Start each line with its time.
    pub timestamps: bool,
    /// Only so many lines, the last ones.
    pub tail: Option<i64>,
    /// Only what is younger.
    pub since: Option<Since>,
    /// Only so many bytes.
    pub limit_bytes: Option<i64>,
}

/// Which containers of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Containers {
    /// The one that is meant when none is named.
    #[default]
    Default,
    /// All, init and ephemeral ones too.
    All,
    /// One.
    Named(String),
}

/// Opens the log of one container.
pub async fn open(rest: &Rest, source: &Source, options: &Options) -> Result<impl AsyncBufRead + Send + Unpin + use<>> {
    let (since_seconds, since_time) = match options.since {
        Some(Since::Seconds(seconds)) => (Some(seconds), None),
        Some(Since::Time(time)) => (None, Some(whole_second(time))),
        None => (None, None),
    };
    let parameters = LogParams {
        container: Some(source.container.clone()).filter(|name| !name.is_empty()),
        follow: options.follow,
        previous: options.previous,
        timestamps: options.timestamps,
        tail_lines: options.tail,
        limit_bytes: options.limit_bytes,
        since_seconds,
        since_time,
        ..LogParams::default()
    };
    let request = Request::new(PODS.path(&source.namespace)).logs(&source.pod, &parameters);
    let stream = rest.stream(request).await?;
    Ok(Box::pin(stream).compat())
}

/// The wire knows whole seconds only; the earlier one loses nothing.
fn whole_second(time: Timestamp) -> Timestamp {
    let seconds = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(seconds).unwrap_or(time)
}
