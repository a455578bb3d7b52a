//! Reading: get, list, watch, their forms; what may not be done; what is said of fields.

use anyhow::{Context as _, bail, ensure};
use futures::AsyncBufReadExt as _;
use http::Method;
use mizzen_tests::PATIENCE;
use serde_json::{Value, json};

use super::client::Api;
use super::{Kind, list, text};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Reads an object in each form.
pub(super) async fn got(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let name = kind.name(1);
    let object = api.get(&kind.path(&name)).expect(200).await?.body;
    ensure!(object["metadata"]["name"] == *name, "got {object}");
    ensure!(
        object["kind"] == *kind.kind && object["apiVersion"] == *kind.api_version(),
        "got {object}"
    );
    let message = api.get(&kind.path("missing-1")).refused(404, "NotFound").await?;
    ensure!(
        message == format!("{} \"missing-1\" not found", kind.qualified()),
        "{message}"
    );

    let partial = api.get(&kind.path(&name)).accept(METADATA).expect(200).await?.body;
    ensure!(partial["kind"] == "PartialObjectMetadata", "got {partial}");
    ensure!(partial["metadata"] == object["metadata"], "got {partial}");
    table(
        &api.get(&kind.path(&name)).accept(TABLE).expect(200).await?.body,
        Some(&name),
    )?;
    let yaml = api
        .get(&kind.path(&name))
        .accept("application/yaml")
        .expect(200)
        .await?
        .bytes;
    let yaml: Value = serde_saphyr::from_str(std::str::from_utf8(&yaml)?)?;
    ensure!(
        yaml["metadata"]["uid"] == object["metadata"]["uid"],
        "as YAML it is {yaml}"
    );
    let binary = api.get(&kind.path(&name)).accept(PROTOBUF).send().await?;
    match binary.code {
        200 => ensure!(binary.bytes.starts_with(b"k8s\0"), "protobuf without its mark"),
        406 => {}
        code => bail!("{code} for protobuf"),
    }
    Ok(())
}

/// Lists in each form; the named object is among the listed.
pub(super) async fn listed(api: &Api, kind: &Kind, name: Option<&str>) -> anyhow::Result<()> {
    let path = kind.collection();
    let all = api.get(&path).expect(200).await?.body;
    ensure!(all["kind"] == format!("{}List", kind.kind), "kind is {}", all["kind"]);
    ensure!(all["metadata"]["resourceVersion"].is_string(), "no resourceVersion");
    ensure!(all["items"].is_array(), "no items");
    table(&api.get(&path).accept(TABLE).expect(200).await?.body, name)?;
    let Some(name) = name else { return Ok(()) };
    let names = |answer: &Value| -> Vec<String> {
        list(&answer["items"])
            .iter()
            .map(|item| text(&item["metadata"]["name"]))
            .collect()
    };
    ensure!(names(&all).iter().any(|each| each == name), "{name} is not listed");
    let everywhere = path.replace("/namespaces/walk/", "/");
    for (query, expected) in [
        (format!("{path}?labelSelector=walk={}", kind.plural), true),
        (format!("{path}?labelSelector=walk!={}", kind.plural), false),
        (format!("{path}?fieldSelector=metadata.name={name}"), true),
        (format!("{path}?fieldSelector=metadata.name!={name}"), false),
        (format!("{everywhere}?fieldSelector=metadata.name={name}"), true),
    ] {
        let some = names(&api.get(&query).expect(200).await?.body);
        ensure!(
            some.iter().any(|each| each == name) == expected,
            "{query} gives {some:?}"
        );
    }
    let mut paged = Vec::new();
    let mut next = String::new();
    loop {
        let page = api
            .get(&format!("{path}?limit=1&continue={next}"))
            .expect(200)
            .await?
            .body;
        ensure!(names(&page).len() <= 1, "more than one item per page");
        paged.extend(names(&page));
        next = text(&page["metadata"]["continue"]);
        if next.is_empty() {
            break;
        }
    }
    ensure!(paged == names(&all), "pages are {paged:?}");
    Ok(())
}

fn table(table: &Value, name: Option<&str>) -> anyhow::Result<()> {
    ensure!(table["kind"] == "Table", "kind is {}", table["kind"]);
    let columns = list(&table["columnDefinitions"]);
    ensure!(
        columns.iter().any(
            |column| column["format"] == "name" || ["Name", "Last Seen"].iter().any(|name| column["name"] == *name)
        ),
        "no column of names"
    );
    for row in list(&table["rows"]) {
        ensure!(
            list(&row["cells"]).len() == columns.len(),
            "{row} does not fit {columns:?}"
        );
        ensure!(
            row["object"]["kind"] == "PartialObjectMetadata",
            "{row} has no metadata"
        );
    }
    let found = |name| {
        list(&table["rows"])
            .iter()
            .any(|row| row["object"]["metadata"]["name"] == name)
    };
    ensure!(name.is_none_or(found), "no row of {name:?}");
    Ok(())
}

/// A watch on the object that is about to be made.
pub(super) struct Watch {
    events: Box<dyn futures::AsyncBufRead + Unpin>,
}

impl Watch {
    /// Begins before the object exists.
    pub(super) async fn start(api: &Api, kind: &Kind) -> anyhow::Result<Self> {
        let listed = api.get(&kind.collection()).expect(200).await?.body;
        let from = text(&listed["metadata"]["resourceVersion"]);
        let path = format!(
            "{}?watch=true&resourceVersion={from}&fieldSelector=metadata.name={}",
            kind.collection(),
            kind.name(1)
        );
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(Self {
            events: Box::new(api.client.request_stream(request).await?),
        })
    }

    /// Added, modified and deleted, in order and with growing revisions.
    pub(super) async fn saw_it_all(mut self) -> anyhow::Result<()> {
        let mut seen = Vec::new();
        let mut last = 0u64;
        while seen.last().is_none_or(|event| event != "DELETED") {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, self.events.read_line(&mut line)).await;
            ensure!(read.context("it waits for more")?? > 0, "it ended after {seen:?}");
            let event: Value = serde_json::from_str(&line)?;
            let revision: u64 = text(&event["object"]["metadata"]["resourceVersion"]).parse()?;
            ensure!(revision > last, "revision {revision} after {last}");
            last = revision;
            seen.push(text(&event["type"]));
        }
        seen.dedup();
        ensure!(seen == ["ADDED", "MODIFIED", "DELETED"], "events are {seen:?}");
        Ok(())
    }
}

/// The request of a verb; its body says nothing yet.
fn attempt<'a>(api: &'a Api, kind: &Kind, verb: &str) -> super::client::Request<'a> {
    let (collection, object) = (kind.collection(), kind.path(&kind.name(1)));
    let body = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": kind.name(1)}});
    match verb {
        "create" => api.request(Method::POST, &collection).json(&body),
        "delete" => api.request(Method::DELETE, &object),
        "deletecollection" => api.request(Method::DELETE, &collection),
        "get" => api.get(&object),
        "list" => api.get(&collection),
        "patch" => api
            .request(Method::PATCH, &object)
            .body("application/merge-patch+json", &body),
        "update" => api.request(Method::PUT, &object).json(&body),
        "watch" => api.get(&format!("{collection}?watch=true&timeoutSeconds=1")),
        other => unreachable!("a verb {other}"),
    }
}

/// Every verb of a stored resource.
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Who has no rights gets nothing, whatever the verb.
pub(super) async fn strangers_are_refused(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    // Everybody may ask about himself.
    if kind.plural.starts_with("selfsubject") {
        return Ok(());
    }
    for verb in &kind.verbs {
        let stranger = attempt(api, kind, verb).header("impersonate-user", "stranger");
        let message = stranger.refused(403, "Forbidden").await.with_context(|| verb.clone())?;
        let words = format!("User \"stranger\" cannot {verb} resource \"{}\"", kind.plural);
        ensure!(message.contains(&words), "{message}");
    }
    Ok(())
}

/// What discovery does not list is not served.
pub(super) async fn other_verbs_are_not_allowed(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    for verb in VERBS.iter().filter(|verb| !kind.serves(verb)) {
        let answer = attempt(api, kind, verb).send().await?;
        // Without any verb on single objects there are no single objects.
        let expected = [405, 404];
        ensure!(
            expected.contains(&answer.code),
            "{verb} answers {}: {}",
            answer.code,
            answer.body
        );
    }
    Ok(())
}

/// OpenAPI knows the kind, says what its fields are, and has an operation for each verb.
pub(super) async fn explained(api: &Api, kind: &Kind) -> anyhow::Result<()> {
    let root = if kind.group.is_empty() {
        "/openapi/v3/api"
    } else {
        "/openapi/v3/apis"
    };
    let document = api
        .get(&format!("{root}/{}", kind.api_version()))
        .expect(200)
        .await?
        .body;
    let this = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let schemas = document["components"]["schemas"].as_object().context("no schemas")?;
    let schema = schemas
        .values()
        .find(|schema| list(&schema["x-kubernetes-group-version-kind"]).contains(&this));
    let schema = schema.context("no schema")?;
    // What is computed has no schema, and upstream says nothing of some kinds' metadata.
    let fields = schema["properties"].as_object();
    ensure!(fields.is_some() || !kind.serves("create"), "no fields");
    for (field, about) in fields.into_iter().flatten().filter(|(field, _)| *field != "metadata") {
        ensure!(about["description"].is_string(), "{field} is not described");
    }
    let collection = kind
        .collection()
        .replace("/namespaces/walk/", "/namespaces/{namespace}/");
    let object = format!("{collection}/{{name}}");
    for verb in &kind.verbs {
        let (path, method) = match &**verb {
            "create" => (&collection, "post"),
            "deletecollection" => (&collection, "delete"),
            "list" | "watch" => (&collection, "get"),
            "get" => (&object, "get"),
            "update" => (&object, "put"),
            other => (&object, other),
        };
        ensure!(
            document["paths"][path][method].is_object(),
            "no operation {method} {path}"
        );
    }
    Ok(())
}
