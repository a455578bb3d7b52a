//! One pass over any serde input that knows at each point what the schema expects.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::json::Text;
use crate::object::Object;
use crate::quantity;
use crate::schema::{self, Kind, Scalar, ShapeRef, TypeRef};

/// Upstream stops counting strict errors here.
const MAX_PROBLEMS: usize = 100;

/// What was found on the way.
#[derive(Debug, Default)]
pub struct Problems {
    /// Unknown and duplicate fields, in order, each once.
    pub strict: Vec<String>,
    /// Why the object cannot be read at all.
    pub failure: Option<String>,
}

impl Problems {
    /// Notes an unknown or duplicate field.
    pub fn add(&mut self, problem: String) {
        if self.strict.len() < MAX_PROBLEMS && !self.strict.contains(&problem) {
            self.strict.push(problem);
        }
    }
}

/// Reads a whole object of a type, or of a kind that has no schema.
pub struct TypedObject<'p> {
    ty: Option<TypeRef<'static>>,
    problems: &'p mut Problems,
}

impl<'p> TypedObject<'p> {
    /// A reader that notes problems in `problems`.
    pub fn new(ty: Option<TypeRef<'static>>, problems: &'p mut Problems) -> Self {
        Self { ty, problems }
    }
}

impl<'de> DeserializeSeed<'de> for TypedObject<'_> {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        let node = Node {
            expect: self.ty.map_or(Expect::Whole, |ty| Expect::Kind(ty.kind())),
            shape: None,
            at: &Place::Root,
            problems: self.problems,
        };
        match node.deserialize(deserializer)? {
            Some(Value::Object(object)) => Ok(object),
            _ => Ok(Object::new()),
        }
    }
}

/// Reads any value, keeping nulls, and notes duplicate fields.
pub struct Untyped<'p> {
    problems: &'p mut Problems,
}

impl<'p> Untyped<'p> {
    /// A reader that notes problems in `problems`.
    pub fn new(problems: &'p mut Problems) -> Self {
        Self { problems }
    }
}

impl<'de> DeserializeSeed<'de> for Untyped<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let node = Node {
            expect: Expect::Kind(Kind::Scalar(Scalar::Any)),
            shape: None,
            at: &Place::Root,
            problems: self.problems,
        };
        Ok(node.deserialize(deserializer)?.unwrap_or_default())
    }
}

/// Where in the object we are; a path is only written down when something is wrong there.
enum Place<'p> {
    Root,
    Field(&'p Place<'p>, &'p str, &'static str),
    Index(&'p Place<'p>, usize),
    Key(&'p Place<'p>, &'p str),
}

impl Place<'_> {
    /// As strict errors write it: `spec.containers[0].name`.
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(up, name, _) | Self::Key(up, name) => {
                let mut path = up.path();
                if !path.is_empty() {
                    path.push('.');
                }
                path + name
            }
            Self::Index(up, index) => format!("{}[{index}]", up.path()),
        }
    }

    /// As Go's decoder writes it: the struct that holds the field, then only names of fields.
    fn go_field(&self) -> Option<String> {
        let (mut names, mut holder, mut at) = (Vec::new(), None, self);
        loop {
            match at {
                Self::Root => break,
                Self::Field(up, name, of) => {
                    holder = holder.or(Some(*of));
                    names.push(*name);
                    at = up;
                }
                Self::Index(up, _) | Self::Key(up, _) => at = up,
            }
        }
        names.reverse();
        Some(format!("{}.{}", holder?, names.join(".")))
    }
}

/// What may stand here.
#[derive(Clone, Copy)]
enum Expect {
    Kind(Kind<'static>),
    /// A whole object without a schema: anything, but with proper metadata.
    Whole,
}

/// Reads one value; `None` is a null to be left out.
struct Node<'p> {
    expect: Expect,
    shape: Option<ShapeRef<'static>>,
    at: &'p Place<'p>,
    problems: &'p mut Problems,
}

impl<'p> Node<'p> {
    fn scalar(&self) -> Option<Scalar> {
        match self.expect {
            Expect::Kind(Kind::Scalar(scalar)) => Some(scalar),
            _ => None,
        }
    }

    fn child<'c>(&'c mut self, shape: ShapeRef<'static>, at: &'c Place<'c>) -> Node<'c> {
        Node {
            expect: Expect::Kind(shape.kind()),
            shape: Some(shape),
            at,
            problems: &mut *self.problems,
        }
    }

    fn any<'c>(&'c mut self, at: &'c Place<'c>) -> Node<'c> {
        Node {
            expect: Expect::Kind(Kind::Scalar(Scalar::Any)),
            shape: None,
            at,
            problems: &mut *self.problems,
        }
    }

    fn fail<T, E: serde::de::Error>(self, why: String) -> Result<T, E> {
        // The reader's own error only stops it; what it says is never shown.
        let error = E::custom("");
        self.problems.failure.get_or_insert(why);
        Err(error)
    }

    /// The value is of a type that cannot stand here.
    fn mismatch<T, E: serde::de::Error>(self, found: &str) -> Result<T, E> {
        let wanted = match (self.scalar(), self.shape) {
            (Some(Scalar::IntOrString), _) => "int32".to_owned(),
            (Some(Scalar::Time | Scalar::MicroTime), _) => "string".to_owned(),
            (_, Some(shape)) => shape.go_type(),
            _ => "map[string]interface {}".to_owned(),
        };
        let why = match self.at.go_field() {
            Some(field) => format!("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        };
        self.fail(why)
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<Option<Value>, E> {
        match self.scalar() {
            Some(Scalar::Any) => Ok(Some(Value::Number(number))),
            Some(Scalar::Double) => Ok(Some(Value::Number(number))),
            Some(Scalar::Int32 | Scalar::IntOrString) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(Some(Value::Number(number)))
            }
            Some(Scalar::Int64) if number.is_i64() => Ok(Some(Value::Number(number))),
            Some(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString) => self.mismatch(&format!("number {number}")),
            Some(Scalar::Quantity) => self.quantity(&number.to_string()),
            _ => self.mismatch("number"),
        }
    }

    fn quantity<E: serde::de::Error>(self, text: &str) -> Result<Option<Value>, E> {
        match quantity::canonical(text.trim()) {
            Ok(canonical) => Ok(Some(canonical.into())),
            Err(why) => self.fail(why.to_string()),
        }
    }

    fn text<E: serde::de::Error>(self, text: Cow<'_, str>) -> Result<Option<Value>, E> {
        match self.scalar() {
            Some(Scalar::String | Scalar::IntOrString | Scalar::Any) => Ok(Some(text.into_owned().into())),
            Some(Scalar::Quantity) => self.quantity(&text),
            Some(Scalar::Bytes) => match bytes(&text) {
                Ok(canonical) => Ok(Some(canonical.into())),
                Err(why) => self.fail(why),
            },
            Some(scalar @ (Scalar::Time | Scalar::MicroTime)) => match time(&text, scalar == Scalar::MicroTime) {
                Ok(canonical) => Ok(Some(canonical.into())),
                Err(why) => self.fail(why),
            },
            _ => self.mismatch("string"),
        }
    }

    /// A list item or map value that is null: Go's zero value.
    fn zero(shape: ShapeRef<'_>) -> Value {
        match shape.kind() {
            Kind::Scalar(Scalar::String | Scalar::Bytes) => "".into(),
            Kind::Scalar(Scalar::Boolean) => false.into(),
            Kind::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString) => 0.into(),
            Kind::Scalar(Scalar::Quantity) => "0".into(),
            Kind::Scalar(Scalar::Time | Scalar::MicroTime | Scalar::Object | Scalar::Any) => Value::Null,
            Kind::Struct(_) | Kind::Map(_) => Map::new().into(),
            Kind::List(_) => Vec::<Value>::new().into(),
        }
    }

    fn structure<'de, A: MapAccess<'de>>(
        mut self,
        ty: TypeRef<'static>,
        mut map: A,
    ) -> Result<Option<Value>, A::Error> {
        let mut out = Map::new();
        while let Some(Text(key)) = map.next_key()? {
            let Some(field) = ty.field(&key) else {
                self.problems
                    .add(format!("unknown field {:?}", Place::Key(self.at, &key).path()));
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let at = Place::Field(self.at, &field.name, ty.go_name());
            if out.contains_key(key.as_ref()) {
                self.problems.add(format!("duplicate field {:?}", at.path()));
            }
            match map.next_value_seed(self.child(ty.shape(field), &at))? {
                Some(value) if field.required || !is_empty_collection(&value, ty.shape(field)) => {
                    out.insert(key.into_owned(), value);
                }
                _ => {
                    out.remove(key.as_ref());
                }
            }
        }
        Ok(Some(out.into()))
    }

    /// A map of values of one shape, or of anything.
    fn map<'de, A: MapAccess<'de>>(
        mut self,
        shape: Option<ShapeRef<'static>>,
        mut map: A,
    ) -> Result<Option<Value>, A::Error> {
        let mut out = Map::new();
        while let Some(Text(key)) = map.next_key()? {
            let at = Place::Key(self.at, &key);
            if out.contains_key(key.as_ref()) {
                self.problems.add(format!("duplicate field {:?}", at.path()));
            }
            let child = match shape {
                Some(shape) => self.child(shape, &at),
                None => self.any(&at),
            };
            let value = map.next_value_seed(child)?;
            let value = value.unwrap_or_else(|| shape.map_or(Value::Null, Self::zero));
            out.insert(key.into_owned(), value);
        }
        Ok(Some(out.into()))
    }

    /// An object of a kind without a schema: `metadata` is checked, the rest kept.
    fn whole<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<Option<Value>, A::Error> {
        let meta = schema::builtin().by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let mut out = Map::new();
        while let Some(Text(key)) = map.next_key()? {
            let at = Place::Field(self.at, &key, "");
            if out.contains_key(key.as_ref()) {
                self.problems.add(format!("duplicate field {:?}", at.path()));
            }
            let mut child = self.any(&at);
            if let (Some(meta), "metadata") = (meta, key.as_ref()) {
                child.expect = Expect::Kind(meta.kind());
            }
            if let Some(value) = map.next_value_seed(child)? {
                out.insert(key.into_owned(), value);
            }
        }
        Ok(Some(out.into()))
    }
}

/// Go leaves empty lists and maps out of what it writes, where the field may be left out.
fn is_empty_collection(value: &Value, shape: ShapeRef<'_>) -> bool {
    match shape.kind() {
        Kind::List(_) => value.as_array().is_some_and(Vec::is_empty),
        Kind::Map(_) => value.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.scalar() {
            Some(Scalar::Boolean | Scalar::Any) => Ok(Some(value.into())),
            Some(Scalar::Quantity) => self.quantity(if value { "true" } else { "false" }),
            _ => self.mismatch("bool"),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.number(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Value>, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => self.mismatch("number"),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Value>, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Option<Value>, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Option<Value>, A::Error> {
        let shape = match self.expect {
            Expect::Kind(Kind::List(shape)) => Some(shape),
            Expect::Kind(Kind::Scalar(Scalar::Any)) => None,
            _ => return self.mismatch("array"),
        };
        let (mut items, parent) = (Vec::new(), self.at);
        loop {
            let at = Place::Index(parent, items.len());
            let child = match shape {
                Some(shape) => self.child(shape, &at),
                None => self.any(&at),
            };
            match seq.next_element_seed(child)? {
                Some(Some(item)) => items.push(item),
                Some(None) => items.push(shape.map_or(Value::Null, Self::zero)),
                None => break,
            }
        }
        Ok(Some(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Value>, A::Error> {
        match self.expect {
            Expect::Whole => self.whole(map),
            Expect::Kind(Kind::Struct(ty)) => self.structure(ty, map),
            Expect::Kind(Kind::Map(shape)) => self.map(Some(shape), map),
            Expect::Kind(Kind::Scalar(Scalar::Any | Scalar::Object)) => self.map(None, map),
            Expect::Kind(_) => self.mismatch("object"),
        }
    }
}

/// Checks base64 text, and drops the line breaks that Go's decoder skips.
fn bytes(text: &str) -> Result<String, String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let clean: Cow<'_, str> = if text.contains(['\n', '\r']) {
        text.chars()
            .filter(|c| !matches!(c, '\n' | '\r'))
            .collect::<String>()
            .into()
    } else {
        text.into()
    };
    match engine.decode(clean.as_bytes()) {
        Ok(_) => Ok(clean.into_owned()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", clean.len() / 4 * 4)),
    }
}

/// A time as upstream writes it: UTC, in seconds or with six decimals.
fn time(text: &str, micro: bool) -> Result<String, String> {
    let layout = if micro {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    if let Some((rest, element)) = misfit(text) {
        return Err(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"
        ));
    }
    let time: Timestamp = text
        .parse()
        .map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    let format = if micro {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(time.strftime(format).to_string())
}

/// The rest of a text from where it stops being a time, and the element of the layout that it misses.
fn misfit(text: &str) -> Option<(&str, &'static str)> {
    let mut rest = text;
    for (element, digits) in [
        ("2006", 4),
        ("-", 0),
        ("01", 2),
        ("-", 0),
        ("02", 2),
        ("T", 0),
        ("15", 2),
        (":", 0),
        ("04", 2),
        (":", 0),
        ("05", 2),
    ] {
        let fits = match digits {
            0 => rest.starts_with(element),
            n => rest.len() >= n && rest.bytes().take(n).all(|b| b.is_ascii_digit()),
        };
        if !fits {
            return Some((rest, element));
        }
        rest = &rest[if digits == 0 { element.len() } else { digits }..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let offset = |r: &str| {
        let b = r.as_bytes();
        b.len() == 6
            && matches!(b[0], b'+' | b'-')
            && b[3] == b':'
            && [1, 2, 4, 5].iter().all(|i| b[*i].is_ascii_digit())
    };
    (rest != "Z" && !offset(rest)).then_some((rest, "Z07:00"))
}
