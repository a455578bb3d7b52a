//! Sets of fields, and their JSON form `FieldsV1`.
//!
//! In JSON a set is a tree of maps. A key is a path element (`f:` field, `k:` list item by its keys, `v:`
//! item by its value, `i:` by its index); an empty map is a member, a map with children is a member too when
//! it has the key `.`.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// One step of a path. The order is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element<'a> {
    /// A field of a struct or map.
    Field(Cow<'a, str>),
    /// An item, by its keys: their canonical JSON.
    Key(Cow<'a, str>),
    /// An item, by its value: its JSON.
    Value(Cow<'a, str>),
    /// An item, by its position.
    Index(u32),
}

/// A set of fields: whether this very place is in it, and what is below.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Set<'a> {
    pub(super) member: bool,
    /// Sorted.
    pub(super) children: Vec<(Element<'a>, Set<'a>)>,
}

impl Element<'_> {
    fn to_key(&self) -> String {
        let (prefix, text) = match self {
            Self::Field(name) => ("f:", name),
            Self::Key(keys) => ("k:", keys),
            Self::Value(value) => ("v:", value),
            Self::Index(index) => return format!("i:{index}"),
        };
        let mut key = String::with_capacity(2 + text.len());
        key.push_str(prefix);
        key.push_str(text);
        key
    }

    /// As upstream's messages write it: `.name`, `[name="a"]`, `[="v"]`.
    pub(super) fn write_path(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push('.');
                out.push_str(name);
            }
            Self::Key(keys) => {
                let map: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let pairs: Vec<_> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
                out.push_str(&format!("[{}]", pairs.join(",")));
            }
            Self::Value(value) => out.push_str(&format!("[={value}]")),
            Self::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
}

fn element(key: &str) -> Option<Element<'_>> {
    let (kind, text) = key.split_at_checked(2)?;
    Some(match kind {
        "f:" => Element::Field(text.into()),
        "k:" => Element::Key(canonical(text)?),
        "v:" => Element::Value(canonical(text)?),
        "i:" => Element::Index(text.parse().ok()?),
        _ => return None,
    })
}

/// JSON text with sorted keys and no spaces, which is what all but hand-made entries have anyway.
fn canonical(text: &str) -> Option<Cow<'_, str>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let canonical = value.to_string();
    Some(if canonical == text {
        text.into()
    } else {
        canonical.into()
    })
}

impl<'a> Set<'a> {
    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// The set of this place alone.
    pub(super) fn leaf() -> Self {
        Self {
            member: true,
            children: Vec::new(),
        }
    }

    /// Adds a child, in any order; [`Set::seal`] sorts.
    pub(super) fn push(&mut self, element: &Element<'a>, child: Self) {
        if !child.is_empty() {
            self.children.push((element.clone(), child));
        }
    }

    /// Sorts children that were pushed.
    pub(super) fn seal(&mut self) {
        if !self.children.is_sorted_by(|a, b| a.0 < b.0) {
            self.children.sort_by(|a, b| a.0.cmp(&b.0));
        }
    }

    /// The child there.
    pub(super) fn child(&self, element: &Element<'_>) -> Option<&Self> {
        let at = self.children.binary_search_by(|(e, _)| e.cmp(element)).ok()?;
        Some(&self.children[at].1)
    }

    /// What is in either.
    pub(super) fn union(mut self, other: &Self) -> Self {
        self.member |= other.member;
        for (element, theirs) in &other.children {
            match self.children.binary_search_by(|(e, _)| e.cmp(element)) {
                Ok(at) => {
                    let ours = std::mem::take(&mut self.children[at].1);
                    self.children[at].1 = ours.union(theirs);
                }
                Err(at) => self.children.insert(at, (element.clone(), theirs.clone())),
            }
        }
        self
    }

    /// What is in this and not in the other.
    pub(super) fn difference(&self, other: &Set<'_>) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let left = match other.child(element) {
                Some(theirs) => child.difference(theirs),
                None => child.clone(),
            };
            (!left.is_empty()).then(|| (element.clone(), left))
        });
        Self {
            member: self.member && !other.member,
            children: children.collect(),
        }
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Set<'_>) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let both = child.intersection(other.child(element)?);
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        Self {
            member: self.member && other.member,
            children: children.collect(),
        }
    }

    /// The set with every field that has something below it a member itself.
    pub(super) fn with_parents(mut self) -> Self {
        for (element, child) in &mut self.children {
            *child = std::mem::take(child).with_parents();
            child.member |= matches!(element, Element::Field(_));
        }
        self
    }

    /// Paths of all members, as upstream's messages write them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths(&mut String::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut String, out: &mut Vec<String>) {
        if self.member {
            out.push(prefix.clone());
        }
        let length = prefix.len();
        for (element, child) in &self.children {
            element.write_path(prefix);
            child.collect_paths(prefix, out);
            prefix.truncate(length);
        }
    }

    /// The JSON form.
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Map::new().into());
        }
        for (element, child) in &self.children {
            map.insert(element.to_key(), child.to_map().into());
        }
        map
    }
}

/// Reads the JSON form of a whole entry. Elements that are none are left out.
pub(super) fn parse(map: &Map<String, Value>) -> Set<'_> {
    let mut set = Set::default();
    for (key, value) in map {
        let (Some(element), Some(below)) = (element(key), value.as_object()) else {
            continue;
        };
        let mut child = parse(below);
        child.member = below.is_empty() || below.contains_key(".");
        set.children.push((element, child));
    }
    set.seal();
    set
}

/// Whether a value is the JSON form of a set.
pub(super) fn well_formed(value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        map.iter()
            .all(|(key, value)| (key == "." || element(key).is_some()) && well_formed(value))
    })
}

/// The fields of an entry.
pub(super) fn of_mut(entry: &mut Value) -> Option<&mut Map<String, Value>> {
    entry.get_mut("fieldsV1")?.as_object_mut()
}

/// Whether an entry owns nothing.
pub(super) fn is_empty(entry: &Value) -> bool {
    entry
        .get("fieldsV1")
        .and_then(Value::as_object)
        .is_none_or(Map::is_empty)
}

/// Takes a set from a JSON form in place.
pub(super) fn subtract(owned: &mut Map<String, Value>, set: &Set<'_>) {
    for (element, theirs) in &set.children {
        let key = element.to_key();
        let Some(Value::Object(ours)) = owned.get_mut(&key) else {
            continue;
        };
        let gone = if ours.is_empty() {
            theirs.member
        } else {
            if theirs.member {
                ours.remove(".");
            }
            subtract(ours, theirs);
            let gone = ours.is_empty();
            if ours.len() == 1 && ours.contains_key(".") {
                ours.clear();
            }
            gone
        };
        if gone {
            owned.remove(&key);
        }
    }
}

/// Adds a set to a JSON form in place.
pub(super) fn unite(owned: &mut Map<String, Value>, set: &Set<'_>) {
    for (element, theirs) in &set.children {
        match owned.entry(element.to_key()) {
            serde_json::map::Entry::Vacant(slot) => {
                slot.insert(theirs.to_map().into());
            }
            serde_json::map::Entry::Occupied(mut slot) => {
                let Some(ours) = slot.get_mut().as_object_mut() else {
                    continue;
                };
                let member = ours.is_empty() || ours.contains_key(".") || theirs.member;
                unite(ours, theirs);
                if member && !ours.is_empty() {
                    ours.insert(".".to_owned(), Map::new().into());
                }
            }
        }
    }
}
