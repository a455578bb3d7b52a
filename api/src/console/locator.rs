//! A view or an object as text that can be shared: `pods?ns=a,b&filter=status:crash&sort=age:desc` or
//! `deployments.apps/shop/web?tab=yaml`. The terminal UI takes it as an argument, the dashboard has it as
//! its URL.

use std::fmt;
use std::str::FromStr;

use super::rows::Sort;

/// What a console shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Locator {
    /// Resource as `plural` or `plural.group`, or the name of a view such as `pulse`.
    pub resource: String,
    /// One object of it; without, its table.
    pub object: Option<Place>,
    /// Part of the object's page: `yaml`, `describe`, `logs`, …; empty for the first.
    pub tab: String,
    /// Namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Filter, as typed.
    pub filter: String,
    /// Order of the rows, by heading.
    pub sort: Option<Sort>,
    /// Selected objects.
    pub selected: Vec<Place>,
    /// Context of the kubeconfig; empty for the present one.
    pub context: String,
    /// The moment that is looked at; empty for now.
    pub at: String,
}

/// Where an object lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Namespace; empty for cluster scope.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Place {
    /// The place of a name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", Encoded(&self.namespace))?;
        }
        write!(f, "{}", Encoded(&self.name))
    }

    fn read(text: &str) -> Result<Self, LocatorError> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self::new(&decode(namespace)?, &decode(name)?)),
            None => Ok(Self::new("", &decode(text)?)),
        }
    }
}

/// Why a text is no locator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocatorError {
    /// It does not say what to show.
    #[error("a locator starts with a resource, such as pods?ns=default")]
    Empty,
    /// Too many parts in its path.
    #[error("{0} has too many parts: RESOURCE/NAMESPACE/NAME")]
    Path(String),
    /// A percent sign that encodes nothing.
    #[error("bad percent-encoding in {0}")]
    Encoding(String),
}

impl Locator {
    /// The table of a resource.
    pub fn table(resource: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            ..Self::default()
        }
    }

    /// The page of an object.
    pub fn object(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            object: Some(Place::new(namespace, name)),
            ..Self::table(resource)
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Encoded(&self.resource))?;
        if let Some(object) = &self.object {
            f.write_str("/")?;
            object.write(f)?;
        }
        let mut sign = '?';
        let mut part = |f: &mut fmt::Formatter<'_>, key: &str| {
            let written = write!(f, "{sign}{key}=");
            sign = '&';
            written
        };
        if !self.namespaces.is_empty() {
            part(f, "ns")?;
            join(f, &self.namespaces, |f, namespace| write!(f, "{}", Encoded(namespace)))?;
        }
        if let Some(sort) = &self.sort {
            part(f, "sort")?;
            write!(
                f,
                "{}:{}",
                Encoded(&sort.column),
                if sort.descending { "desc" } else { "asc" }
            )?;
        }
        if !self.selected.is_empty() {
            part(f, "sel")?;
            join(f, &self.selected, |f, place| place.write(f))?;
        }
        for (key, value) in [
            ("filter", &self.filter),
            ("tab", &self.tab),
            ("context", &self.context),
            ("at", &self.at),
        ] {
            if !value.is_empty() {
                part(f, key)?;
                write!(f, "{}", Encoded(value))?;
            }
        }
        Ok(())
    }
}

fn join<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(",")?;
        }
        write(f, item)?;
    }
    Ok(())
}

impl FromStr for Locator {
    type Err = LocatorError;

    /// Also takes a whole URL of the dashboard. Parts that it does not know are passed over: a newer
    /// console may have written them.
    fn from_str(text: &str) -> Result<Self, LocatorError> {
        let text = text.trim();
        let local = match text.split_once("://") {
            Some((_, rest)) => match rest.split_once("/dashboard/") {
                Some((_, local)) => local,
                None => rest.split_once('/').map_or("", |(_, local)| local),
            },
            None => text,
        };
        let local = local.trim_start_matches(['#', '/']);
        let (path, query) = local.split_once('?').unwrap_or((local, ""));
        let mut locator = Self::path(path.trim_end_matches('/'))?;
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            locator.set(key, value)?;
        }
        Ok(locator)
    }
}

impl Locator {
    fn path(path: &str) -> Result<Self, LocatorError> {
        let parts: Vec<_> = path.split('/').map(decode).collect::<Result<_, _>>()?;
        match parts.as_slice() {
            [resource, ..] if resource.is_empty() => Err(LocatorError::Empty),
            [resource] => Ok(Self::table(resource)),
            [resource, name] => Ok(Self::object(resource, "", name)),
            [resource, namespace, name] => Ok(Self::object(resource, namespace, name)),
            _ => Err(LocatorError::Path(path.to_owned())),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), LocatorError> {
        let items = || value.split(',').filter(|item| !item.is_empty());
        match key {
            "ns" => self.namespaces = items().map(decode).collect::<Result<_, _>>()?,
            "sel" => self.selected = items().map(Place::read).collect::<Result<_, _>>()?,
            "filter" => self.filter = decode(value)?,
            "tab" => self.tab = decode(value)?,
            "context" => self.context = decode(value)?,
            "at" => self.at = decode(value)?,
            "sort" => {
                let (column, descending) = match value.rsplit_once(':') {
                    Some((column, order)) => (column, order == "desc"),
                    None => (value, false),
                };
                self.sort = Some(Sort {
                    column: decode(column)?,
                    descending,
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Text with everything but letters, digits and a few signs percent-encoded.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            // A colon parts a column from its order only at the end, where both are written by us.
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'!' | b':' | b'*' | b'@' => {
                    write!(f, "{}", char::from(byte))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

/// Reads percent-encoding; a plus is a space, as forms write it.
fn decode(text: &str) -> Result<String, LocatorError> {
    let bad = || LocatorError::Encoding(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(bad);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_reads_as_it_says() {
        for (text, expect) in [
            ("pods", "pods"),
            (
                "/pods/?ns=a,b&filter=status:crash+!node:n2",
                "pods?ns=a,b&filter=status:crash%20!node:n2",
            ),
            ("pods?sort=age:desc&sel=a/x,b/y", "pods?sort=age:desc&sel=a/x,b/y"),
            ("pods?sort=age", "pods?sort=age:asc"),
            (
                "deployments.apps/shop/web?tab=yaml",
                "deployments.apps/shop/web?tab=yaml",
            ),
            ("nodes/n1", "nodes/n1"),
            ("https://h:6443/dashboard/pods?ns=a&new=1", "pods?ns=a"),
            ("mizzen://ctx/pods?context=prod", "pods?context=prod"),
            ("pods?ns=&&filter=", "pods"),
        ] {
            let locator: Locator = text.parse().expect(text);
            assert_eq!(locator.to_string(), expect, "{text}");
        }
        for text in ["", "?ns=a", "a/b/c/d", "pods?filter=%zz", "pods?filter=%ff"] {
            assert!(text.parse::<Locator>().is_err(), "{text}");
        }
    }

    fn place() -> impl Strategy<Value = Place> {
        ("[^/]{0,5}", ".{1,8}").prop_map(|(namespace, name)| Place { namespace, name })
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_back(
            resource in "[a-z]{1,8}(\\.[a-z]{1,5})?", object in proptest::option::of(place()), tab in "[a-z]{0,4}",
            namespaces in proptest::collection::vec(".{1,6}", 0..3), filter in ".{0,12}",
            sort in proptest::option::of((".{1,8}", any::<bool>())), selected in proptest::collection::vec(place(), 0..3),
            context in ".{0,6}", at in "[0-9:TZ-]{0,8}"
        ) {
            let sort = sort.map(|(column, descending)| Sort { column, descending });
            let locator = Locator { resource, object, tab, namespaces, filter, sort, selected, context, at };
            let written = locator.to_string();
            prop_assert_eq!(written.parse::<Locator>(), Ok(locator), "{}", written);
        }
    }
}
