//! Which objects a command is about: `TYPE NAME…`, `TYPE/NAME…`, `TYPE,TYPE`, a category.

use std::sync::Arc;

use mizzen_api::resource::Resource;
use serde_json::Value;

use super::error::fail;
use super::session::Session;

/// Objects of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The resource.
    pub(crate) resource: Arc<Resource>,
    /// Names; none means all objects.
    pub(crate) names: Vec<String>,
}

impl Target {
    /// The namespace to look in: none for cluster scope.
    pub(crate) fn namespace<'a>(&self, session: &'a Session) -> &'a str {
        if self.resource.namespaced() {
            &session.namespace
        } else {
            ""
        }
    }
}

/// Reads the arguments of a command.
pub(crate) async fn parse(session: &Session, arguments: &[String]) -> anyhow::Result<Vec<Target>> {
    let Some(first) = arguments.first() else {
        return fail(
            "You must specify the type of resource. Use \"mizzen api-resources\" for a complete list of supported resources.",
        );
    };
    if !first.contains('/') {
        let mut targets = Vec::new();
        for name in first.split(',').filter(|name| !name.is_empty()) {
            targets.extend(types(session, name).await?.into_iter().map(|resource| Target {
                resource,
                names: arguments[1..].to_vec(),
            }));
        }
        if arguments[1..].iter().any(|name| name.contains('/')) {
            return fail(
                "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'mizzen get resource/<resource_name>' instead of 'mizzen get resource resource/<resource_name>'",
            );
        }
        return Ok(targets);
    }
    let mut targets: Vec<Target> = Vec::new();
    for argument in arguments {
        let Some((kind, name)) = argument.split_once('/').filter(|(_, name)| !name.is_empty()) else {
            return fail(format!(
                "arguments in resource/name form must have a single resource and name: {argument:?}"
            ));
        };
        let resource = session.resource(kind).await?;
        match targets.iter_mut().find(|t| Arc::ptr_eq(&t.resource, &resource)) {
            Some(target) => target.names.push(name.to_owned()),
            None => targets.push(Target {
                resource,
                names: vec![name.to_owned()],
            }),
        }
    }
    Ok(targets)
}

/// The resource of a name, or all of a category.
async fn types(session: &Session, name: &str) -> anyhow::Result<Vec<Arc<Resource>>> {
    let registry = session.registry().await?;
    let mut members: Vec<Arc<Resource>> = Vec::new();
    for row in registry.iter().filter(|r| r.categories.iter().any(|c| c == name)) {
        // Of several versions the preferred one, which comes first.
        let known = members.iter().any(|m| m.group == row.group && m.plural == row.plural);
        if row.allows("list") && !known {
            members.push(row.clone());
        }
    }
    match members.is_empty() {
        true => Ok(vec![session.resource(name).await?]),
        false => Ok(members),
    }
}

/// The named objects of all targets, or those that a label selector picks. `all` allows a target
/// without names and selector to mean all objects.
pub(crate) async fn objects(
    session: &Session,
    targets: &[Target],
    selector: Option<&str>,
    all: bool,
) -> anyhow::Result<Vec<(Arc<Resource>, Value)>> {
    let mut found = Vec::new();
    for target in targets {
        let namespace = target.namespace(session);
        if target.names.is_empty() {
            if selector.is_none() && !all {
                return fail("resource(s) were provided, but no name was specified");
            }
            let listed = session.list(&target.resource, namespace, selector).await?;
            found.extend(listed.into_iter().map(|o| (target.resource.clone(), o)));
        }
        for name in &target.names {
            let object = session.get(&target.resource, namespace, name).await?;
            found.push((target.resource.clone(), object));
        }
    }
    Ok(found)
}

/// `deployment.apps/web`: how commands name an object.
pub(crate) fn display(resource: &Resource, name: &str) -> String {
    format!("{}/{name}", type_name(resource))
}

/// `deployment.apps`: the kind in lower case with its group.
pub(crate) fn type_name(resource: &Resource) -> String {
    let kind = resource.kind.to_lowercase();
    match &*resource.group {
        "" => kind,
        group => format!("{kind}.{group}"),
    }
}
