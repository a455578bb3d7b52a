//! What a server serves, as a [`Registry`]: from aggregated discovery, or group by group where the
//! server is too old for that.

use kube::Client;
use serde_json::Value;

use super::rest::{Error, Result, is_not_found};
use crate::resource::discovered::{AGGREGATED, aggregated, plain_rows};
use crate::resource::{Registry, Resource};
use crate::view::{list, text};

/// Reads what the server serves, preferred groups and versions first.
///
/// A group whose server does not answer is left out, as its objects could not be reached either.
pub async fn discover(client: &Client) -> Result<Registry> {
    let mut rows = Vec::new();
    for root in ["/api", "/apis"] {
        let answer = fetch(client, root, AGGREGATED).await?;
        if text(&answer, "/kind") == "APIGroupDiscoveryList" {
            aggregated(&answer, &mut rows);
        } else {
            plain(client, root, &answer, &mut rows).await?;
        }
    }
    Ok(Registry::new(rows))
}

async fn fetch(client: &Client, path: &str, accept: &str) -> Result<Value> {
    let request = http::Request::get(path).header(http::header::ACCEPT, accept);
    let request = request.body(Vec::new()).map_err(Error::HttpError)?;
    client.request(request).await
}

/// The way of servers without aggregated discovery.
async fn plain(client: &Client, root: &str, answer: &Value, rows: &mut Vec<Resource>) -> Result<()> {
    let core = list(answer, "/versions")
        .iter()
        .map(|v| (String::new(), v.as_str().unwrap_or_default()));
    let groups = list(answer, "/groups").iter().flat_map(|group| {
        let preferred = text(group, "/preferredVersion/version");
        let mut versions: Vec<_> = list(group, "/versions").iter().map(|v| text(v, "/version")).collect();
        versions.sort_by_key(|version| *version != preferred);
        versions
            .into_iter()
            .map(|version| (text(group, "/name").to_owned(), version))
    });
    // Collected, so that no closure over borrowed text lives across the calls.
    let versions: Vec<(String, &str)> = core.chain(groups).collect();
    for (group, version) in versions {
        let path = match &*group {
            "" => format!("{root}/{version}"),
            group => format!("{root}/{group}/{version}"),
        };
        match fetch(client, &path, "application/json").await {
            Ok(answer) => plain_rows(&group, version, &answer, rows),
            Err(Error::Api(status)) if status.code == 503 => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
