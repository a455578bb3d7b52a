//! Reading logs for a view: following them, and older lines on demand.

use futures::future::BoxFuture;
use jiff::Timestamp;
use mizzen_api::client::logs::{self, Containers, Event, Options, Source};
use mizzen_api::client::pods::{self, Succession, Target};
use serde::{Deserialize, Serialize};

use super::{Job, Link};
use crate::event::Reply;

/// News of the logs that a view follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum News {
    /// A source, before anything of it comes.
    Source(usize, Source),
    /// Whole lines, each with its time in front.
    Lines(usize, String),
    /// Something happened to a source.
    Note(usize, String),
    /// What there was has come.
    CaughtUp,
    /// Older lines, in the order of time: source, time, line.
    Older(Vec<(usize, Timestamp, String)>),
    /// Nothing (more) can be read.
    Failed(String),
}

impl From<Event> for News {
    fn from(event: Event) -> Self {
        match event {
            Event::Source(id, source) => Self::Source(id, source),
            Event::Lines(id, block) => Self::Lines(id, text(block.into())),
            Event::Note(id, text) => Self::Note(id, text),
            Event::CaughtUp => Self::CaughtUp,
        }
    }
}

/// Most logs are UTF-8 as they are.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Logs to follow.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Whose: Pods themselves, or all Pods of workloads.
    pub targets: Vec<Target>,
    /// Which containers.
    pub containers: Containers,
    /// From when on, and how.
    pub options: Options,
    /// Comes back with the news, so that those of an earlier request are known.
    pub request: u64,
}

impl Job for Follow {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut selections = Vec::new();
            for target in &self.targets {
                match pods::resolve(&link.rest, target, Succession::Name).await {
                    Ok(selection) => selections.push(selection),
                    Err(error) => {
                        let failed = News::Failed(error.to_string());
                        link.reply(Reply::Log(self.request, failed)).await;
                    }
                }
            }
            if selections.is_empty() {
                return;
            }
            let mut follower = logs::follow(&link.rest, selections, self.containers.clone(), self.options.clone());
            while let Some(event) = follower.next().await {
                link.reply(Reply::Log(self.request, event.into())).await;
            }
        })
    }
}

/// Older lines to read.
#[derive(Clone, Debug)]
pub struct Older {
    /// The sources, how many of their lines there are, and when the first was printed.
    pub have: Vec<(Source, u64, Timestamp)>,
    /// How many more of each.
    pub want: u64,
    /// As in [`Follow`].
    pub request: u64,
}

impl Job for Older {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let news = match logs::older(&link.rest, &self.have, self.want).await {
                Ok(lines) => {
                    let line = |(id, time, line): (usize, Timestamp, bytes::Bytes)| (id, time, text(line.into()));
                    News::Older(lines.into_iter().map(line).collect())
                }
                Err(error) => News::Failed(error.to_string()),
            };
            link.reply(Reply::Log(self.request, news)).await;
        })
    }
}
