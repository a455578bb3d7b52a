//! A cursor over an object that knows its path: validation reads as a list of rules.
//!
//! ```ignore
//! let check = Check::of(&object);
//! check.field("spec").field("replicas").not_negative();
//! check.finish()
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::Problems;
use serde_json::Value;

/// A place in an object, and the list that its mistakes go to.
#[derive(Clone)]
pub struct Check<'a> {
    path: String,
    place: Place<'a>,
    errors: Rc<RefCell<Vec<FieldError>>>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Root(&'a Object),
    Value(Option<&'a Value>),
}

impl<'a> Check<'a> {
    /// The whole object.
    pub fn of(object: &'a Object) -> Self {
        Self {
            path: String::new(),
            place: Place::Root(object),
            errors: Rc::default(),
        }
    }

    /// Another state of the object, reporting to the same list.
    pub fn beside(&self, object: &'a Object) -> Self {
        Self {
            path: String::new(),
            place: Place::Root(object),
            errors: Rc::clone(&self.errors),
        }
    }

    /// All mistakes found so far.
    pub fn finish(self) -> Vec<FieldError> {
        self.errors.take()
    }

    /// Path of this place, such as `spec.containers[0]`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value, unless absent or null.
    pub fn value(&self) -> Option<&'a Value> {
        match self.place {
            Place::Root(_) => None,
            Place::Value(value) => value.filter(|v| !v.is_null()),
        }
    }

    fn child(&self, path: String, value: Option<&'a Value>) -> Self {
        Self {
            path,
            place: Place::Value(value),
            errors: Rc::clone(&self.errors),
        }
    }

    fn object(&self) -> Option<&'a Object> {
        match self.place {
            Place::Root(object) => Some(object),
            Place::Value(value) => value.and_then(Value::as_object),
        }
    }

    /// A field of this object.
    pub fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        self.child(path, self.object().and_then(|o| o.get(name)))
    }

    /// The items of this list.
    pub fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let list: &'a [Value] = self.value().and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let parent = self.clone();
        list.iter()
            .enumerate()
            .map(move |(index, item)| parent.child(format!("{}[{index}]", parent.path), Some(item)))
    }

    /// The entries of this map; an entry's path is `path[key]`.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let parent = self.clone();
        self.object().into_iter().flatten().map(move |(key, value)| {
            (
                key.as_str(),
                parent.child(format!("{}[{key}]", parent.path), Some(value)),
            )
        })
    }

    /// The string, empty when absent.
    pub fn str(&self) -> &'a str {
        self.value().and_then(Value::as_str).unwrap_or_default()
    }

    /// The integer.
    pub fn int(&self) -> Option<i64> {
        self.value().and_then(Value::as_i64)
    }

    /// The boolean, false when absent.
    pub fn bool(&self) -> bool {
        self.value().and_then(Value::as_bool).unwrap_or_default()
    }

    /// Whether there is a value at all.
    pub fn exists(&self) -> bool {
        self.value().is_some()
    }

    /// Whether there is nothing: absent, or an empty string, list or map.
    pub fn is_empty(&self) -> bool {
        match self.value() {
            None => true,
            Some(Value::String(s)) => s.is_empty(),
            Some(Value::Array(a)) => a.is_empty(),
            Some(Value::Object(o)) => o.is_empty(),
            Some(_) => false,
        }
    }

    /// Whether both places hold the same, absent and null being alike.
    pub fn same(&self, other: &Check<'_>) -> bool {
        self.value() == other.value()
    }

    /// Notes a mistake.
    pub fn report(&self, error: FieldError) {
        self.errors.borrow_mut().push(error);
    }

    /// Notes that this is missing.
    pub fn required(&self, detail: &str) {
        self.report(FieldError::required(&self.path, detail));
    }

    /// Notes that the value is wrong.
    pub fn invalid(&self, detail: impl Into<String>) {
        self.report(FieldError::invalid(
            &self.path,
            self.value().cloned().unwrap_or_else(|| "".into()),
            detail,
        ));
    }

    /// Notes that this may not be set.
    pub fn forbidden(&self, detail: &str) {
        self.report(FieldError::forbidden(&self.path, detail));
    }

    /// Notes that the value stands elsewhere.
    pub fn duplicate(&self) {
        self.report(FieldError::duplicate(
            &self.path,
            self.value().cloned().unwrap_or_default(),
        ));
    }

    /// Whether there is something; when not, notes that it is required.
    pub fn must_exist(&self, detail: &str) -> bool {
        if self.is_empty() {
            self.required(detail);
        }
        !self.is_empty()
    }

    /// Notes each of these problems with the value.
    pub fn problems(&self, problems: Problems) {
        for problem in problems {
            self.invalid(problem);
        }
    }

    /// Checks a string by a rule, when it is set.
    pub fn obeys(&self, rule: impl Fn(&str) -> Problems) {
        if !self.is_empty() {
            self.problems(rule(self.str()));
        }
    }

    /// Checks that a string is set and obeys a rule.
    pub fn must_obey(&self, rule: impl Fn(&str) -> Problems) {
        if self.must_exist("") {
            self.problems(rule(self.str()));
        }
    }

    /// Checks that a string, when set, is one of these.
    pub fn one_of(&self, supported: &[&str]) {
        if self.exists() && !supported.contains(&self.str()) {
            self.report(FieldError::not_supported(&self.path, self.str(), supported));
        }
    }

    /// Checks that a string is set and one of these.
    pub fn must_be_one_of(&self, supported: &[&str]) {
        if self.must_exist("") {
            self.one_of(supported);
        }
    }

    /// Checks that a number, when set, is not negative.
    pub fn not_negative(&self) {
        if self.int().is_some_and(|n| n < 0) {
            self.invalid("must be greater than or equal to 0");
        }
    }

    /// Checks that a number, when set, is above zero.
    pub fn positive(&self) {
        if self.int().is_some_and(|n| n <= 0) {
            self.invalid("must be greater than 0");
        }
    }

    /// Checks that a number, when set, lies between these, both included.
    pub fn between(&self, low: i64, high: i64) {
        if self.int().is_some_and(|n| !(low..=high).contains(&n)) {
            self.invalid(format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// Checks that this did not change.
    pub fn immutable(&self, old: &Check<'_>) {
        if !self.same(old) {
            self.invalid("field is immutable");
        }
    }

    /// Notes items whose field (or, with an empty name, themselves) repeats an earlier one's.
    pub fn unique(&self, key: &str) {
        let mut seen = Vec::new();
        for item in self.items() {
            let place = if key.is_empty() { item } else { item.field(key) };
            if place.is_empty() {
                continue;
            }
            if seen.contains(&place.value()) {
                place.duplicate();
            }
            seen.push(place.value());
        }
    }
}

/// Sets a field that is absent or null.
pub fn default(object: &mut Object, key: &str, value: impl Into<Value>) {
    let slot = object.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// A field that is an object, made an empty one when it is none.
pub fn section<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let slot = object.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Object::new().into();
    }
    slot.as_object_mut().expect("just made an object")
}

/// A field that is an object, when it is there.
pub fn existing<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key)?.as_object_mut()
}

/// The objects of a list field.
pub fn each<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> + use<'a> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// A string field, empty when absent.
pub fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}
