//! Walks over objects, typed by the schema: comparing, merging, listing fields, removing fields.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fields::{Element, Set};
use crate::object::Object;
use crate::schema::{self, Field, Kind, ListType, ShapeRef, TypeRef};

/// How a value is owned.
#[derive(Clone, Copy)]
pub(super) enum Place<'s> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Struct(TypeRef<'s>),
    /// Key by key.
    Map(ShapeRef<'s>),
    /// Item by item, each known by its value.
    Set,
    /// Item by item, each known by these keys.
    List(&'s [Cow<'static, str>], ShapeRef<'s>),
    /// No schema: objects key by key, all else as a whole.
    Free,
    /// A whole object without a schema, which has metadata all the same.
    Whole,
}

/// Fields of metadata that belong to the system, not to a manager.
const SYSTEM: [&str; 9] = [
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl<'s> Place<'s> {
    /// A whole object.
    pub(super) fn object(ty: Option<TypeRef<'s>>) -> Self {
        ty.map_or(Self::Whole, Self::Struct)
    }

    fn field(ty: TypeRef<'s>, field: &'s Field) -> Self {
        let shape = ty.shape(field);
        match shape.kind() {
            Kind::List(_) if field.list == ListType::Set => Self::Set,
            Kind::List(item) if field.list == ListType::Map => Self::List(field.list_keys(), item),
            Kind::Struct(_) | Kind::Map(_) if field.atomic == Some(true) => Self::Leaf,
            Kind::Struct(ty) if field.atomic == Some(false) => Self::Struct(ty),
            _ => Self::value(shape),
        }
    }

    /// A value that is not directly a field: an item of a list, a value of a map.
    fn value(shape: ShapeRef<'s>) -> Self {
        match shape.kind() {
            Kind::Struct(ty) if !ty.atomic() => Self::Struct(ty),
            Kind::Map(value) => Self::Map(value),
            _ => Self::Leaf,
        }
    }

    fn below(self, key: &str) -> Self {
        match self {
            Self::Struct(ty) => ty.field(key).map_or(Self::Leaf, |field| Self::field(ty, field)),
            Self::Map(shape) => Self::value(shape),
            Self::Whole if key == "metadata" => {
                Self::object(schema::builtin().by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"))
            }
            Self::Free | Self::Whole => Self::Free,
            Self::Leaf | Self::Set | Self::List(..) => Self::Leaf,
        }
    }

    fn is_map(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Free | Self::Whole)
    }

    /// Whether upstream's types hold this field even when nothing was set, so that its creation is no change.
    fn always_there(self, key: &str) -> bool {
        match self {
            Self::Whole => key == "metadata",
            Self::Struct(ty) => ty.field(key).is_some_and(|f| {
                f.required
                    || matches!(
                        key,
                        "metadata" | "spec" | "status" | "template" | "strategy" | "updateStrategy" | "loadBalancer"
                    )
            }),
            _ => false,
        }
    }
}

/// What changed between two objects.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Diff<'a> {
    pub(super) added: Set<'a>,
    pub(super) modified: Set<'a>,
    pub(super) removed: Set<'a>,
}

impl<'a> Diff<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn push(&mut self, element: &Element<'a>, child: Self) {
        self.added.push(element, child.added);
        self.modified.push(element, child.modified);
        self.removed.push(element, child.removed);
    }

    fn seal(&mut self) {
        self.added.seal();
        self.modified.seal();
        self.removed.seal();
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut diff = Self::default();
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => diff.added = Set::leaf(),
            (Some(_), None) => diff.removed = Set::leaf(),
            (Some(old), Some(new)) if old != new => diff.modified = Set::leaf(),
            (Some(_), Some(_)) => {}
        }
        diff
    }
}

/// Compares whole objects, leaving out what no manager can own and the top-level field `ignored`.
pub(super) fn compare_objects<'a>(
    ty: Option<TypeRef<'_>>,
    old: Option<&'a Object>,
    new: &'a Object,
    ignored: &str,
) -> Diff<'a> {
    let place = Place::object(ty);
    let mut diff = Diff::default();
    for key in keys(old, Some(new)) {
        if matches!(key, "apiVersion" | "kind") || key == ignored {
            continue;
        }
        let (before, after) = (old.and_then(|o| o.get(key)), new.get(key));
        let below = place.below(key);
        let mut child = match key {
            "metadata" => compare_maps(below, before, after, &SYSTEM),
            _ => compare(below, before, after),
        };
        if place.always_there(key) && below.is_map() {
            child.added.member = false;
            child.removed.member &= key != "metadata";
        }
        diff.push(&Element::Field(key.into()), child);
    }
    diff.seal();
    diff
}

/// Keys of either map, each once.
fn keys<'a>(old: Option<&'a Object>, new: Option<&'a Object>) -> impl Iterator<Item = &'a str> {
    let theirs = new.into_iter().flat_map(Map::keys);
    let gone = old
        .into_iter()
        .flat_map(Map::keys)
        .filter(move |k| new.is_none_or(|n| !n.contains_key(*k)));
    theirs.chain(gone).map(String::as_str)
}

/// Compares what stands at one place. Null is nothing.
pub(super) fn compare<'a>(place: Place<'_>, old: Option<&'a Value>, new: Option<&'a Value>) -> Diff<'a> {
    let (old, new) = (old.filter(|v| !v.is_null()), new.filter(|v| !v.is_null()));
    let all = |is: fn(&Value) -> bool| old.is_none_or(is) && new.is_none_or(is);
    match place {
        _ if old.is_none() && new.is_none() => Diff::default(),
        place if place.is_map() && all(Value::is_object) => compare_maps(place, old, new, &[]),
        Place::Set if all(Value::is_array) => compare_sets(old, new),
        Place::List(keys, item) if all(Value::is_array) => compare_lists(keys, item, old, new),
        _ => Diff::leaf(old, new),
    }
}

fn compare_maps<'a>(place: Place<'_>, old: Option<&'a Value>, new: Option<&'a Value>, skip: &[&str]) -> Diff<'a> {
    let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
        return if skip.is_empty() {
            Diff::leaf(old, new)
        } else {
            Diff::default()
        };
    }
    let mut diff = Diff::default();
    for key in keys(before, after).filter(|k| !skip.contains(k)) {
        let (was, is) = (before.and_then(|b| b.get(key)), after.and_then(|a| a.get(key)));
        let below = place.below(key);
        let mut child = compare(below, was, is);
        if was.is_none() && place.always_there(key) && !child.added.children.is_empty() {
            child.added.member = false;
        }
        diff.push(&Element::Field(key.into()), child);
    }
    diff.seal();
    diff.added.member = old.is_none();
    diff.removed.member = new.is_none();
    diff
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn compare_sets<'a>(old: Option<&'a Value>, new: Option<&'a Value>) -> Diff<'a> {
    let (before, after) = (items(old), items(new));
    let mut diff = Diff::default();
    for item in after.iter().filter(|i| !before.contains(i)) {
        diff.added.push(&by_value(item), Set::leaf());
    }
    for item in before.iter().filter(|i| !after.contains(i)) {
        diff.removed.push(&by_value(item), Set::leaf());
    }
    diff.seal();
    diff.added.children.dedup();
    diff.removed.children.dedup();
    diff.added.member = old.is_none();
    diff.removed.member = new.is_none();
    diff
}

fn compare_lists<'a>(
    keys: &[Cow<'static, str>],
    item: ShapeRef<'_>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
) -> Diff<'a> {
    let (before, after) = (items(old), items(new));
    let place = Place::value(item);
    let mut diff = Diff::default();
    let pairs = Pairs::new(keys, item, before, after);
    for (was, is) in pairs.iter() {
        let child = compare(place, was, is);
        if !child.is_empty()
            && let Some(some) = is.or(was)
        {
            diff.push(&by_keys(keys, item, some), child);
        }
    }
    diff.seal();
    diff.added.member = old.is_none();
    diff.removed.member = new.is_none();
    diff
}

/// Items of two lists, matched by their keys.
struct Pairs<'a> {
    before: &'a [Value],
    after: &'a [Value],
    /// Position in `before` of each item of `after`; `None` when both have the same keys in the same order.
    matched: Option<Vec<Option<usize>>>,
}

impl<'a> Pairs<'a> {
    fn new(keys: &[Cow<'static, str>], item: ShapeRef<'_>, before: &'a [Value], after: &'a [Value]) -> Self {
        let same = |a: &Value, b: &Value| keys.iter().all(|k| key_value(item, a, k) == key_value(item, b, k));
        let aligned = before.len() == after.len() && before.iter().zip(after).all(|(b, a)| same(b, a));
        let matched = (!aligned).then(|| {
            let mut free = vec![true; before.len()];
            let find = |a| {
                let at = (0..before.len()).find(|at| free[*at] && same(&before[*at], a))?;
                free[at] = false;
                Some(at)
            };
            after.iter().map(find).collect()
        });
        Self { before, after, matched }
    }

    fn iter(&self) -> impl Iterator<Item = (Option<&'a Value>, Option<&'a Value>)> {
        let position = |at: usize| self.matched.as_ref().map_or(Some(at), |m| m[at]);
        let ours = self
            .after
            .iter()
            .enumerate()
            .map(move |(at, a)| (position(at).map(|p| &self.before[p]), Some(a)));
        let gone = self.before.iter().enumerate().filter_map(|(at, b)| {
            let matched = self.matched.as_ref()?;
            (!matched.contains(&Some(at))).then_some((Some(b), None))
        });
        ours.chain(gone)
    }
}

/// The value of a key of an item, or its declared default.
fn key_value<'v>(item: ShapeRef<'_>, value: &'v Value, key: &str) -> Cow<'v, Value> {
    if let Some(value) = value.get(key) {
        return Cow::Borrowed(value);
    }
    let default = match item.kind() {
        Kind::Struct(ty) => ty.field(key).and_then(Field::default_json),
        _ => None,
    };
    Cow::Owned(default.and_then(|d| serde_json::from_str(d).ok()).unwrap_or_default())
}

fn by_value<'a>(item: &Value) -> Element<'a> {
    Element::Value(item.to_string().into())
}

fn by_keys<'a>(keys: &[Cow<'static, str>], shape: ShapeRef<'_>, item: &Value) -> Element<'a> {
    let pairs = keys
        .iter()
        .map(|key| (key.to_string(), key_value(shape, item, key).into_owned()));
    // Sorted, whatever order the schema has them in.
    let sorted: std::collections::BTreeMap<_, _> = pairs.collect();
    Element::Key(serde_json::to_string(&sorted).unwrap_or_default().into())
}

/// All fields that a configuration sets: what its applier comes to own.
pub(super) fn fields_of<'a>(place: Place<'_>, value: &'a Value) -> Set<'a> {
    let mut set = Set::default();
    match (place, value) {
        (place, Value::Object(map)) if place.is_map() => {
            for (key, value) in map.iter().filter(|(_, v)| !v.is_null()) {
                let mut child = fields_of(place.below(key), value);
                let empty = value.as_object().is_some_and(Map::is_empty);
                let free = matches!(place, Place::Map(_) | Place::Free)
                    || (matches!(place, Place::Whole) && key != "metadata");
                child.member |= empty || free;
                set.push(&Element::Field(key.as_str().into()), child);
            }
        }
        (Place::Set, Value::Array(items)) => items.iter().for_each(|i| set.push(&by_value(i), Set::leaf())),
        (Place::List(keys, shape), Value::Array(items)) => {
            for item in items {
                let mut child = fields_of(Place::value(shape), item);
                child.member = true;
                set.push(&by_keys(keys, shape, item), child);
            }
        }
        _ => set.member = true,
    }
    set.seal();
    set.children.dedup_by(|b, a| {
        let same = a.0 == b.0;
        if same {
            a.1 = std::mem::take(&mut a.1).union(&b.1);
        }
        same
    });
    set
}

/// Takes out of a set what no manager can own, and the top-level field `ignored`.
pub(super) fn strip(set: &mut Set<'_>, ignored: &str) {
    let named = |element: &Element<'_>, names: &[&str]| matches!(element, Element::Field(name) if names.contains(&name.as_ref()));
    set.children
        .retain(|(element, _)| !named(element, &["apiVersion", "kind", ignored]));
    for (_, metadata) in set
        .children
        .iter_mut()
        .filter(|(element, _)| named(element, &["metadata"]))
    {
        metadata.member = false;
        metadata.children.retain(|(element, _)| !named(element, &SYSTEM));
    }
    set.children.retain(|(_, child)| !child.is_empty());
}

/// The first list item that a configuration names twice, as upstream's message says it.
pub(super) fn duplicate(place: Place<'_>, value: &Value, path: &mut String) -> Option<String> {
    let length = path.len();
    let mut seen: Vec<Element<'_>> = Vec::new();
    let children: Vec<(Element<'_>, Place<'_>, &Value)> = match (place, value) {
        (place, Value::Object(map)) if place.is_map() => map
            .iter()
            .map(|(key, value)| (Element::Field(key.into()), place.below(key), value))
            .collect(),
        (Place::Set, Value::Array(items)) => items.iter().map(|i| (by_value(i), Place::Leaf, i)).collect(),
        (Place::List(keys, shape), Value::Array(items)) => items
            .iter()
            .map(|i| (by_keys(keys, shape, i), Place::value(shape), i))
            .collect(),
        _ => return None,
    };
    for (element, place, value) in children {
        if seen.contains(&element) {
            let mut id = String::new();
            element.write_path(&mut id);
            return Some(format!("{path}: duplicate entries for key {id}"));
        }
        element.write_path(path);
        let found = duplicate(place, value, path);
        path.truncate(length);
        if found.is_some() {
            return found;
        }
        // Keys of maps are unique anyway.
        if !matches!(element, Element::Field(_)) {
            seen.push(element);
        }
    }
    None
}

/// Merges a configuration into what stands.
pub(super) fn merge(place: Place<'_>, live: Value, config: &Value) -> Value {
    match (place, live, config) {
        (place, Value::Object(mut live), Value::Object(config)) if place.is_map() => {
            for (key, value) in config.iter().filter(|(_, v)| !v.is_null()) {
                let merged = match live.remove(key) {
                    Some(was) => merge(place.below(key), was, value),
                    None => value.clone(),
                };
                live.insert(key.clone(), merged);
            }
            live.into()
        }
        (Place::Set, Value::Array(live), Value::Array(config)) => {
            merge_items(&live, config, |a, b| a == b, |_, config| config.clone()).into()
        }
        (Place::List(keys, shape), Value::Array(live), Value::Array(config)) => {
            let same = |a: &Value, b: &Value| keys.iter().all(|k| key_value(shape, a, k) == key_value(shape, b, k));
            let place = Place::value(shape);
            merge_items(&live, config, same, |live, config| merge(place, live.clone(), config)).into()
        }
        (_, _, config) => config.clone(),
    }
}

/// Items of both lists: those of the configuration in its order, the others where they stood among them.
fn merge_items(
    live: &[Value],
    config: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
    both: impl Fn(&Value, &Value) -> Value,
) -> Vec<Value> {
    let in_config = |item: &Value| config.iter().position(|c| same(item, c));
    let in_live = |item: &Value| live.iter().find(|l| same(l, item));
    // Shared items in the order of the configuration: the next one is where the lists meet again.
    let mut shared = (0..config.len())
        .filter(|at| in_live(&config[*at]).is_some())
        .peekable();
    let (mut out, mut left, mut right) = (Vec::with_capacity(live.len() + config.len()), 0, 0);
    while left < live.len() || right < config.len() {
        if let Some(item) = live.get(left) {
            match in_config(item) {
                None => {
                    out.push(item.clone());
                    left += 1;
                    continue;
                }
                // Taken already, or to be taken in its turn.
                Some(at) if at < right || shared.peek().is_some_and(|next| *next != at) => {
                    left += 1;
                    continue;
                }
                Some(_) => {}
            }
        }
        if let Some(item) = config.get(right) {
            out.push(in_live(item).map_or_else(|| item.clone(), |l| both(l, item)));
            if shared.peek() == Some(&right) {
                shared.next();
            }
            right += 1;
        }
    }
    out
}

/// Takes the members of a set out of a value. `None` when nothing is left of it.
pub(super) fn remove(place: Place<'_>, value: Value, set: &Set<'_>) -> Option<Value> {
    let keep = |element: &Element<'_>, place: Place<'_>, value: Value| match set.child(element) {
        None => Some(value),
        Some(child) if child.member => None,
        Some(child) => remove(place, value, child),
    };
    match (place, value) {
        (_, value) if set.children.is_empty() => Some(value),
        (place, Value::Object(map)) if place.is_map() => {
            let entries = map.into_iter().filter_map(|(key, value)| {
                let kept = keep(&Element::Field(key.as_str().into()), place.below(&key), value)?;
                Some((key, kept))
            });
            let left: Map<_, _> = entries.collect();
            (!left.is_empty()).then(|| left.into())
        }
        (Place::Set, Value::Array(items)) => {
            let left: Vec<_> = items
                .into_iter()
                .filter_map(|i| keep(&by_value(&i), Place::Leaf, i))
                .collect();
            (!left.is_empty()).then(|| left.into())
        }
        (Place::List(keys, shape), Value::Array(items)) => {
            let kept = |i: Value| keep(&by_keys(keys, shape, &i), Place::value(shape), i);
            let left: Vec<_> = items.into_iter().filter_map(kept).collect();
            (!left.is_empty()).then(|| left.into())
        }
        (_, value) => Some(value),
    }
}
