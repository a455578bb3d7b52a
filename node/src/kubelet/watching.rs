//! How the kubelet watches: errors are retried soon at first (a Pod may reach us before the Node
//! authorizer knows that it is ours), then patiently.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(15);

/// Doubling pauses from [`FIRST`] to [`LAST`], until something succeeds.
#[derive(Default)]
struct Doubling(Option<Duration>);

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let next = self.0.map_or(FIRST, |last| (last * 2).min(LAST));
        self.0 = Some(next);
        Some(next)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.0 = None;
    }
}

/// The events of `stream`, with errors logged and retried.
pub fn patient<K: Send + 'static>(
    stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    what: &'static str,
) -> impl Stream<Item = Event<K>> + Send {
    stream.backoff(Doubling::default()).filter_map(move |event| {
        std::future::ready(match event {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::debug!(%error, what, "watch interrupted, trying again");
                None
            }
        })
    })
}
