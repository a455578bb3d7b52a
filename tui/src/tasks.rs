//! The tasks that do the I/O: they hold the client, take effects and send events.
//!
//! [`Runner`] owns them. One task per watch ([`watch`]), one per [`Job`] of a view, one each for connecting,
//! discovery and rights. A watch ends when nothing looks at it, a job when its view closes, all of them when
//! the context changes.

pub mod apply;
pub mod connect;
pub mod fetch;
pub mod forward;
pub mod logs;
pub mod metrics;
pub mod perform;
pub mod process;
pub mod transfer;
pub mod watch;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use mizzen_api::client::rest::{self, Gvr, Rest};
use mizzen_api::resource::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::data::{Rights, Source, is_measured};
use crate::effect::{Effect, Input};
use crate::event::{Event, Notice, Reply, Tone, ViewId};

/// Work for a view, done outside of the state.
pub trait Job: Debug + Send {
    /// Does it. The future is dropped when the view closes.
    fn run(self: Box<Self>, link: Link) -> BoxFuture<'static, ()>;
}

/// What a job works with.
#[derive(Debug)]
pub struct Link {
    /// The client.
    pub rest: Rest,
    /// What the server serves.
    pub registry: Arc<Registry>,
    /// The view that started it.
    pub to: ViewId,
    /// What the view sends.
    pub input: mpsc::UnboundedReceiver<Input>,
    events: mpsc::Sender<Event>,
}

impl Link {
    /// Answers the view. Waits while the console is behind.
    pub async fn reply(&self, reply: Reply) {
        self.send(Event::Reply(self.to, reply)).await;
    }

    /// Puts something into the history of notices.
    pub async fn notice(&self, tone: Tone, text: impl Into<String> + Send) {
        self.send(Event::Notice(Notice::new(tone, text))).await;
    }

    /// Sends any event.
    pub async fn send(&self, event: Event) {
        // When nobody listens the program is ending.
        let _ = self.events.send(event).await;
    }
}

/// Carries out effects.
#[derive(Debug)]
pub struct Runner {
    options: connect::Options,
    events: mpsc::Sender<Event>,
    session: tokio::sync::watch::Sender<Option<Session>>,
    watches: HashMap<Arc<Source>, CancellationToken>,
    jobs: HashMap<ViewId, (CancellationToken, Vec<mpsc::UnboundedSender<Input>>)>,
    all: CancellationToken,
}

/// A connection, with what is known of the server.
#[derive(Clone, Debug)]
pub struct Session {
    /// The client.
    pub rest: Rest,
    /// What the server serves: the built-in kinds until it has said.
    pub registry: Arc<Registry>,
}

impl Runner {
    /// Nothing is running yet.
    pub fn new(options: connect::Options, events: mpsc::Sender<Event>) -> Self {
        Self {
            options,
            events,
            session: tokio::sync::watch::Sender::new(None),
            watches: HashMap::new(),
            jobs: HashMap::new(),
            all: CancellationToken::new(),
        }
    }

    /// Carries out what concerns the cluster; gives the rest back.
    pub fn run(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Connect(context) => self.connect(context),
            Effect::Renew(context) => {
                let work = connect::renew(self.options.clone(), context, self.session.clone());
                spawn(self.all.clone(), work);
            }
            Effect::Watch(source) => self.watch(source),
            Effect::Unwatch(source) => {
                if let Some(token) = self.watches.remove(&source) {
                    token.cancel();
                }
            }
            Effect::Rights(namespace) => self.rights(namespace),
            Effect::Start(to, job) => self.start(to, job),
            Effect::Send(to, input) => {
                if let Some((_, inputs)) = self.jobs.get_mut(&to) {
                    inputs.retain(|sender| sender.send(input.clone()).is_ok());
                }
            }
            Effect::Stop(to) => {
                if let Some((token, _)) = self.jobs.remove(&to) {
                    token.cancel();
                }
            }
            other => return Some(other),
        }
        None
    }

    fn connect(&mut self, context: Option<String>) {
        self.all.cancel();
        self.all = CancellationToken::new();
        self.watches.clear();
        self.jobs.clear();
        self.session = tokio::sync::watch::Sender::new(None);
        let work = connect::run(self.options.clone(), context, self.session.clone(), self.events.clone());
        spawn(self.all.clone(), work);
    }

    /// Waits for the connection, then works.
    fn with_session<F: Future<Output = ()> + Send + 'static>(
        &self,
        token: CancellationToken,
        work: impl FnOnce(Session) -> F + Send + 'static,
    ) {
        let mut session = self.session.subscribe();
        spawn(token, async move {
            let connected = session.wait_for(Option::is_some).await.ok().and_then(|s| s.clone());
            if let Some(connected) = connected {
                work(connected).await;
            }
        });
    }

    fn watch(&mut self, source: Arc<Source>) {
        if self.watches.contains_key(&source) {
            return;
        }
        let token = self.all.child_token();
        self.watches.insert(source.clone(), token.clone());
        let events = self.events.clone();
        let session = self.session.subscribe();
        match is_measured(&source) {
            true => self.with_session(token, move |session| metrics::run(session.rest, source, events)),
            false => self.with_session(token, move |_| watch::run(session, source, events)),
        }
    }

    fn rights(&self, namespace: String) {
        let events = self.events.clone();
        self.with_session(self.all.child_token(), async move |session: Session| {
            const AT: Gvr<'_> = Gvr::new("authorization.k8s.io", "v1", "selfsubjectrulesreviews");
            let asked = if namespace.is_empty() { "default" } else { &namespace };
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                "spec": {"namespace": asked}});
            let answer: rest::Result<Value> = session.rest.create(&AT, "", &review).await;
            let answer = answer.map(|a| Rights::read(&a)).map_err(|e| rest::message(&e));
            let _ = events.send(Event::Rights(namespace, answer)).await;
        });
    }

    fn start(&mut self, to: ViewId, job: Box<dyn Job>) {
        let (sender, input) = mpsc::unbounded_channel();
        let (token, inputs) = self
            .jobs
            .entry(to)
            .or_insert_with(|| (self.all.child_token(), Vec::new()));
        inputs.push(sender);
        let (token, events) = (token.clone(), self.events.clone());
        self.with_session(token, move |session| {
            job.run(Link {
                rest: session.rest,
                registry: session.registry,
                to,
                input,
                events,
            })
        });
    }
}

fn spawn(token: CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        token.run_until_cancelled(work).await;
    });
}
