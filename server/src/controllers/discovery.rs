//! Which resources the API serves, for controllers that treat all kinds alike.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use mizzen_api::client::rest::{self, Gvr};

/// A served resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Served {
    /// API group.
    pub(super) group: Arc<str>,
    /// Preferred version.
    pub(super) version: Arc<str>,
    /// Path segment.
    pub(super) plural: Arc<str>,
    /// Kind.
    pub(super) kind: Arc<str>,
    /// Whether objects live in namespaces.
    pub(super) namespaced: bool,
    verbs: Vec<String>,
}

impl Served {
    /// Where its objects are found.
    pub(super) fn at(&self) -> Gvr<'_> {
        Gvr::new(&self.group, &self.version, &self.plural)
    }

    /// Whether all of these verbs are served.
    pub(super) fn allows(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }

    /// `plural` or `plural.group`.
    pub(super) fn name(&self) -> String {
        match &*self.group {
            "" => self.plural.to_string(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

/// All resources in their groups' preferred versions, and the groups whose resources could not be
/// learned (an aggregated server that is down must not hide the rest).
pub(super) async fn served(client: &Client) -> rest::Result<(Vec<Served>, Vec<String>)> {
    let mut resources = Vec::new();
    let mut failed = Vec::new();
    add(&mut resources, "", "v1", client.list_core_api_resources("v1").await?);
    for group in client.list_api_groups().await?.groups {
        let Some(version) = group.preferred_version.or_else(|| group.versions.into_iter().next()) else {
            continue;
        };
        match client.list_api_group_resources(&version.group_version).await {
            Ok(list) => add(&mut resources, &group.name, &version.version, list),
            Err(error) => failed.push(format!("{}: {}", version.group_version, rest::message(&error))),
        }
    }
    Ok((resources, failed))
}

fn add(resources: &mut Vec<Served>, group: &str, version: &str, list: APIResourceList) {
    let rows = list.resources.into_iter().filter(|row| !row.name.contains('/'));
    resources.extend(rows.map(|row| Served {
        group: group.into(),
        version: version.into(),
        plural: row.name.into(),
        kind: row.kind.into(),
        namespaced: row.namespaced,
        verbs: row.verbs,
    }));
}
