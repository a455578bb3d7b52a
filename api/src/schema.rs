//! What is known about the fields of every built-in type: JSON name and type, whether it is required, how
//! lists and maps merge, defaults, protobuf tags, descriptions.
//!
//! A [`Schema`] is an arena of types. The built-in one ([`builtin`]) is read from a generated table (see
//! [`table`]) on first use; a CustomResourceDefinition is to get a schema of its own. Decoding, patches,
//! server-side apply and OpenAPI all walk it through [`TypeRef`] and [`ShapeRef`] and never name a kind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

pub mod defaults;
pub mod descriptions;
pub mod table;

use crate::resource::Resource;

/// Types by name, and how to find them.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<Type>,
    shapes: Vec<Shape>,
    by_name: HashMap<Cow<'static, str>, u32>,
    by_kind: HashMap<[Cow<'static, str>; 3], u32>,
}

/// One definition.
#[derive(Debug)]
struct Type {
    /// Upstream's name, such as `io.k8s.api.core.v1.Pod`.
    name: Cow<'static, str>,
    /// What it is, when it is no struct.
    scalar: Option<Scalar>,
    /// Group, version and kind of a type that stands alone.
    gvk: Option<[Cow<'static, str>; 3]>,
    /// Owned as a whole in server-side apply.
    atomic: bool,
    /// Sorted by name.
    fields: Box<[Field]>,
    /// Index of its description; those of its fields follow.
    described: u32,
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: Cow<'static, str>,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// How server-side apply merges a list.
    pub list: ListType,
    /// Set where the field says whether a map or struct is owned as a whole; else its type decides.
    pub atomic: Option<bool>,
    /// How a strategic merge patch treats it.
    pub patch: PatchStrategy,
    shape: u32,
    /// Protobuf tag; 0 when unknown or a path, which [`Rarely`] has.
    tag: u16,
    rarely: Option<Box<Rarely>>,
}

/// What few fields have.
#[derive(Debug, Default, PartialEq)]
struct Rarely {
    list_keys: Vec<Cow<'static, str>>,
    merge_key: Option<Cow<'static, str>>,
    default: Option<Cow<'static, str>>,
    tags: Vec<u16>,
}

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Owned as a whole.
    #[default]
    Atomic,
    /// Items are scalars, each its own identity.
    Set,
    /// Items are structs, identified by [`Field::list_keys`].
    Map,
}

/// How a strategic merge patch treats a list or struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge by [`Field::merge_key`], or as sets of scalars.
    pub merge: bool,
    /// Keys that a `$retainKeys` directive does not name are cleared.
    pub retain_keys: bool,
    /// Structs are replaced, not merged.
    pub replace: bool,
}

/// A type that is not made of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are those of the JSON types or of upstream's definitions"
)]
pub enum Scalar {
    String,
    Boolean,
    Int32,
    Int64,
    Double,
    /// Base64 text.
    Bytes,
    IntOrString,
    Quantity,
    Time,
    MicroTime,
    /// Any object, unchecked.
    Object,
    /// Anything, unchecked.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Scalar(Scalar),
    Named(u32),
    List(u32),
    Map(u32),
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'s> {
    /// No structure to walk into.
    Scalar(Scalar),
    /// Fields.
    Struct(TypeRef<'s>),
    /// Items of one shape.
    List(ShapeRef<'s>),
    /// Values of one shape under free keys.
    Map(ShapeRef<'s>),
}

/// A definition in its schema.
#[derive(Clone, Copy, Debug)]
pub struct TypeRef<'s> {
    schema: &'s Schema,
    ty: &'s Type,
}

/// The shape of a value in its schema.
#[derive(Clone, Copy, Debug)]
pub struct ShapeRef<'s> {
    schema: &'s Schema,
    shape: Shape,
}

/// The schema of every built-in type.
pub fn builtin() -> &'static Schema {
    static BUILTIN: LazyLock<Schema> = LazyLock::new(|| table::parse(table::BUILTIN));
    &BUILTIN
}

/// The type of a resource's objects, where one is known.
pub fn of(resource: &Resource) -> Option<TypeRef<'static>> {
    builtin().by_kind(&resource.group, &resource.version, &resource.kind)
}

/// A lookup with keys that live shorter than the map's: maps are covariant in their keys.
fn find<'m>(map: &'m HashMap<[Cow<'m, str>; 3], u32>, key: &[Cow<'m, str>; 3]) -> Option<&'m u32> {
    map.get(key)
}

impl Schema {
    /// The definition of that name.
    pub fn by_name(&self, name: &str) -> Option<TypeRef<'_>> {
        Some(self.type_at(*self.by_name.get(name)?))
    }

    /// The type of a kind. `DeleteOptions` stands in every group.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        if kind == "DeleteOptions" {
            return self.by_name("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
        }
        let key = [group, version, kind].map(Cow::Borrowed);
        Some(self.type_at(*find(&self.by_kind, &key)?))
    }

    /// All definitions in order of name.
    pub fn types(&self) -> impl Iterator<Item = TypeRef<'_>> {
        self.types.iter().map(|ty| TypeRef { schema: self, ty })
    }

    fn type_at(&self, index: u32) -> TypeRef<'_> {
        TypeRef {
            schema: self,
            ty: &self.types[index as usize],
        }
    }

    fn shape_at(&self, index: u32) -> ShapeRef<'_> {
        ShapeRef {
            schema: self,
            shape: self.shapes[index as usize],
        }
    }
}

impl<'s> TypeRef<'s> {
    /// Upstream's name, such as `io.k8s.api.core.v1.Pod`.
    pub fn name(&self) -> &'s str {
        &self.ty.name
    }

    /// The last part of the name: what Go calls it.
    pub fn go_name(&self) -> &'s str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// Group, version and kind of a type that stands alone.
    pub fn gvk(&self) -> Option<[&'s str; 3]> {
        self.ty.gvk.as_ref().map(|gvk| gvk.each_ref().map(|part| part.as_ref()))
    }

    /// Fields in order of name; none for a type that is no struct.
    pub fn fields(&self) -> &'s [Field] {
        &self.ty.fields
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'s Field> {
        let at = self.ty.fields.binary_search_by(|f| f.name.as_ref().cmp(name)).ok()?;
        Some(&self.ty.fields[at])
    }

    /// What a field holds.
    pub fn shape(&self, field: &Field) -> ShapeRef<'s> {
        self.schema.shape_at(field.shape)
    }

    /// Whether server-side apply owns it as a whole.
    pub fn atomic(&self) -> bool {
        self.ty.atomic
    }

    /// What it is: a struct, or one of the definitions that stand for a scalar.
    pub fn kind(&self) -> Kind<'s> {
        self.ty.scalar.map_or(Kind::Struct(*self), Kind::Scalar)
    }

    /// Line of its own description in [`descriptions`]; those of its fields follow in order.
    pub fn description_index(&self) -> usize {
        self.ty.described as usize
    }
}

impl<'s> ShapeRef<'s> {
    /// What the value may be.
    pub fn kind(&self) -> Kind<'s> {
        match self.shape {
            Shape::Scalar(scalar) => Kind::Scalar(scalar),
            Shape::Named(index) => self.schema.type_at(index).kind(),
            Shape::List(index) => Kind::List(self.schema.shape_at(index)),
            Shape::Map(index) => Kind::Map(self.schema.shape_at(index)),
        }
    }

    /// The definition it refers to, if it does.
    pub fn definition(&self) -> Option<TypeRef<'s>> {
        match self.shape {
            Shape::Named(index) => Some(self.schema.type_at(index)),
            _ => None,
        }
    }

    /// What Go calls the type: `int32`, `[]v1.Container`, `map[string]string`.
    pub fn go_type(&self) -> String {
        match self.shape {
            Shape::Scalar(Scalar::Boolean) => "bool".to_owned(),
            Shape::Scalar(Scalar::Int32) => "int32".to_owned(),
            Shape::Scalar(Scalar::Int64) => "int64".to_owned(),
            Shape::Scalar(Scalar::Double) => "float64".to_owned(),
            Shape::Scalar(Scalar::Bytes) => "[]uint8".to_owned(),
            Shape::Scalar(_) => "string".to_owned(),
            Shape::Named(index) => {
                let mut parts = self.schema.types[index as usize].name.rsplit('.');
                let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                format!("{package}.{name}")
            }
            Shape::List(index) => format!("[]{}", self.schema.shape_at(index).go_type()),
            Shape::Map(index) => format!("map[string]{}", self.schema.shape_at(index).go_type()),
        }
    }
}

impl Field {
    /// Keys that identify the items of a list of type [`ListType::Map`].
    pub fn list_keys(&self) -> &[Cow<'static, str>] {
        self.rarely.as_ref().map_or(&[], |r| &r.list_keys)
    }

    /// Key by which a strategic merge patch matches items.
    pub fn merge_key(&self) -> Option<&str> {
        self.rarely.as_ref()?.merge_key.as_deref()
    }

    /// Default as JSON text.
    pub fn default_json(&self) -> Option<&str> {
        self.rarely.as_ref()?.default.as_deref()
    }

    /// Protobuf tags from the outside in: several where JSON inlines a message that protobuf does not.
    /// Empty where none is known.
    pub fn tags(&self) -> &[u16] {
        match &self.rarely {
            Some(rarely) if !rarely.tags.is_empty() => &rarely.tags,
            _ if self.tag == 0 => &[],
            _ => std::slice::from_ref(&self.tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(ty: &str, name: &str) -> (&'static Field, ShapeRef<'static>) {
        let ty = builtin().by_name(ty).unwrap_or_else(|| panic!("no {ty}"));
        let field = ty.field(name).unwrap_or_else(|| panic!("no {name}"));
        (field, ty.shape(field))
    }

    #[test]
    fn what_the_table_knows() {
        let (ports, shape) = field("io.k8s.api.core.v1.ServiceSpec", "ports");
        assert_eq!(ports.list, ListType::Map);
        assert_eq!(ports.list_keys(), ["port", "protocol"]);
        assert_eq!(ports.merge_key(), Some("port"));
        assert!(ports.patch.merge && !ports.patch.retain_keys);
        assert_eq!(
            (ports.tags(), ports.required, shape.go_type().as_str()),
            (&[1][..], false, "[]v1.ServicePort")
        );
        let (selector, shape) = field("io.k8s.api.core.v1.ServiceSpec", "selector");
        assert_eq!(
            (selector.atomic, shape.go_type().as_str()),
            (Some(true), "map[string]string")
        );
        let (volumes, _) = field("io.k8s.api.core.v1.PodSpec", "volumes");
        assert!(volumes.patch.merge && volumes.patch.retain_keys);
        let (strategy, _) = field("io.k8s.api.apps.v1.DeploymentSpec", "strategy");
        assert!(strategy.patch.retain_keys && !strategy.patch.merge);
        let (empty_dir, _) = field("io.k8s.api.core.v1.Volume", "emptyDir");
        assert_eq!(empty_dir.tags(), [2, 2]);
        let (image, _) = field("io.k8s.api.core.v1.EphemeralContainer", "image");
        assert_eq!(image.tags(), [1, 2]);
        let (protocol, _) = field("io.k8s.api.core.v1.ContainerPort", "protocol");
        assert_eq!(protocol.default_json(), Some("\"TCP\""));
        let (finalizers, _) = field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers");
        assert_eq!((finalizers.list, finalizers.patch.merge), (ListType::Set, true));
        assert!(field("io.k8s.api.core.v1.PodSpec", "containers").0.required);
        let selector = builtin().by_name("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector");
        assert!(selector.expect("LabelSelector").atomic());
        let pod = builtin().by_kind("", "v1", "Pod").expect("Pod");
        assert_eq!((pod.name(), pod.go_name()), ("io.k8s.api.core.v1.Pod", "Pod"));
    }

    #[test]
    fn the_table_agrees_with_itself() {
        let descriptions = descriptions::Descriptions::load();
        let mut lines = 0;
        for ty in builtin().types() {
            assert!(ty.fields().is_sorted_by(|a, b| a.name < b.name), "{}", ty.name());
            assert_eq!(ty.description_index(), lines, "{}", ty.name());
            lines += 1 + ty.fields().len();
            for field in ty.fields() {
                let shape = ty.shape(field);
                let item = match shape.kind() {
                    Kind::List(item) => Some(item.kind()),
                    _ => None,
                };
                let place = format!("{} {}", ty.name(), field.name);
                assert_eq!(field.list == ListType::Map, !field.list_keys().is_empty(), "{place}");
                if let (Some(Kind::Struct(item)), true) = (item, field.list == ListType::Map) {
                    for key in field.list_keys() {
                        assert!(item.field(key).is_some(), "{place}: {key}");
                    }
                }
                if let (Some(Kind::Struct(item)), Some(key)) = (item, field.merge_key()) {
                    assert!(item.field(key).is_some(), "{place}: {key}");
                }
                if let Some(default) = field.default_json() {
                    serde_json::from_str::<serde_json::Value>(default).expect(&place);
                }
            }
        }
        assert_eq!(descriptions.count(), lines);
        let pod = builtin().by_kind("", "v1", "Pod").expect("Pod");
        assert!(
            descriptions
                .of_type(pod)
                .starts_with("Pod is a collection of containers")
        );
        let at = pod.fields().iter().position(|f| f.name == "spec").expect("spec");
        assert!(
            descriptions
                .of_field(pod, at)
                .starts_with("Specification of the desired behavior")
        );
    }

    #[test]
    fn declared_defaults() {
        let service = builtin().by_kind("", "v1", "Service").expect("Service");
        let mut object = serde_json::json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}});
        defaults::apply(service, object.as_object_mut().expect("an object"));
        assert_eq!(
            object,
            serde_json::json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}})
        );
    }
}
