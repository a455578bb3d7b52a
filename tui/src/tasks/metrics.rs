//! Reads measurements in turns, since `metrics.k8s.io` cannot be watched.
//!
//! As often as they are made where they are few; where they are many, seldom enough that an idle console
//! stays within [`BUDGET`]. `Ctrl-R` reads them at once.

use std::sync::Arc;
use std::time::Duration;

use mizzen_api::client::rest::Rest;
use mizzen_api::console::metrics::Measure;
use mizzen_api::view;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::data::{Batch, Source};
use crate::event::Event;

/// How often measurements are made, by default.
const OFTEN: Duration = Duration::from_secs(15);
/// Before another try after a failure.
const RETRY: Duration = Duration::from_secs(30);
/// Up to so many bytes they are read as often as they are made.
const FEW: usize = 256 << 10;
/// Bytes a second above that.
const BUDGET: usize = 1024;
/// Measurements that are told together, so that the console draws in between.
const TOGETHER: usize = 500;

/// Reads until it is dropped.
pub async fn run(rest: Rest, source: Arc<Source>, events: mpsc::Sender<Event>) {
    loop {
        let pause = match read(&rest, &source).await {
            Ok((measures, bytes)) => {
                tell(&source, measures, &events).await;
                pause(bytes)
            }
            // The cells say n/a; the rows are well without.
            Err(error) => {
                tracing::debug!(%error, "cannot read what is used");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn pause(bytes: usize) -> Duration {
    match bytes <= FEW {
        true => OFTEN,
        false => Duration::from_secs((bytes / BUDGET) as u64),
    }
}

async fn read(rest: &Rest, source: &Source) -> Result<(Vec<Measure>, usize), kube::Error> {
    let request = http::Request::get(source.gvr().path(&source.namespace));
    let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
    let text = rest.client().request_text(request).await?;
    let list: Value = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
    let measures = view::list(&list, "/items").iter().map(Measure::read).collect();
    Ok((measures, text.len()))
}

async fn tell(source: &Arc<Source>, measures: Vec<Measure>, events: &mpsc::Sender<Event>) {
    let mut measures = measures.into_iter().peekable();
    loop {
        let batch: Vec<_> = measures.by_ref().take(TOGETHER).collect();
        let end = measures.peek().is_none();
        let event = Event::Data(source.clone(), Batch::Measured(batch, end));
        // When nobody listens the program is ending.
        if events.send(event).await.is_err() || end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_is_read_seldom() {
        for (bytes, seconds) in [(0, 15), (FEW, 15), (4 << 20, 4096)] {
            assert_eq!(pause(bytes).as_secs(), seconds, "{bytes}");
        }
    }
}
