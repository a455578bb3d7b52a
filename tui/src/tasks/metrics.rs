//! Reads measurements in turns, since `metrics.k8s.io` cannot be watched.
//!
//! As often as [`metrics::pause`] says. `Ctrl-R` reads them at once.

use std::sync::Arc;

use mizzen_api::client::rest::Rest;
use mizzen_api::console::metrics::{self, Measure};
use mizzen_api::view;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::data::{Batch, Source};
use crate::event::Event;

/// Measurements that are told together, so that the console draws in between.
const TOGETHER: usize = 500;

/// Reads until it is dropped.
pub async fn run(rest: Rest, source: Arc<Source>, events: mpsc::Sender<Event>) {
    loop {
        let pause = match read(&rest, &source).await {
            Ok((measures, bytes)) => {
                tell(&source, measures, &events).await;
                metrics::pause(bytes)
            }
            // The cells say n/a; the rows are well without.
            Err(error) => {
                tracing::debug!(%error, "cannot read what is used");
                metrics::RETRY
            }
        };
        tokio::time::sleep(pause).await;
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
