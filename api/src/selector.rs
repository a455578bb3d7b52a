//! Label and field selectors: read from what people type and what objects hold, matched against labels.
//!
//! The grammar and the words of its errors are upstream's, since clients show them.

mod fields;
mod lexer;

use std::fmt;

use serde_json::Value;

pub use fields::{FieldRequirement, FieldSelector};
use lexer::{Lexer, Token};

use crate::object::Object;
use crate::status::FieldError;
use crate::validation;

/// Labels as some holder keeps them: an object's map, a cache entry's sorted pairs.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Object {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// Pairs sorted by key.
impl Labels for [(Box<str>, Box<str>)] {
    fn label(&self, key: &str) -> Option<&str> {
        let at = self.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self[at].1)
    }
}

impl<K, V> Labels for std::collections::BTreeMap<K, V>
where
    K: std::borrow::Borrow<str> + Ord,
    V: AsRef<str>,
{
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(AsRef::as_ref)
    }
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key==value`
    DoubleEquals,
    /// `key!=value`
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: Box<str>,
    /// How to compare.
    pub operator: Operator,
    /// With what; sorted.
    pub values: Vec<Box<str>>,
}

impl Requirement {
    /// Whether the labels meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        let among = |value: &str| self.values.iter().any(|v| **v == *value);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|v| number(v));
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(among),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v > b),
            Operator::LessThan => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v < b),
        }
    }

    fn new(key: &str, operator: Operator, mut values: Vec<Box<str>>) -> Result<Self, String> {
        values.sort();
        values.dedup();
        let count = |fits: bool, why: &str| (!fits).then(|| FieldError::invalid("values", list(&values), why));
        let mut errors = Vec::new();
        errors.extend(key_error("key", key));
        errors.extend(match operator {
            Operator::In | Operator::NotIn => count(
                !values.is_empty(),
                "for 'in', 'notin' operators, values set can't be empty",
            ),
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                count(values.len() == 1, "exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist => count(
                values.is_empty(),
                "values set must be empty for exists and does not exist",
            ),
            Operator::GreaterThan | Operator::LessThan => count(
                values.len() == 1,
                "for 'Gt', 'Lt' operators, exactly one value is required",
            ),
        });
        for (at, value) in values.iter().enumerate() {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(format!("values[{at}]"), &**value, why));
            }
            let problems = validation::label_value(value);
            if !problems.is_empty() {
                let field = format!("values[{at}][{key}]");
                errors.push(FieldError::invalid(field, &**value, problems.join("; ")));
            }
        }
        aggregate(&errors)?;
        Ok(Self {
            key: key.into(),
            operator,
            values,
        })
    }
}

fn list(values: &[Box<str>]) -> Value {
    values.iter().map(|v| Value::from(&**v)).collect()
}

fn key_error(field: &str, key: &str) -> Option<FieldError> {
    let problems = validation::qualified_name(key);
    (!problems.is_empty()).then(|| FieldError::invalid(field, key, problems.join("; ")))
}

/// Several errors as upstream's aggregate prints them.
fn aggregate(errors: &[FieldError]) -> Result<(), String> {
    match errors {
        [] => Ok(()),
        [one] => Err(one.to_string()),
        many => {
            let all: Vec<_> = many.iter().map(ToString::to_string).collect();
            Err(format!("[{}]", all.join(", ")))
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// Conditions on labels, all of which must hold. Without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches nothing: what an absent selector in an object means.
    pub fn nothing() -> Self {
        Self {
            nothing: true,
            ..Self::default()
        }
    }

    /// Reads `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = Parser(Lexer::new(text)).requirements()?;
        Ok(Self::of(requirements))
    }

    /// All pairs of a plain map, as Services and ReplicationControllers select. An absent map selects
    /// nothing.
    pub fn from_map(map: Option<&Object>) -> Self {
        let Some(map) = map else { return Self::nothing() };
        let equals = |(key, value): (&String, &Value)| Requirement {
            key: key.as_str().into(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().into()],
        };
        Self::of(map.iter().map(equals).collect())
    }

    /// The `LabelSelector` of an object (`matchLabels`, `matchExpressions`). An absent one selects
    /// nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, String> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Self::from_map(selector.get("matchLabels").and_then(Value::as_object)).requirements;
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(Into::into).collect();
            let key = expression["key"].as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements,
            nothing: false,
        }
    }

    /// Whether the labels meet every condition.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

struct Parser<'a>(Lexer<'a>);

impl Parser<'_> {
    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            let (token, text) = self.0.peek_value();
            match token {
                Token::Identifier | Token::Bang => {
                    let requirement = self.requirement();
                    requirements.push(requirement.map_err(|e| format!("unable to parse requirement: {e}"))?);
                    let (token, text) = self.0.next_value();
                    match token {
                        Token::End => return Ok(requirements),
                        Token::Comma => {
                            let (token, text) = self.0.peek_value();
                            if !matches!(token, Token::Identifier | Token::Bang) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        _ => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                Token::End => return Ok(requirements),
                _ => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.0.next_value();
        let negated = token == Token::Bang;
        if negated {
            (token, key) = self.0.next_value();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        // Upstream has no path here, and says so.
        aggregate(key_error("<nil>", &key).as_slice())?;
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.0.peek_value().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.0.next_operator();
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<Vec<Box<str>>, String> {
        if matches!(self.0.peek_value().0, Token::End | Token::Comma) {
            return Ok(vec!["".into()]);
        }
        match self.0.next_value() {
            (Token::Identifier, text) => Ok(vec![text.into()]),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<Box<str>>, String> {
        let (token, text) = self.0.next_value();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let (token, text) = self.0.peek_value();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                match self.0.next_value() {
                    (Token::Close, _) => Ok(values),
                    _ => Err(format!("found '{text}', expected: ')'")),
                }
            }
            Token::Close => {
                self.0.next_value();
                Ok(Vec::new())
            }
            _ => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// A list in which empty items count as empty values.
    fn identifiers(&mut self) -> Result<Vec<Box<str>>, String> {
        let mut values: Vec<Box<str>> = Vec::new();
        loop {
            match self.0.next_value() {
                (Token::Identifier, text) => {
                    values.push(text.into());
                    match self.0.peek_value() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push("".into());
                    }
                    match self.0.peek_value().0 {
                        Token::Close => {
                            values.push("".into());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.0.next_value();
                            values.push("".into());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_reads_as_upstream_reads_it() {
        for (text, expect) in [
            ("", ""),
            ("  ", ""),
            ("x", "x"),
            ("!x", "!x"),
            ("b=2,a=1", "a=1,b=2"),
            ("a==1 , b != 2", "a==1,b!=2"),
            ("a in (y, x,x)", "a in (x,y)"),
            ("a notin (x)", "a notin (x)"),
            ("a in (,x)", "a in (,x)"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
            ("in in (in)", "in in (in)"),
            ("a>1,b<2", "a>1,b<2"),
            ("k8s.io/name=x", "k8s.io/name=x"),
        ] {
            assert_eq!(
                LabelSelector::parse(text).map(|s| s.to_string()),
                Ok(expect.to_owned()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        let all = [
            "a in", "a in (", "a in (x", "a in x", "a,", ",a", "a b", "a=b c", "!", "a=(", "a=b=c", "a>x", "a in ()",
            "a/b/c=d", "a=-", "a<>b", "!a=b",
        ]
        .map(|text| format!("{text}: {}", LabelSelector::parse(text).expect_err(text)));
        insta::assert_snapshot!(all.join("\n"), @r#"
        a in: unable to parse requirement: found '' expected: '('
        a in (: unable to parse requirement: found '', expected: ',', ')' or identifier
        a in (x: unable to parse requirement: found '', expected: ',' or ')'
        a in x: unable to parse requirement: found 'x' expected: '('
        a,: found '', expected: identifier after ','
        ,a: found ',', expected: !, identifier, or 'end of string'
        a b: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt
        a=b c: found 'c', expected: ',' or 'end of string'
        !: unable to parse requirement: found '', expected: identifier
        a=(: unable to parse requirement: found '(', expected: identifier
        a=b=c: found '=', expected: ',' or 'end of string'
        a>x: unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer
        a in (): unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty
        a/b/c=d: unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
        a=-: unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        a<>b: unable to parse requirement: found '>', expected: identifier
        !a=b: found '=', expected: ',' or 'end of string'
        "#);
    }

    #[test]
    fn requirements_match_labels() {
        let labels = json!({"app": "web", "tier": "front", "n": "5"});
        let labels = labels.as_object().expect("an object");
        for (text, expect) in [
            ("", true),
            ("app", true),
            ("app=web", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("missing!=web", true),
            ("app in (web,db)", true),
            ("missing in (web)", false),
            ("missing notin (web)", true),
            ("!missing", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>5", false),
        ] {
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches(labels), expect, "{text:?}");
        }
    }

    #[test]
    fn objects_select_as_upstream_says() {
        let none: Option<&Object> = None;
        let of = |value: Value| LabelSelector::from_object(Some(&value));
        assert!(
            !LabelSelector::from_object(None)
                .expect("a selector")
                .matches(&Object::new())
        );
        assert!(!LabelSelector::from_map(none).matches(&Object::new()));
        assert!(of(json!({})).expect("a selector").is_everything());
        assert_eq!(
            of(json!({"matchLabels": {"a": "b"}, "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "d", "operator": "DoesNotExist"}]}))
            .map(|s| s.to_string()),
            Ok("a=b,c in (x,y),!d".to_owned())
        );
        assert_eq!(
            of(json!({"matchExpressions": [{"key": "c", "operator": "Is"}]})),
            Err("\"Is\" is not a valid label selector operator".to_owned())
        );
    }
}
