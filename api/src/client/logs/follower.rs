//! Carries a [`Plan`] out: reads what there is, then keeps every log open that should be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::blocks::{Blocks, Mark, Skip};
use super::merge::Merge;
use super::plan::{Action, Id, Plan};
use super::{Containers, Options, Since, Source, open};
use crate::client::pods::{Pod, Selection, Watched};
use crate::client::rest::{self, Rest};

/// Events that wait for the reader; a block is a network read at most.
const QUEUE: usize = 64;
/// Requests under way at once while what there is gets opened.
const OPENING: usize = 16;
const BLOCK_BYTES: usize = 32 << 10;

/// News of the logs that are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A source, before anything of it comes. Ids count up from zero.
    Source(usize, Source),
    /// Whole lines, each beginning with its time (see [`super::split_time`]).
    Lines(usize, Bytes),
    /// Something happened to a source that its reader should know.
    Note(usize, String),
    /// What there was has come; what comes now is new.
    CaughtUp,
}

/// Logs that are being followed, until this is dropped.
#[derive(Debug)]
pub struct Follower {
    events: mpsc::Receiver<Event>,
    _stop: DropGuard,
}

impl Follower {
    /// The next event; `None` when no more can come.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Follows the logs of all Pods of some selections. `options` says how far back to begin; without `follow` it ends
/// when everything was read.
pub fn follow(rest: &Rest, selections: Vec<Selection>, containers: Containers, options: Options) -> Follower {
    let (sender, events) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let run = Run {
        rest: rest.clone(),
        plan: Plan::new(containers),
        options: Options {
            timestamps: true,
            ..options
        },
        events: sender,
        marks: HashMap::new(),
        wakes: JoinSet::new(),
    };
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            // Nobody is left to tell.
            _ = run.run(selections) => {}
            () = stopped.cancelled() => {}
        }
    });
    Follower {
        events,
        _stop: stop.drop_guard(),
    }
}

/// The reader is gone.
struct Unread;

struct Run {
    rest: Rest,
    plan: Plan,
    options: Options,
    events: mpsc::Sender<Event>,
    marks: HashMap<Id, Mark>,
    wakes: JoinSet<Wake>,
}

enum Wake {
    Ended { id: Id, mark: Mark, error: Option<String> },
    Retry(Id),
}

impl Run {
    async fn run(mut self, selections: Vec<Selection>) -> Result<(), Unread> {
        let first: Vec<Arc<Pod>> = selections.iter().flat_map(|s| s.first.iter().cloned()).collect();
        let opening = self.plan.observe(&first);
        let sources = self.plan.open_sources();
        let follow = self.options.follow && !self.options.previous;
        let merged = sources.len() > 1 || !follow;
        for action in opening {
            match action {
                Action::Open(_) if merged => {}
                action => self.act(action).await?,
            }
        }
        if merged {
            self.history(&sources).await?;
        }
        self.events.send(Event::CaughtUp).await.map_err(|_| Unread)?;
        if !follow {
            return Ok(());
        }
        if merged {
            for id in sources {
                self.act(Action::Open(id)).await?;
            }
        }
        self.keep_up(&selections).await
    }

    /// Reads what there is of several logs, in the order of time.
    async fn history(&mut self, sources: &[Id]) -> Result<(), Unread> {
        let options = Options {
            follow: false,
            ..self.options.clone()
        };
        let opened = stream::iter(sources.iter().copied())
            .map(|id| {
                let (rest, source, options) = (self.rest.clone(), self.plan.source(id).clone(), options.clone());
                async move { (id, open(&rest, &source, &options).await) }
            })
            .buffered(OPENING)
            .collect::<Vec<_>>()
            .await;
        let mut readers = Vec::new();
        for (id, result) in opened {
            match result {
                Ok(reader) => readers.push((id, reader)),
                Err(error) => self.note(id, rest::message(&error)).await?,
            }
        }
        let first = readers.first().map_or(0, |(id, _)| *id);
        let mut merge = match Merge::new(readers).await {
            Ok(merge) => merge,
            Err(error) => return self.note(first, format!("log broke off: {error}")).await,
        };
        // Lines of one source in a row go as one block.
        let (mut from, mut block) = (first, BytesMut::new());
        loop {
            let next = match merge.next().await {
                Ok(next) => next,
                Err(error) => {
                    self.note(from, format!("log broke off: {error}")).await?;
                    None
                }
            };
            let goes_on = next.as_ref().is_some_and(|(id, _, _)| *id == from);
            if !block.is_empty() && (!goes_on || block.len() >= BLOCK_BYTES) {
                let block = block.split().freeze();
                self.marks.entry(from).or_default().advance(&block);
                self.events.send(Event::Lines(from, block)).await.map_err(|_| Unread)?;
            }
            let Some((id, _, line)) = next else {
                return Ok(());
            };
            from = id;
            block.extend_from_slice(&line);
        }
    }

    async fn keep_up(mut self, selections: &[Selection]) -> Result<(), Unread> {
        let changed = Arc::new(Notify::new());
        let watched: Vec<_> = selections
            .iter()
            .map(|selection| Watched::with(&self.rest, selection, changed.clone()))
            .collect();
        for one in &watched {
            tokio::select! {
                () = one.synced() => {}
                // Where Pods may not be watched, their logs can be read all the same.
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = self.events.closed() => return Err(Unread),
            }
        }
        loop {
            tokio::select! {
                () = changed.notified() => {
                    // A selection that could not be listed says nothing about its Pods.
                    if watched.iter().all(Watched::is_synced) {
                        let pods: Vec<_> = watched.iter().flat_map(Watched::pods).collect();
                        for action in self.plan.observe(&pods) {
                            self.act(action).await?;
                        }
                    }
                }
                Some(wake) = self.wakes.join_next() => {
                    for action in self.wake(wake) {
                        self.act(action).await?;
                    }
                }
                () = self.events.closed() => return Err(Unread),
            }
        }
    }

    fn wake(&mut self, wake: Result<Wake, tokio::task::JoinError>) -> Vec<Action> {
        match wake {
            Ok(Wake::Ended { id, mark, error }) => {
                let read = self.marks.get(&id) != Some(&mark);
                self.marks.insert(id, mark);
                self.plan.ended(id, error.as_deref(), read)
            }
            Ok(Wake::Retry(id)) => self.plan.retry(id),
            Err(error) => {
                tracing::error!(%error, "the reader of a log failed");
                Vec::new()
            }
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), Unread> {
        match action {
            Action::Announce(id) => {
                let event = Event::Source(id, self.plan.source(id).clone());
                self.events.send(event).await.map_err(|_| Unread)?;
            }
            Action::Note(id, text) => self.note(id, text).await?,
            Action::Open(id) => {
                let mark = self.marks.get(&id).cloned();
                let (rest, source) = (self.rest.clone(), self.plan.source(id).clone());
                let read = read(rest, id, source, self.options.clone(), mark, self.events.clone());
                self.wakes.spawn(read);
            }
            Action::Retry(id, pause) => {
                self.wakes.spawn(async move {
                    tokio::time::sleep(pause).await;
                    Wake::Retry(id)
                });
            }
        }
        Ok(())
    }

    async fn note(&self, id: Id, text: String) -> Result<(), Unread> {
        self.events.send(Event::Note(id, text)).await.map_err(|_| Unread)
    }
}

/// Reads one log to its end, from where it was read to.
async fn read(
    rest: Rest,
    id: Id,
    source: Source,
    mut options: Options,
    mark: Option<Mark>,
    events: mpsc::Sender<Event>,
) -> Wake {
    let mut skip = None;
    let mut mark = mark.unwrap_or_default();
    if let Some(last) = mark.last {
        options.tail = None;
        options.since = Some(Since::Time(last));
        skip = Some(Skip::new(mark.clone()));
    }
    let reader = match open(&rest, &source, &options).await {
        Ok(reader) => reader,
        Err(error) => {
            let error = Some(rest::message(&error));
            return Wake::Ended { id, mark, error };
        }
    };
    let mut blocks = Blocks::new(reader);
    let error = loop {
        let block = match blocks.next().await {
            Ok(Some(block)) => block,
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        };
        let block = match &mut skip {
            Some(skip) => skip.apply(block),
            None => block,
        };
        if block.is_empty() {
            continue;
        }
        mark.advance(&block);
        if events.send(Event::Lines(id, block)).await.is_err() {
            break None;
        }
    };
    Wake::Ended { id, mark, error }
}

/// Lines from before those that a reader has: of each source, given how many of its last lines the reader has and
/// when the first of them was printed, up to `want` lines before that. In the order of time, each with the index of
/// its source.
pub async fn older(
    rest: &Rest,
    sources: &[(Source, u64, Timestamp)],
    want: u64,
) -> std::io::Result<Vec<(usize, Timestamp, Bytes)>> {
    let opening = sources.iter().enumerate().map(|(index, (source, have, _))| {
        let (rest, source) = (rest.clone(), source.clone());
        let options = Options {
            timestamps: true,
            tail: i64::try_from(have + want).ok(),
            ..Options::default()
        };
        async move { open(&rest, &source, &options).await.map(|reader| (index, reader)) }
    });
    let opened = stream::iter(opening.collect::<Vec<_>>())
        .buffered(OPENING)
        .collect::<Vec<_>>()
        .await;
    // A source that is gone has no older lines; the others may.
    let mut merge = Merge::new(opened.into_iter().filter_map(Result::ok)).await?;
    let last = sources
        .iter()
        .map(|(_, _, before)| *before)
        .max()
        .unwrap_or(Timestamp::MAX);
    let mut lines = Vec::new();
    while let Some((index, time, line)) = merge.next().await? {
        if time >= last {
            break;
        }
        if time < sources[index].2 {
            lines.push((index, time, line));
        }
    }
    Ok(lines)
}
