//! Every kind that is served, with every verb: discovery is walked, and each promise in it is tried out on an
//! object of its own. A row that lies fails; a kind whose least object is not in `objects.yaml` fails, too.
//!
//! The server runs without controllers, so that nobody else changes what is walked over.

#[path = "registry/client.rs"]
mod client;
#[path = "registry/read.rs"]
mod read;
#[path = "registry/subresources.rs"]
mod subresources;
#[path = "registry/write.rs"]
mod write;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use client::Api;
use mizzen_tests::{Cluster, PATIENCE, can_run_containers};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where objects with a namespace are made.
const NAMESPACE: &str = "walk";

/// What `objects.yaml` says of a kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    body: Value,
    status: Value,
    name: Option<String>,
    answer: Option<Answer>,
    unserved: Option<String>,
}

/// What a review answers.
#[derive(Clone, Debug, Deserialize)]
struct Answer {
    at: String,
    is: Value,
}

/// A kind as discovery tells of it.
struct Kind {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
    verbs: Vec<String>,
    subresources: Vec<(String, Vec<String>)>,
    sample: Sample,
}

impl Kind {
    fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// As messages name the resource.
    fn qualified(&self) -> String {
        match &*self.group {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    fn serves(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }

    fn collection(&self) -> String {
        let namespace = if self.namespaced { NAMESPACE } else { "" };
        mizzen_api::resource::collection_path(&self.group, &self.version, &self.plural, namespace)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    fn name(&self, number: u8) -> String {
        let pattern = self.sample.name.as_deref().unwrap_or("walker-$N");
        pattern.replace("$N", &number.to_string())
    }

    /// The least object of this kind.
    fn object(&self, number: u8) -> Value {
        let text = self.sample.body.to_string().replace("$N", &number.to_string());
        let text = text.replace("\"$CSR\"", &json!(client::CERTIFICATE_REQUEST).to_string());
        let text = text.replace("\"$CA\"", &json!(client::CERTIFICATE).to_string());
        let mut object: Value = serde_json::from_str(&text).expect("what was JSON before");
        if object.is_null() {
            object = json!({});
        }
        object["apiVersion"] = json!(self.api_version());
        object["kind"] = json!(self.kind);
        object["metadata"] = json!({"name": self.name(number), "labels": {"walk": self.plural}});
        object
    }
}

#[tokio::test]
async fn every_kind_keeps_every_promise_of_discovery() {
    if !can_run_containers() {
        return;
    }
    let cluster = Cluster::start_with(&["--disable-agent", "--disable-controllers", "--disable-scheduler"]);
    let api = Api::connect(&cluster.kubeconfig()).await;
    let mut problems = Vec::new();
    let kinds = kinds(&api, &mut problems).await.expect("discovery");
    assert!(kinds.len() > 60, "discovery tells of {} kinds", kinds.len());
    setup(&api).await.expect("a namespace to walk in");
    for kind in &kinds {
        let walked = tokio::time::timeout(PATIENCE, walk(&api, kind)).await;
        if let Err(problem) = walked.context("it takes too long").and_then(|walked| walked) {
            problems.push(format!("{} {}: {problem:#}", kind.api_version(), kind.kind));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

async fn setup(api: &Api) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    api.create("/api/v1/namespaces", &namespace).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    api.create("/api/v1/namespaces/walk/serviceaccounts", &account).await?;
    Ok(())
}

/// What aggregated discovery lists, which has to be what the plain form lists.
async fn kinds(api: &Api, problems: &mut Vec<String>) -> anyhow::Result<Vec<Kind>> {
    let mut samples: BTreeMap<String, Sample> = serde_saphyr::from_str(include_str!("registry/objects.yaml"))?;
    let mut kinds = Vec::new();
    for root in ["/api", "/apis"] {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let groups = api.get(root).accept(accept).send().await?.ok()?;
        for group in list(&groups["items"]) {
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    let mut kind = Kind {
                        group: text(&group["metadata"]["name"]),
                        version: text(&version["version"]),
                        kind: text(&resource["responseKind"]["kind"]),
                        plural: text(&resource["resource"]),
                        namespaced: resource["scope"] == "Namespaced",
                        verbs: list(&resource["verbs"]).iter().map(text).collect(),
                        subresources: list(&resource["subresources"])
                            .iter()
                            .map(|sub| {
                                (
                                    text(&sub["subresource"]),
                                    list(&sub["verbs"]).iter().map(text).collect(),
                                )
                            })
                            .collect(),
                        sample: Sample::default(),
                    };
                    let id = format!("{}/{}", kind.api_version(), kind.kind);
                    kind.sample = samples.remove(&id).unwrap_or_default();
                    plain_discovery_agrees(api, &kind).await.with_context(|| id)?;
                    kinds.push(kind);
                }
            }
        }
    }
    problems.extend(samples.keys().map(|id| format!("{id} is not served")));
    Ok(kinds)
}

async fn plain_discovery_agrees(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let root = if kind.group.is_empty() { "/api" } else { "/apis" };
    let plain = api.get(&format!("{root}/{}", kind.api_version())).send().await?.ok()?;
    let find = |name: &str| list(&plain["resources"]).iter().find(|each| each["name"] == name);
    let own = find(&kind.plural).context("missing in plain discovery")?;
    ensure!(
        own["verbs"] == json!(kind.verbs),
        "plain discovery has verbs {}",
        own["verbs"]
    );
    for (name, verbs) in &kind.subresources {
        let sub = find(&format!("{}/{name}", kind.plural)).with_context(|| format!("no {name} in plain discovery"))?;
        ensure!(
            sub["verbs"] == json!(verbs),
            "plain discovery has verbs {} of {name}",
            sub["verbs"]
        );
    }
    Ok(())
}

async fn walk(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    read::explained(api, kind).await.context("explain")?;
    read::strangers_are_refused(api, kind).await.context("authorization")?;
    read::other_verbs_are_not_allowed(api, kind)
        .await
        .context("other verbs")?;
    if kind.sample.unserved.is_some() {
        return Ok(());
    }
    if let Some(answer) = &kind.sample.answer {
        let review = api.create(&kind.collection(), &unnamed(kind.object(1))).await?;
        let found = review.pointer(&answer.at);
        ensure!(found == Some(&answer.is), "{} answers {review}", answer.at);
        return Ok(());
    }
    if !kind.serves("create") {
        return read::listed(api, kind, None).await.context("list");
    }
    let watch = read::Watch::start(api, kind).await.context("watch")?;
    write::created(api, kind).await.context("create")?;
    read::got(api, kind).await.context("get")?;
    read::listed(api, kind, Some(&kind.name(1))).await.context("list")?;
    write::patched(api, kind).await.context("patch")?;
    write::updated(api, kind).await.context("update")?;
    for (subresource, verbs) in &kind.subresources {
        let tried = subresources::tried(api, kind, subresource, verbs).await;
        tried.with_context(|| subresource.clone())?;
    }
    write::deleted(api, kind).await.context("delete")?;
    watch.saw_it_all().await.context("watch")?;
    write::collection_deleted(api, kind).await.context("deletecollection")
}

fn unnamed(mut object: Value) -> Value {
    object["metadata"] = json!({});
    object
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
