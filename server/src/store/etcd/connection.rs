//! Requests to the members of etcd: which one is asked, what is tried again elsewhere, what errors mean.
//!
//! One member is asked as long as it answers; when it does not, the next one. What certainly did not
//! reach a member is sent to another; what may have been carried out is sent again only where that
//! changes nothing (reads).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::store::StoreError;

/// How long a request is tried anew: members need about 2 s to elect another leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one member may take to answer; itself it gives up after 7 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that is silent is asked for a sign of life this often. etcd takes no less than 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause once every member has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where etcd is and how to talk to it.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// The members, as `--datastore-endpoint` spells them: `https://a:2379,https://b:2379`.
    pub endpoints: String,
    /// CA of the members' certificates.
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// The members, and which one is asked.
pub(super) struct Connection {
    members: Box<[Member]>,
    options: ConnectOptions,
    current: AtomicUsize,
}

struct Member {
    endpoint: String,
    client: OnceCell<Client>,
}

/// What may be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nothing has happened: any request may go to another member.
    NotDone,
    /// Nobody knows what has happened: only reads may be sent again.
    Unknown,
    /// The answer is no.
    Final,
}

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It does not.
    Read,
    /// It may.
    Write,
}

impl Connection {
    pub(super) fn new(options: &EtcdOptions) -> Result<Self, StoreError> {
        let (endpoints, user) = endpoints(&options.endpoints)?;
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if endpoints[0].starts_with("https://") {
            connect = connect.with_tls(tls(options)?);
        }
        if let Some((name, password)) = user {
            connect = connect.with_user(name, password).with_auto_token_refresh(true);
        }
        let member = |endpoint| Member {
            endpoint,
            client: OnceCell::new(),
        };
        Ok(Self {
            members: endpoints.into_iter().map(member).collect(),
            options: connect,
            current: AtomicUsize::new(0),
        })
    }

    /// The member that is asked at present, and its number.
    pub(super) async fn client(&self) -> (usize, Result<Client, Error>) {
        let number = self.current.load(Relaxed);
        let member = &self.members[number];
        let connect = || Client::connect([&member.endpoint], Some(self.options.clone()));
        let connecting = Box::pin(member.client.get_or_try_init(connect));
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let client = match connected {
            Ok(client) => client.cloned(),
            Err(_) => Err(Error::EndpointError(format!("{} does not answer", member.endpoint))),
        };
        (number, client)
    }

    /// Turns from a member to the next one, unless somebody did already.
    pub(super) fn turn_from(&self, number: usize) {
        let next = (number + 1) % self.members.len();
        let _ = self.current.compare_exchange(number, next, Relaxed, Relaxed);
    }

    /// How many members are known.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// Sends a request to the members until one answers.
    pub(super) async fn call<T>(
        &self,
        effect: Effect,
        request: &(dyn Fn(Client) -> BoxFuture<'static, Result<T, Error>> + Sync),
    ) -> Result<T, Error> {
        let begin = Instant::now();
        for attempt in 1.. {
            let (number, client) = self.client().await;
            let answer = match client {
                Ok(client) => tokio::time::timeout(ATTEMPT_TIMEOUT, request(client)).await,
                Err(error) => Ok(Err(error)),
            };
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::GRpcStatus(tonic::Status::deadline_exceeded("context deadline exceeded")),
            };
            let failure = judge(&error);
            if failure != Failure::Final {
                self.turn_from(number);
            }
            let again = match failure {
                Failure::NotDone => true,
                Failure::Unknown => effect == Effect::Read,
                Failure::Final => false,
            };
            if !again || begin.elapsed() > PATIENCE {
                return Err(error);
            }
            if attempt % self.members.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        unreachable!("the attempts do not end by themselves")
    }
}

/// What etcd's client says of an error, as upstream's words.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) if status.message().starts_with("etcdserver: ") => status.message().to_owned(),
        Error::GRpcStatus(status) => format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
        error => error.to_string(),
    }
}

/// The engine's error for one of the client's that has no meaning of its own.
pub(super) fn store_error(error: Error) -> StoreError {
    match judge(&error) {
        Failure::Final => StoreError::Engine(message(&error)),
        Failure::NotDone | Failure::Unknown => StoreError::Unavailable(message(&error)),
    }
}

/// Whether nobody knows what became of the request.
pub(super) fn may_be_done(error: &Error) -> bool {
    judge(error) == Failure::Unknown
}

/// Whether the error is the answer of that name.
pub(super) fn is(error: &Error, answer: &str) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains(answer))
}

fn judge(error: &Error) -> Failure {
    use tonic::Code;
    let status = match error {
        Error::GRpcStatus(status) => status,
        Error::TransportError(_) | Error::EndpointError(_) | Error::IoError(_) | Error::WatchError(_) => {
            return Failure::Unknown;
        }
        _ => return Failure::Final,
    };
    let refused = [
        "etcdserver: no leader",
        "etcdserver: too many requests",
        "etcdserver: not capable",
    ];
    if refused.contains(&status.message()) || never_connected(status) {
        return Failure::NotDone;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
            Failure::Unknown
        }
        _ => Failure::Final,
    }
}

fn never_connected(status: &tonic::Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source()).any(|error| error.is::<tonic::ConnectError>())
}

type User = (String, String);

/// The members' addresses, and who we are when the first one says so (`https://user:password@host:port`).
fn endpoints(text: &str) -> Result<(Vec<String>, Option<User>), StoreError> {
    let bad = || StoreError::Engine("the datastore's endpoint is not of the form http(s)://HOST:PORT[,…]".to_owned());
    let (scheme, _) = text.split_once("://").ok_or_else(bad)?;
    if !matches!(scheme, "http" | "https") {
        return Err(bad());
    }
    let (mut all, mut user) = (Vec::new(), None);
    for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (own, address) = member.split_once("://").unwrap_or((scheme, member));
        let (credentials, address) = address.rsplit_once('@').map_or((None, address), |(c, a)| (Some(c), a));
        if own != scheme || address.is_empty() {
            return Err(bad());
        }
        if let Some((name, password)) = credentials.and_then(|credentials| credentials.split_once(':')) {
            user.get_or_insert((name.to_owned(), password.to_owned()));
        }
        all.push(format!("{scheme}://{}", address.trim_end_matches('/')));
    }
    if all.is_empty() { Err(bad()) } else { Ok((all, user)) }
}

fn tls(options: &EtcdOptions) -> Result<TlsOptions, StoreError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| StoreError::Engine(format!("cannot read the datastore's {}: {error}", path.display())))
    };
    let mut tls = TlsOptions::new();
    if let Some(ca) = &options.ca_file {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(tls),
        _ => Err(StoreError::Engine(
            "a datastore's certificate needs its key: give --datastore-certfile and --datastore-keyfile".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_spelled_as_k3s_does() {
        let check = |text: &str| match endpoints(text) {
            Ok((all, user)) => format!(
                "{} {}",
                all.join(" "),
                user.map_or("-".to_owned(), |u| format!("{u:?}"))
            ),
            Err(error) => error.to_string(),
        };
        let table = [
            ("http://a:1", "http://a:1 -"),
            ("https://a:1,https://b:2/", "https://a:1 https://b:2 -"),
            ("https://a:1, b:2,", "https://a:1 https://b:2 -"),
            ("http://me:p@ss@a:1,b:2", r#"http://a:1 http://b:2 ("me", "p@ss")"#),
        ];
        for (text, expect) in table {
            assert_eq!(check(text), expect);
        }
        for text in ["", "a:1", "mysql://a:1", "http://", "http://a:1,https://b:1"] {
            assert!(check(text).starts_with("the datastore's endpoint is not"), "{text}");
        }
    }
}
