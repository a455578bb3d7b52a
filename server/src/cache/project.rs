//! From a stored record to a cache entry: what filters look at is picked out of the JSON in one pass,
//! without building the object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mizzen_api::object::splice_revision;
use mizzen_api::resource::{Resource, SelectableField};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Entry, ROOT, collection_prefix};
use crate::store::Record;

const LABELS: &str = "metadata.labels";

/// What is picked out of the objects of one collection: its selectable fields.
#[derive(Debug, Default)]
pub struct Shape {
    fields: Vec<SelectableField>,
    /// Each place in the object that a field may come from, with the number of the field.
    paths: Vec<(Box<str>, usize)>,
}

impl Shape {
    fn new(fields: &[SelectableField]) -> Self {
        let paths = fields.iter().enumerate();
        let paths = paths.flat_map(|(at, field)| field.path.split('|').map(move |path| (path.into(), at)));
        Self {
            fields: fields.to_vec(),
            paths: paths.collect(),
        }
    }

    /// Number of the field that selectors name `label`.
    pub(super) fn position(&self, label: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.label == label)
    }

    /// Whether anything wanted lies at or below `path`.
    fn reaches(&self, path: &str) -> bool {
        let below = |wanted: &str| {
            wanted
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        below(LABELS) || self.paths.iter().any(|(wanted, _)| below(wanted))
    }
}

/// Which keys belong together, and what is picked out of their objects.
#[derive(Debug, Default)]
pub(super) struct Layout {
    shapes: HashMap<Box<str>, Arc<Shape>>,
    unknown: Arc<Shape>,
}

impl Layout {
    /// Adds the collection of a resource; nothing changes when it is known already.
    pub(super) fn add(&mut self, resource: &Resource) {
        if resource.storage.is_some() {
            self.shapes
                .entry(collection_prefix(resource).into())
                .or_insert_with(|| Arc::new(Shape::new(&resource.selectable_fields)));
        }
    }

    /// Splits a key into its collection's prefix and the rest (`namespace/name` or `name`).
    pub(super) fn split<'k>(&self, key: &'k str) -> Option<(&'k str, &'k str)> {
        let end_of_segment = |from: usize| Some(from + key.get(from..)?.find('/')? + 1);
        let one = end_of_segment(ROOT.len())?;
        if self.shapes.contains_key(&key[..one]) {
            return Some(key.split_at(one));
        }
        let two = end_of_segment(one)?;
        Some(key.split_at(two))
    }

    fn shape(&self, prefix: &str) -> &Arc<Shape> {
        self.shapes.get(prefix).unwrap_or(&self.unknown)
    }

    /// The entry for a record as the store has it; `None` when its key belongs to no collection.
    pub(super) fn entry(&self, record: &Record) -> Option<Entry> {
        let (prefix, rest) = self.split(&record.key)?;
        let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
        let shape = self.shape(prefix);
        let mut picked = Picked {
            shape,
            labels: Vec::new(),
            values: vec![None; shape.fields.len()],
        };
        let mut json = serde_json::Deserializer::from_slice(&record.value);
        let pick = Pick {
            at: "",
            into: &mut picked,
        };
        if let Err(error) = pick.deserialize(&mut json) {
            tracing::error!(key = %record.key, %error, "a stored object is not JSON");
        }
        let Picked { mut labels, values, .. } = picked;
        labels.sort();
        let values = values.into_iter().zip(&shape.fields);
        Some(Entry {
            key: Arc::clone(&record.key),
            revision: record.mod_revision,
            json: splice_revision(&record.value, record.mod_revision),
            namespace: namespace.into(),
            name: name.into(),
            labels: labels.into(),
            fields: values
                .map(|(value, field)| value.unwrap_or_else(|| (&*field.zero).into()))
                .collect(),
            shape: Arc::clone(shape),
        })
    }
}

struct Picked<'a> {
    shape: &'a Shape,
    labels: Vec<(Box<str>, Box<str>)>,
    values: Vec<Option<Box<str>>>,
}

impl Picked<'_> {
    fn take(&mut self, path: &str, value: Cow<'_, str>) {
        if let Some(label) = path.strip_prefix(LABELS).and_then(|rest| rest.strip_prefix('.')) {
            self.labels.push((label.into(), value.into()));
            return;
        }
        // The first place that has a value wins.
        let places = self
            .shape
            .paths
            .iter()
            .enumerate()
            .filter(|(_, (wanted, _))| **wanted == *path);
        for (place, (_, field)) in places {
            let first = self.shape.paths.iter().position(|(_, f)| f == field) == Some(place);
            if !value.is_empty() && (first || self.values[*field].is_none()) {
                self.values[*field] = Some((&*value).into());
            }
        }
    }
}

/// Visits the value at `at`, descending only where something wanted lies.
struct Pick<'a, 's> {
    at: &'a str,
    into: &'a mut Picked<'s>,
}

impl<'de> DeserializeSeed<'de> for Pick<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut path = String::from(self.at);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            path.truncate(self.at.len());
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&key);
            // Labels hold keys with dots of their own: below them everything is wanted.
            if self.at == LABELS || self.into.shape.reaches(&path) {
                map.next_value_seed(Pick {
                    at: &path,
                    into: self.into,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.into.take(self.at, value.into());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.into.take(self.at, value.to_string().into());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.into.take(self.at, value.to_string().into());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.into.take(self.at, value.to_string().into());
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
