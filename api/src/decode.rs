//! Request bodies to objects, checked against the schema: upstream's decoder with its words.
//!
//! A body is read in one pass that knows the expected type at every point ([`typed`]): a value of a wrong
//! type fails as Go's decoder would say it, unknown fields are pruned and reported, duplicates reported,
//! nulls become Go's zero values, quantities and times their canonical forms. A kind without a schema keeps
//! everything but has its `metadata` checked. Depth and alias expansion are bounded.

use std::borrow::Cow;

use serde::de::DeserializeSeed as _;
use serde_json::Value;

mod json;
mod protobuf;
pub mod typed;
mod yaml;

use crate::object::Object;
use crate::resource::Resource;
use crate::schema::{self, TypeRef};
use crate::status::{ApiError, ApiResult};
use typed::{Problems, TypedObject};

/// What to do about unknown and duplicate fields: the `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn: what upstream does when nothing is asked.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => Self::default(),
            "Ignore" => Self::Ignore,
            "Warn" => Self::Warn,
            "Strict" => Self::Strict,
            _ => return None,
        })
    }
}

/// An object and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, with `apiVersion` and `kind` set.
    pub object: Object,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// The kind that a body is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Version within the group.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl<'a> From<&'a Resource> for Expected<'a> {
    fn from(resource: &'a Resource) -> Self {
        Self {
            group: &resource.group,
            version: &resource.version,
            kind: &resource.kind,
        }
    }
}

impl Expected<'_> {
    /// `group/version`, or the bare version for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The type, where one is known.
    pub fn schema(&self) -> Option<TypeRef<'static>> {
        schema::builtin().by_kind(self.group, self.version, self.kind)
    }
}

/// Media types of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    fn of(content_type: &str) -> ApiResult<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" | "application/apply-patch+yaml" => Ok(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            _ => Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )),
        }
    }
}

/// Reads a request body that is to be an object of `resource`.
pub fn decode(content_type: &str, bytes: &[u8], resource: &Resource, mode: FieldValidation) -> ApiResult<Decoded> {
    decode_kind(content_type, bytes, resource.into(), mode)
}

/// Reads a request body of a kind that is not the resource's own, such as `Scale` or `DeleteOptions`.
pub fn decode_kind(
    content_type: &str,
    bytes: &[u8],
    expected: Expected<'_>,
    mode: FieldValidation,
) -> ApiResult<Decoded> {
    let encoding = Encoding::of(content_type)?;
    let unreadable = |why: &str| {
        unrecognized(
            bytes,
            expected,
            &format!("couldn't get version/kind; json parse error: {why}"),
        )
    };
    let mut problems = Problems::default();
    if encoding == Encoding::Protobuf {
        let envelope = protobuf::open(bytes).map_err(|why| unrecognized(bytes, expected, &why))?;
        check_kind(Some(envelope.api_version), Some(envelope.kind), expected)?;
        let ty = expected
            .schema()
            .ok_or_else(|| unrecognized(bytes, expected, "the kind has no protobuf form"))?;
        let object = protobuf::read(ty, envelope.raw).map_err(|why| unhandled(expected.kind, expected, &why))?;
        return finish(object, problems, expected, mode);
    }
    if encoding == Encoding::Yaml && !json::looks_like(bytes) {
        let value = yaml::read(bytes, &mut problems).map_err(|why| unrecognized(bytes, expected, &why))?;
        let Value::Object(object) = value else {
            return Err(unreadable(&json::not_an_object(&value)));
        };
        return finish(object, problems, expected, mode);
    }
    let head = json::head(bytes).map_err(|why| unreadable(&why))?;
    check_kind(head.api_version.as_deref(), head.kind.as_deref(), expected)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = TypedObject::new(expected.schema(), &mut problems).deserialize(&mut reader);
    let object = match (read, problems.failure.take()) {
        (Ok(object), None) => object,
        (_, Some(why)) => return Err(unhandled(expected.kind, expected, &why)),
        (Err(error), None) => return Err(unhandled(expected.kind, expected, &json::syntax(bytes, &error))),
    };
    conclude(object, problems, expected, mode)
}

/// Checks an object that is already parsed, such as the outcome of a patch, as [`decode`] checks a body.
pub fn conform(object: Object, expected: Expected<'_>, mode: FieldValidation) -> ApiResult<Decoded> {
    finish(object, Problems::default(), expected, mode)
}

/// Checks a parsed object against its type and notes problems; an error says why it cannot be read as it.
pub(crate) fn conform_noting(
    object: Object,
    expected: Expected<'_>,
    problems: &mut Problems,
) -> Result<Object, String> {
    let read = TypedObject::new(expected.schema(), problems).deserialize(Value::Object(object));
    match (read, problems.failure.take()) {
        (Ok(object), None) => Ok(named(object, expected)),
        (_, Some(why)) => Err(why),
        (Err(error), None) => Err(error.to_string()),
    }
}

/// Reads the body of a server-side apply, which is YAML (so possibly JSON) and knows every field that it names.
pub fn decode_apply(body: &[u8], expected: Expected<'_>, mode: FieldValidation) -> ApiResult<Decoded> {
    let mut duplicates = Problems::default();
    let value = if json::looks_like(body) {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = typed::Untyped::new(&mut duplicates).deserialize(&mut reader);
        read.map_err(|error| json::syntax(body, &error))
    } else {
        yaml::read(body, &mut duplicates)
    };
    let config = match value {
        Ok(Value::Object(config)) => config,
        Ok(other) => {
            let found = json::type_name(&other);
            return Err(ApiError::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )));
        }
        Err(why) => return Err(ApiError::bad_request(format!("error decoding YAML: {why}"))),
    };
    check_apply_version(&config, expected)?;
    let mut problems = Problems::default();
    let shown = config.clone();
    let refuse = |why: &str| Err(crate::managed::untypable(&shown, expected, why));
    let object = match conform_noting(config, expected, &mut problems) {
        Ok(object) => object,
        Err(why) => return refuse(&why),
    };
    let unknown: Vec<_> = problems
        .strict
        .iter()
        .filter_map(|p| p.strip_prefix("unknown field \"")?.strip_suffix('"'))
        .collect();
    match unknown.as_slice() {
        [] => {}
        [one] => return refuse(&format!(".{one}: field not declared in schema")),
        many => {
            let lines: Vec<_> = many
                .iter()
                .map(|path| format!("\n  .{path}: field not declared in schema"))
                .collect();
            return refuse(&format!("errors:{}", lines.concat()));
        }
    }
    match (mode, duplicates.strict.as_slice()) {
        (FieldValidation::Strict, [first, ..]) => Err(ApiError::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: {first}"
        ))),
        (FieldValidation::Warn, _) => Ok(Decoded {
            object,
            warnings: duplicates.strict,
        }),
        _ => Ok(Decoded {
            object,
            warnings: Vec::new(),
        }),
    }
}

/// A configuration has to say what it configures.
fn check_apply_version(config: &Object, expected: Expected<'_>) -> ApiResult<()> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let wanted = expected.api_version();
    if text("kind").is_empty() {
        return Err(ApiError::bad_request(
            "error decoding patch: Object 'Kind' is missing in the configuration",
        ));
    }
    if text("apiVersion") != wanted {
        return Err(ApiError::bad_request(format!(
            "incorrect version specified in apply patch. Specified patch version: {}, expected: {wanted}",
            text("apiVersion")
        )));
    }
    check_kind(Some(&wanted), Some(text("kind")), expected)
}

/// Reads a merge patch: a JSON object in which nulls mean something. Duplicate fields are problems.
pub(crate) fn patch_map(bytes: &[u8], problems: &mut Problems) -> Result<Object, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = typed::Untyped::new(problems).deserialize(&mut reader);
    let read = read.and_then(|value| reader.end().map(|()| value));
    match read.map_err(|error| json::syntax(bytes, &error))? {
        Value::Object(object) => Ok(object),
        other => Err(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json::type_name(&other)
        )),
    }
}

fn finish(object: Object, mut problems: Problems, expected: Expected<'_>, mode: FieldValidation) -> ApiResult<Decoded> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    check_kind(text("apiVersion"), text("kind"), expected)?;
    let object =
        conform_noting(object, expected, &mut problems).map_err(|why| unhandled(expected.kind, expected, &why))?;
    conclude(object, problems, expected, mode)
}

/// The object with `apiVersion` and `kind`, which a body may leave out.
fn named(mut object: Object, expected: Expected<'_>) -> Object {
    if expected.kind != "DeleteOptions" || !object.contains_key("kind") {
        object.insert("apiVersion".to_owned(), expected.api_version().into());
        object.insert("kind".to_owned(), expected.kind.into());
    }
    object
}

fn conclude(object: Object, problems: Problems, expected: Expected<'_>, mode: FieldValidation) -> ApiResult<Decoded> {
    let object = named(object, expected);
    let warnings = match mode {
        FieldValidation::Strict if !problems.strict.is_empty() => {
            let why = format!("strict decoding error: {}", problems.strict.join(", "));
            return Err(unhandled(expected.kind, expected, &why));
        }
        FieldValidation::Warn => problems.strict,
        FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
    };
    Ok(Decoded { object, warnings })
}

/// Whether a body that says what it is says what is expected; a body that does not say is taken to be.
fn check_kind(api_version: Option<&str>, kind: Option<&str>, expected: Expected<'_>) -> ApiResult<()> {
    let wanted = expected.api_version();
    let api_version = api_version.filter(|v| !v.is_empty()).unwrap_or(&wanted);
    let kind = kind.filter(|k| !k.is_empty()).unwrap_or(expected.kind);
    if kind == expected.kind && (api_version == wanted || kind == "DeleteOptions") {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if kind == expected.kind && group == expected.group && schema::builtin().by_kind(group, version, kind).is_some() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    let why = if schema::builtin().by_kind(group, version, kind).is_some() {
        format!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(expected.group),
            expected.kind
        )
    } else {
        format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    Err(ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {why}",
        expected.kind
    )))
}

/// Upstream's name of the package that holds a group's internal types.
fn internal_package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

/// 400 for a body that is of the right kind but cannot be read as it.
fn unhandled(kind: &str, expected: Expected<'_>, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {}: {why}",
        expected.version, expected.kind
    ))
}

/// 400 for a body that does not even say what it is.
fn unrecognized(bytes: &[u8], expected: Expected<'_>, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        expected.kind,
        summary(bytes)
    ))
}

/// The beginning of a body: as text when it may be JSON, else in hexadecimal.
fn summary(bytes: &[u8]) -> Cow<'static, str> {
    const SHOWN: usize = 30;
    let head = &bytes[..bytes.len().min(SHOWN)];
    let tail = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{tail}", String::from_utf8_lossy(head)).into(),
        Some(_) => {
            let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex}{tail}").into()
        }
    }
}

#[cfg(test)]
mod tests;
