//! How many requests may be in progress at once: separate limits for reading and changing ones, so that a flood of one
//! kind leaves room for the other. Watches do not count. Who finds no room waits in line, as upstream's priority and
//! fairness has it, and is refused when the line is too long or does not move. Three do not wait: administrators, who
//! must be able to look at a full server and mend it, what nodes say to be thought alive, and leaders who stay it.

use std::sync::Arc;
use std::time::Duration;

use mizzen_api::status::{ApiError, ApiResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authorization::node::NODES;
use super::request::RequestInfo;
use crate::identity::{MASTERS, User};

/// Upstream's `--max-requests-inflight`.
const READING: usize = 400;
/// Upstream's `--max-mutating-requests-inflight`.
const CHANGING: usize = 200;
/// Longest line, of either kind.
const WAITING: usize = 5_000;
/// How long a request waits: a quarter of the time that it may take, as upstream.
const PATIENCE: Duration = Duration::from_secs(15);

/// A place among the requests in progress; `None` for those that do not count.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// Places for one kind of requests, and for waiting for one.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    line: Semaphore,
}

impl Places {
    fn new(places: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(places)),
            line: Semaphore::new(WAITING),
        }
    }

    async fn wait(&self) -> Permit {
        let _waiting = self.line.try_acquire().ok()?;
        let place = self.free.clone().acquire_owned();
        tokio::time::timeout(PATIENCE, place).await.ok()?.ok()
    }
}

/// The places.
#[derive(Debug)]
pub(super) struct Limits {
    reading: Places,
    changing: Places,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reading: Places::new(READING),
            changing: Places::new(CHANGING),
        }
    }
}

/// Whether a request is not to wait for others.
fn is_urgent(info: &RequestInfo, user: &User) -> bool {
    let attributes = &info.attributes;
    let is_component = user.name.starts_with("system:kube-") || user.in_group(NODES);
    let is_sign_of_life = match (&*attributes.resource, &*attributes.subresource) {
        ("leases", "") => attributes.group == "coordination.k8s.io" && is_component,
        ("nodes", "status") => is_component,
        _ => false,
    };
    is_sign_of_life || user.in_group(MASTERS)
}

impl Limits {
    /// Takes a place, waiting for one if need be, or says to come back later.
    pub(super) async fn enter(&self, info: &RequestInfo, user: &User) -> ApiResult<Permit> {
        // Health must be seen even when the server is full.
        if info.is_long_running() || !info.is_resource {
            return Ok(None);
        }
        let places = if info.is_read_only() {
            &self.reading
        } else {
            &self.changing
        };
        if let Ok(place) = places.free.clone().try_acquire_owned() {
            return Ok(Some(place));
        }
        if is_urgent(info, user) {
            return Ok(None);
        }
        let place = places.wait().await;
        place
            .map(Some)
            .ok_or_else(|| ApiError::too_many_requests("Too many requests, please try again later.", 1))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::apiserver::query::Query;

    fn request(method: Method, path: &str) -> RequestInfo {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        RequestInfo::resolve(&method, path, &Query::parse(Some(query)))
    }

    const PODS: &str = "/api/v1/pods";

    async fn filled(limits: &Limits) -> Vec<Permit> {
        let user = User::new("someone", []);
        let mut held = Vec::new();
        for _ in 0..CHANGING {
            held.push(
                limits
                    .enter(&request(Method::POST, PODS), &user)
                    .await
                    .expect("a place"),
            );
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn changes_fill_up_while_reads_watches_and_signs_of_life_go_on() {
        let limits = Limits::default();
        let held = filled(&limits).await;
        let (someone, node) = (User::new("someone", []), User::new("system:node:n", [NODES]));
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
        for (method, path, user, counts) in [
            (Method::GET, PODS, &someone, Some(true)),
            (Method::GET, "/api/v1/pods?watch=1", &someone, Some(false)),
            (Method::GET, "/healthz", &someone, Some(false)),
            (Method::POST, PODS, &User::new("admin", [MASTERS]), Some(false)),
            (Method::PATCH, leases, &node, Some(false)),
            (Method::PATCH, "/api/v1/nodes/n/status", &node, Some(false)),
            (Method::PATCH, "/api/v1/nodes/n/status", &someone, None),
            (Method::PATCH, leases, &someone, None),
            (Method::POST, PODS, &node, None),
        ] {
            let entered = limits.enter(&request(method, path), user).await;
            let place = entered.as_ref().map(Option::is_some).ok();
            assert_eq!(place, counts, "{path} of {}", user.name);
        }
        drop(held);
        assert!(limits.enter(&request(Method::POST, PODS), &someone).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_goes_to_the_first_in_line() {
        let limits = Limits::default();
        let mut held = filled(&limits).await;
        let (info, user) = (request(Method::POST, PODS), User::new("someone", []));
        let second = async {
            held.pop();
            limits.enter(&info, &user).await
        };
        // Both wait; there is one place.
        let (first, second) = tokio::join!(limits.enter(&info, &user), second);
        assert!(first.is_ok_and(|place| place.is_some()));
        let refused = second.expect_err("nobody else went");
        assert_eq!(
            (refused.code, refused.details),
            (429, Some(Box::new(serde_json::json!({"retryAfterSeconds": 1}))))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_too_long_is_refused_at_once() {
        let limits = Limits::default();
        let _held = filled(&limits).await;
        let (info, user) = (request(Method::POST, PODS), User::new("someone", []));
        let began = tokio::time::Instant::now();
        let all = (0..=WAITING).map(|_| async {
            let refused = limits.enter(&info, &user).await.is_err();
            (refused, began.elapsed())
        });
        let mut all = futures::future::join_all(all).await;
        assert_eq!(all.pop(), Some((true, Duration::ZERO)));
        assert!(all.iter().all(|(refused, after)| *refused && *after >= PATIENCE));
    }
}
