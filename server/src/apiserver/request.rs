//! What a request asks for: its path and method in the terms of authorization.

use http::Method;
use mizzen_api::selector::FieldSelector;
use mizzen_api::validation::path_segment;

use super::authorization::Attributes;
use super::query::Query;

/// A request's path and method, resolved. Nothing here knows which resources exist.
#[derive(Clone, Debug, Default)]
pub struct RequestInfo {
    /// The terms of authorization.
    pub attributes: Attributes,
    /// Whether this is a request for a resource.
    pub is_resource: bool,
    /// Path segments after the subresource (`…/proxy/PATH`), with the slash before them.
    pub rest: String,
}

impl RequestInfo {
    /// Resolves a request.
    pub fn resolve(method: &Method, path: &str, query: &Query) -> Self {
        Self::resource(method, path, query).unwrap_or_else(|| Self {
            attributes: Attributes {
                verb: method.as_str().to_ascii_lowercase(),
                path: path.to_owned(),
                ..Attributes::default()
            },
            ..Self::default()
        })
    }

    fn resource(method: &Method, path: &str, query: &Query) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let group = match segments.next()? {
            "api" => "",
            "apis" => segments.next().filter(|group| !group.is_empty())?,
            _ => return None,
        };
        let version = segments.next().filter(|version| !version.is_empty())?;
        let mut rest: Vec<_> = segments.collect();
        // A slash at the end names nothing, but within a proxied path it counts.
        if rest.len() <= 4 && rest.last().is_some_and(|last| last.is_empty()) {
            rest.pop();
        }
        let mut rest = rest.as_slice();
        let old_watch = rest.first() == Some(&"watch");
        if old_watch {
            rest = &rest[1..];
        }
        rest.first()?;

        let mut namespace = "";
        if let ["namespaces", name, tail @ ..] = rest {
            namespace = name;
            // Below a namespace come its resources, but for its own subresources.
            if !tail.is_empty() && !matches!(tail[0], "status" | "finalize") {
                rest = tail;
            }
        }
        let segment = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        let mut attributes = Attributes {
            verb: String::new(),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: segment(0),
            subresource: segment(2),
            namespace: namespace.to_owned(),
            name: segment(1),
            path: path.to_owned(),
            fields: FieldSelector::default(),
        };
        attributes.verb = verb(method, &attributes.name, query, old_watch);
        if matches!(&*attributes.verb, "list" | "watch" | "deletecollection") {
            // A selector that cannot be read is refused when it is used.
            attributes.fields = FieldSelector::parse(query.get("fieldSelector")).unwrap_or_default();
            attributes.name = exact_name(&attributes.fields).unwrap_or_default();
        }
        let rest = match rest.get(3..) {
            Some(rest) if !rest.is_empty() => format!("/{}", rest.join("/")),
            _ => String::new(),
        };
        Some(Self {
            attributes,
            is_resource: true,
            rest,
        })
    }

    /// Whether the request stays open for as long as the client likes.
    pub fn is_long_running(&self) -> bool {
        let attributes = &self.attributes;
        attributes.verb == "watch"
            || matches!(
                &*attributes.subresource,
                "attach" | "exec" | "log" | "portforward" | "proxy"
            )
    }

    /// Whether the request only reads.
    pub fn is_read_only(&self) -> bool {
        matches!(&*self.attributes.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn verb(method: &Method, name: &str, query: &Query, old_watch: bool) -> String {
    let collection = name.is_empty();
    let verb = match *method {
        _ if old_watch => "watch",
        Method::GET | Method::HEAD if collection && query.flag("watch") => "watch",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    };
    verb.to_owned()
}

/// The name in `fieldSelector=metadata.name=x`: rules about names hold for such lists and watches too.
/// It is read as the selector itself is, so that what is authorized is what is selected.
fn exact_name(fields: &FieldSelector) -> Option<String> {
    let name = fields.required_value("metadata.name")?;
    let fits = !name.is_empty() && path_segment(name).is_empty();
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, url: &str) -> String {
        let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
        let info = RequestInfo::resolve(&method.parse().expect("a method"), path, &Query::parse(query));
        let a = info.attributes;
        if !info.is_resource {
            return format!("{} {}", a.verb, a.path);
        }
        format!(
            "{} {}/{}/{} ns={} name={} sub={} {}",
            a.verb, a.group, a.version, a.resource, a.namespace, a.name, a.subresource, info.rest
        )
        .trim_end()
        .to_owned()
    }

    #[test]
    fn paths_resolve() {
        let lines: Vec<_> = [
            ("GET", "/api/v1/pods"),
            ("GET", "/api/v1/pods?watch=1"),
            ("GET", "/api/v1/watch/pods"),
            ("GET", "/api/v1/namespaces/a/pods/p?watch=1"),
            ("GET", "/api/v1/namespaces"),
            ("PUT", "/api/v1/namespaces/a/finalize"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale"),
            ("GET", "/api/v1/namespaces/a/services/s:http/proxy/x/y/"),
            ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Ds"),
            (
                "GET",
                "/api/v1/namespaces/a/secrets?fieldSelector=type!%3Dx%5C,metadata.name%3Ds",
            ),
            ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name!%3Ds"),
            ("GET", "/apis/apps/v1"),
            ("POST", "/healthz"),
        ]
        .into_iter()
        .map(|(method, url)| check(method, url))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        list /v1/pods ns= name= sub=
        watch /v1/pods ns= name= sub=
        watch /v1/pods ns= name= sub=
        get /v1/pods ns=a name=p sub=
        list /v1/namespaces ns= name= sub=
        update /v1/namespaces ns=a name=a sub=finalize
        deletecollection apps/v1/deployments ns=a name= sub=
        patch apps/v1/deployments ns=a name=d sub=scale
        get /v1/services ns=a name=s:http sub=proxy /x/y/
        list /v1/secrets ns=a name=s sub=
        list /v1/secrets ns=a name= sub=
        list /v1/secrets ns=a name= sub=
        get /apis/apps/v1
        post /healthz
        ");
    }
}
