//! Connections of many calls: one, and another whenever that has as many calls as a server lets it have. A watch is a
//! call, and what is beyond a server's limit waits for as long as it takes.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt as _;

/// Connections, each with the calls that run on it.
#[derive(Debug)]
pub struct Lanes<H> {
    lanes: Vec<(H, Call)>,
    calls: usize,
}

/// A call on a connection. It lasts until this is dropped.
#[derive(Clone, Debug, Default)]
pub struct Call(Arc<()>);

impl<H: Clone> Lanes<H> {
    /// None yet; each will be given so many calls at once.
    pub fn new(calls: usize) -> Self {
        Self {
            lanes: Vec::new(),
            calls,
        }
    }

    /// The first connection that has room, or a new one. Those that are not in use for a while close by themselves.
    pub fn take(&mut self, connect: impl FnOnce() -> H) -> (H, Call) {
        let free = |(_, call): &&(H, Call)| Arc::strong_count(&call.0) <= self.calls;
        if let Some((lane, call)) = self.lanes.iter().find(free) {
            return (lane.clone(), call.clone());
        }
        let lane = (connect(), Call::default());
        self.lanes.push(lane.clone());
        lane
    }
}

impl Call {
    /// The call lasts until the last of the answer, or of who reads it.
    pub fn until_read<B: Body<Data = Bytes>>(
        self,
        response: Response<B>,
    ) -> Response<impl Body<Data = Bytes, Error = B::Error> + use<B>> {
        response.map(|body| {
            body.map_frame(move |frame| {
                let _running = &self;
                frame
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_filled_before_another_is_made() {
        const CALLS: usize = 5;
        let (mut lanes, mut made) = (Lanes::new(CALLS), 0);
        let mut take = || {
            lanes.take(|| {
                made += 1;
                made
            })
        };
        let mut calls: Vec<_> = (0..2 * CALLS + 1).map(|_| take()).collect();
        assert_eq!((calls[CALLS - 1].0, calls[CALLS].0, calls[2 * CALLS].0), (1, 2, 3));
        // A call that ended makes room.
        calls.remove(CALLS);
        assert_eq!(take().0, 2);
        calls.clear();
        assert_eq!(take().0, 1);
    }
}
