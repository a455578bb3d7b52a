//! One port-forward of the console's: it lives until it is ended, whatever views come and go.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use mizzen_api::client::forward::{self, Event as Happened, Forward, Mapping};
use mizzen_api::client::pods::Target;

use super::{Job, Link};
use crate::event::Event;
use crate::forwards::{News, Status};

/// How often counts are shown while something passes.
const COUNT: Duration = Duration::from_secs(1);

/// Ports to forward.
#[derive(Clone, Debug)]
pub struct Open {
    /// Number of the forward.
    pub id: u64,
    /// Where to.
    pub target: Target,
    /// Where to listen.
    pub addresses: Vec<IpAddr>,
    /// Which ports.
    pub mappings: Vec<Mapping>,
}

impl Job for Open {
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()> {
        Box::pin(self.forward(link))
    }
}

impl Open {
    async fn forward(self: Box<Self>, link: Link) {
        let tell = async |news: News| link.send(Event::Forward(self.id, news)).await;
        let opened = async {
            let selection = forward::resolve(&link.rest, &self.target).await?;
            Forward::open(&link.rest, selection, &self.addresses, &self.mappings).await
        };
        let mut forward = match opened.await {
            Ok(forward) => forward,
            Err(error) => return tell(News::Status(Status::Failed(error.to_string()))).await,
        };
        let listening = forward
            .listening
            .iter()
            .map(|(address, port)| (address.to_string(), *port));
        tell(News::Listening(listening.collect())).await;
        tell(News::Status(status(&forward))).await;
        let mut shown = forward.traffic();
        loop {
            let open = forward.traffic().open > 0 || forward.traffic() != shown;
            tokio::select! {
                happened = forward.next() => match happened {
                    Some(Happened::Connection(_)) => {}
                    Some(Happened::Failed(error)) => tell(News::Trouble(error)).await,
                    Some(Happened::Moved(_) | Happened::Alone) => tell(News::Status(status(&forward))).await,
                    None => return,
                },
                () = tokio::time::sleep(COUNT), if open => {
                    let traffic = forward.traffic();
                    if traffic != std::mem::replace(&mut shown, traffic) {
                        tell(News::Traffic(traffic)).await;
                    }
                }
            }
        }
    }
}

fn status(forward: &Forward) -> Status {
    match forward.pod() {
        Some(pod) => Status::Active(pod),
        None => Status::Alone,
    }
}
