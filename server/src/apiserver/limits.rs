//! How many requests may be in progress at once: separate limits for reading and changing ones, so
//! that a flood of one kind leaves room for the other. Watches do not count.

use std::sync::Arc;

use mizzen_api::status::{ApiError, ApiResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::RequestInfo;

/// Upstream's `--max-requests-inflight`.
const READING: usize = 400;
/// Upstream's `--max-mutating-requests-inflight`.
const CHANGING: usize = 200;

/// A place among the requests in progress; `None` for those that do not count.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// The places.
#[derive(Debug)]
pub(super) struct Limits {
    reading: Arc<Semaphore>,
    changing: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reading: Arc::new(Semaphore::new(READING)),
            changing: Arc::new(Semaphore::new(CHANGING)),
        }
    }
}

impl Limits {
    /// Takes a place, or says to come back later.
    pub(super) fn enter(&self, info: &RequestInfo) -> ApiResult<Permit> {
        // Health must be seen even when the server is full.
        if info.is_long_running() || !info.is_resource {
            return Ok(None);
        }
        let places = if info.is_read_only() {
            &self.reading
        } else {
            &self.changing
        };
        let permit = places.clone().try_acquire_owned();
        permit
            .map(Some)
            .map_err(|_| ApiError::too_many_requests("Too many requests, please try again later.", 1))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::apiserver::query::Query;

    #[test]
    fn changes_fill_up_while_reads_and_watches_go_on() {
        let limits = Limits::default();
        let info =
            |method: Method, query: &str| RequestInfo::resolve(&method, "/api/v1/pods", &Query::parse(Some(query)));
        let held: Vec<_> = (0..CHANGING)
            .map(|_| limits.enter(&info(Method::POST, "")).expect("a place"))
            .collect();
        let refused = limits.enter(&info(Method::POST, "")).expect_err("full");
        assert_eq!(
            (refused.code, refused.details),
            (429, Some(Box::new(serde_json::json!({"retryAfterSeconds": 1}))))
        );
        assert!(
            limits
                .enter(&info(Method::GET, ""))
                .is_ok_and(|permit| permit.is_some())
        );
        assert!(
            limits
                .enter(&info(Method::GET, "watch=1"))
                .is_ok_and(|permit| permit.is_none())
        );
        drop(held);
        assert!(limits.enter(&info(Method::POST, "")).is_ok());
    }
}
