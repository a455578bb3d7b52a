//! An API server that is not ours: as much of Kubernetes as a console reads, without aggregated discovery,
//! without Tables, and with rights that it grants to one namespace only.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// The server.
pub struct Simulated {
    world: Arc<World>,
    address: String,
    // Ends the server when it is dropped.
    _runtime: tokio::runtime::Runtime,
}

struct World {
    facts: Mutex<Facts>,
    news: broadcast::Sender<News>,
}

struct Facts {
    token: String,
    revision: u64,
    kinds: Vec<Kind>,
    objects: Vec<(&'static str, Value)>,
    /// What containers print: lines a second, and for how many seconds.
    prints: (usize, usize),
}

/// The last line of every log.
pub const LAST: &str = "that was the last line";
/// How often logs are written in a second.
const WRITES: usize = 50;

/// Base path, plural, kind, whether it has namespaces.
type Kind = (&'static str, &'static str, &'static str, bool);

#[derive(Clone)]
enum News {
    Event(&'static str, Value),
    /// Watches end: the credentials are not good any more.
    Cut,
}

const CORE: &str = "/api/v1";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1";
const KINDS: [Kind; 3] = [
    (CORE, "pods", "Pod", true),
    (CORE, "namespaces", "Namespace", false),
    (
        DEFINITIONS,
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
    ),
];

impl Simulated {
    /// Starts it; only this token is good.
    pub fn start(token: &str) -> Self {
        Self::start_at("127.0.0.1", token)
    }

    /// On an address of this machine.
    pub fn start_at(address: &str, token: &str) -> Self {
        let world = Arc::new(World {
            facts: Mutex::new(Facts {
                token: token.to_owned(),
                revision: 1,
                kinds: KINDS.to_vec(),
                objects: Vec::new(),
                prints: (0, 0),
            }),
            news: broadcast::channel(64).0,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((address, 0)))
            .expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(world.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            world,
            address,
            _runtime: runtime,
        }
    }

    /// Writes a kubeconfig whose credentials come from a program: one that prints `credentials`.
    pub fn kubeconfig(&self, file: &Path, credentials: &Path, namespace: &str) {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "other",
            "contexts": [{"name": "other", "context": {"cluster": "other", "user": "jane", "namespace": namespace}}],
            "clusters": [{"name": "other", "cluster": {"server": self.address}}],
            "users": [{"name": "jane", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "cat",
                "args": [credentials], "interactiveMode": "Never"}}}]});
        std::fs::write(file, config.to_string()).expect("a file");
    }

    /// What the program prints for a token.
    pub fn credentials(token: &str) -> String {
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}})
            .to_string()
    }

    /// Only this token is good from now on.
    pub fn expect_token(&self, token: &str) {
        self.facts(|facts| token.clone_into(&mut facts.token));
        let _ = self.world.news.send(News::Cut);
    }

    /// Serves another kind, or no longer.
    pub fn serve(&self, kind: Kind, on: bool) {
        let name = format!("{}.example.com", kind.1);
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}});
        self.facts(|facts| {
            facts.kinds.retain(|known| *known != kind);
            facts.kinds.extend(on.then_some(kind));
        });
        match on {
            true => self.put("customresourcedefinitions", definition),
            false => self.remove("customresourcedefinitions", definition),
        }
    }

    /// Adds an object, or puts another in its place.
    pub fn put(&self, plural: &'static str, object: Value) {
        self.tell(plural, "ADDED", object);
    }

    /// Removes an object.
    pub fn remove(&self, plural: &'static str, object: Value) {
        self.tell(plural, "DELETED", object);
    }

    /// Containers print so many lines a second from now on, for so many seconds after somebody looks.
    pub fn print(&self, lines: usize, seconds: usize) {
        self.facts(|facts| facts.prints = (lines, seconds));
    }

    fn tell(&self, plural: &'static str, kind: &str, mut object: Value) {
        let revision = self.facts(|facts| {
            facts.revision += 1;
            object["metadata"]["resourceVersion"] = facts.revision.to_string().into();
            let same = |(other, known): &(&str, Value)| {
                *other == plural
                    && ["name", "namespace"]
                        .iter()
                        .all(|f| known["metadata"][f] == object["metadata"][f])
            };
            facts.objects.retain(|known| !same(known));
            if kind != "DELETED" {
                facts.objects.push((plural, object.clone()));
            }
            facts.revision
        });
        assert!(revision > 1);
        let _ = self
            .world
            .news
            .send(News::Event(plural, json!({"type": kind, "object": object})));
    }

    fn facts<T>(&self, work: impl FnOnce(&mut Facts) -> T) -> T {
        work(&mut self.world.facts.lock().expect("the facts"))
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    let code = axum::http::StatusCode::from_u16(code).expect("a code");
    (code, axum::Json(status)).into_response()
}

/// A log that is printed while it is read.
fn log((lines, seconds): (usize, usize)) -> Response {
    let begun = tokio::time::Instant::now();
    let blocks = stream::unfold(0, move |at| async move {
        let due = begun + Duration::from_secs(1) * u32::try_from(at).ok()? / WRITES as u32;
        tokio::time::sleep_until(due).await;
        let line = |n: usize| format!("2026-01-01T00:00:00.{n:09}Z line {n}: GET /items/{n} took a while, as ever\n");
        let each = lines / WRITES;
        let block: String = match at.cmp(&(WRITES * seconds)) {
            Ordering::Less => (at * each..(at + 1) * each).map(line).collect(),
            Ordering::Equal => format!("2026-01-01T00:00:01.000000000Z {LAST}\n"),
            // Nothing more comes, and the container runs on.
            Ordering::Greater => std::future::pending().await,
        };
        Some((Ok::<_, Infallible>(Bytes::from(block)), at + 1))
    });
    Body::from_stream(blocks).into_response()
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let facts = world.facts.lock().expect("the facts");
    let bearer = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {}", facts.token)) {
        return refusal(401, "Unauthorized", "the token has expired");
    }
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let told = |value: Value| axum::Json(value).into_response();
    match path {
        "/version" => return told(json!({"gitVersion": "v1.30.0-other", "major": "1", "minor": "30"})),
        "/api" => return told(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => {
            let group = |name: &str, version: &str| {
                let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
                json!({"name": name, "versions": [version], "preferredVersion": version})
            };
            let groups = [group("apiextensions.k8s.io", "v1"), group("example.com", "v1")];
            return told(json!({"kind": "APIGroupList", "groups": groups}));
        }
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" => {
            let rule = json!({"verbs": ["get", "list", "watch"], "apiGroups": ["", "example.com"], "resources": ["pods", "pods/log", "widgets"]});
            return told(json!({"status": {"resourceRules": [rule], "incomplete": false}}));
        }
        _ => {}
    }
    if path.ends_with("/log") {
        return log(facts.prints);
    }
    let of_group: Vec<&Kind> = facts.kinds.iter().filter(|kind| kind.0 == path).collect();
    if !of_group.is_empty() || path == "/apis/example.com/v1" {
        let resource = |kind: &&Kind| json!({"name": kind.1, "singularName": "", "namespaced": kind.3, "kind": kind.2, "verbs": ["get", "list", "watch"]});
        let resources: Vec<Value> = of_group.iter().map(resource).collect();
        return told(
            json!({"kind": "APIResourceList", "groupVersion": path.trim_start_matches("/apis/"), "resources": resources}),
        );
    }
    if let Some((_, name)) = path.rsplit_once("/pods/") {
        let found = facts
            .objects
            .iter()
            .find(|(of, object)| *of == "pods" && object["metadata"]["name"] == *name);
        return match found {
            Some((_, pod)) => told(pod.clone()),
            None => refusal(404, "NotFound", "there is no such pod"),
        };
    }
    let Some(kind) = facts
        .kinds
        .iter()
        .find(|kind| path.starts_with(kind.0) && path.ends_with(kind.1))
    else {
        return refusal(404, "NotFound", "the server could not find the requested resource");
    };
    let namespace = path
        .split("/namespaces/")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let plural = kind.1;
    if plural == "namespaces" || (kind.3 && namespace.is_none()) {
        let message =
            format!("{plural} is forbidden: User \"jane\" cannot list resource \"{plural}\" at the cluster scope");
        return refusal(403, "Forbidden", &message);
    }
    if query.contains("watch=") {
        // Nothing of the past is kept: who has not seen the latest lists again.
        let seen = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        if seen != Some(&facts.revision.to_string()) {
            return refusal(410, "Expired", "too old resource version");
        }
        let receiver = world.news.subscribe();
        drop(facts);
        let lines = stream::unfold(receiver, move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(News::Event(about, event)) if about == plural => {
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok::<_, Infallible>(line), receiver));
                    }
                    Ok(News::Event(..)) => {}
                    Ok(News::Cut) | Err(_) => return None,
                }
            }
        });
        return Body::from_stream(lines).into_response();
    }
    let items: Vec<&Value> = facts
        .objects
        .iter()
        .filter(|(of, _)| *of == plural)
        .map(|(_, object)| object)
        .collect();
    told(
        json!({"kind": format!("{}List", kind.2), "metadata": {"resourceVersion": facts.revision.to_string()}, "items": items}),
    )
}
