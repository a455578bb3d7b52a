//! What differs between two objects, or two texts, line by line.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::yaml;

/// What a line of a diff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// In both.
    Same,
    /// Only before.
    Removed,
    /// Only after.
    Added,
}

impl Kind {
    /// As unified diffs mark it.
    pub fn sign(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Removed => '-',
            Self::Added => '+',
        }
    }
}

/// A line of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Its number before, from 1.
    pub before: Option<usize>,
    /// Its number after, from 1.
    pub after: Option<usize>,
    /// Its parts, each with whether it is what changed within the line.
    pub parts: Vec<(bool, String)>,
}

impl Line {
    /// The whole line.
    pub fn text(&self) -> String {
        self.parts.iter().map(|(_, part)| part.as_str()).collect()
    }
}

/// Lines that belong together, with some that are the same around them.
pub type Hunk = Vec<Line>;

/// Two lines side by side; one is missing where there is nothing beside the other.
pub type Pair = (Option<Line>, Option<Line>);

/// Which parts of objects are left out of a diff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Show `status`.
    pub status: bool,
}

/// An object without what changes by itself.
pub fn tidy(object: &Value, noise: Noise) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "managedFields",
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
            "selfLink",
        ] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    if let (Some(fields), false) = (object.as_object_mut(), noise.status) {
        fields.remove("status");
    }
    object
}

/// The hunks in which two objects' YAML differs; none when nothing does.
pub fn objects(before: &Value, after: &Value, noise: Noise) -> Vec<Hunk> {
    let text = |object: &Value| match object {
        Value::Null => String::new(),
        object => yaml::to_string(&tidy(object, noise)),
    };
    texts(&text(before), &text(after))
}

/// The hunks in which two texts differ.
pub fn texts(before: &str, after: &str) -> Vec<Hunk> {
    let diff = TextDiff::from_lines(before, after);
    diff.grouped_ops(3)
        .iter()
        .map(|ops| {
            ops.iter()
                .flat_map(|op| diff.iter_inline_changes(op))
                .map(|change| line(&change))
                .collect()
        })
        .collect()
}

fn line(change: &similar::InlineChange<'_, str>) -> Line {
    let mut parts: Vec<(bool, String)> = change
        .iter_strings_lossy()
        .map(|(changed, text)| (changed, text.trim_end_matches('\n').to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    // Where all of a line changed there is nothing to mark within it.
    if parts.iter().all(|(changed, text)| *changed || text.trim().is_empty()) {
        parts.iter_mut().for_each(|(changed, _)| *changed = false);
    }
    Line {
        kind: match change.tag() {
            ChangeTag::Equal => Kind::Same,
            ChangeTag::Delete => Kind::Removed,
            ChangeTag::Insert => Kind::Added,
        },
        before: change.old_index().map(|at| at + 1),
        after: change.new_index().map(|at| at + 1),
        parts,
    }
}

/// The merge patch (RFC 7386) that makes `after` of `before`.
pub fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return after.clone();
    };
    let mut patch = serde_json::Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(known) if known == value => {}
            Some(known) => drop(patch.insert(key.clone(), merge_patch(known, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    patch.extend(gone.map(|key| (key.clone(), Value::Null)));
    patch.into()
}

/// Whether two versions of an object differ at most in what changes by itself: an edit of one is as good on the
/// other, and nobody needs to be asked again.
pub fn is_untouched(before: &Value, newest: &Value) -> bool {
    tidy(before, Noise::default()) == tidy(newest, Noise::default())
}

/// What was edited, on top of a newer version of the object: the edit's differences, not its text.
pub fn carry_over(before: &Value, edited: &Value, newest: &Value) -> Value {
    let mut change = merge_patch(before, edited);
    if let Some(metadata) = change.get_mut("metadata").and_then(Value::as_object_mut) {
        // Those are the newest version's own.
        metadata.retain(|field, _| !matches!(field.as_str(), "resourceVersion" | "managedFields" | "generation"));
    }
    let mut carried = newest.clone();
    json_patch::merge(&mut carried, &change);
    carried
}

/// A hunk for two columns: removed lines beside the added ones that took their place.
pub fn side_by_side(hunk: &[Line]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    let (mut removed, mut added): (Vec<&Line>, Vec<&Line>) = (Vec::new(), Vec::new());
    let flush = |removed: &mut Vec<&Line>, added: &mut Vec<&Line>, pairs: &mut Vec<Pair>| {
        for at in 0..removed.len().max(added.len()) {
            pairs.push((
                removed.get(at).map(|l| (*l).clone()),
                added.get(at).map(|l| (*l).clone()),
            ));
        }
        removed.clear();
        added.clear();
    };
    for line in hunk {
        match line.kind {
            Kind::Removed => {
                if !added.is_empty() {
                    flush(&mut removed, &mut added, &mut pairs);
                }
                removed.push(line);
            }
            Kind::Added => added.push(line),
            Kind::Same => {
                flush(&mut removed, &mut added, &mut pairs);
                pairs.push((Some(line.clone()), Some(line.clone())));
            }
        }
    }
    flush(&mut removed, &mut added, &mut pairs);
    pairs
}

/// Hunks as a unified diff without file names: `@@` lines, then lines with their signs.
pub fn unified(hunks: &[Hunk]) -> Vec<String> {
    let mut out = Vec::new();
    for hunk in hunks {
        let span = |number: fn(&Line) -> Option<usize>| {
            let mut numbers = hunk.iter().filter_map(number);
            let first = numbers.next();
            (first.unwrap_or(0), usize::from(first.is_some()) + numbers.count())
        };
        let ((before, removed), (after, added)) = (span(|l| l.before), span(|l| l.after));
        out.push(format!("@@ -{before},{removed} +{after},{added} @@"));
        out.extend(hunk.iter().map(|line| format!("{}{}", line.kind.sign(), line.text())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(image: &str, replicas: i64, revision: &str) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web", "resourceVersion": revision, "managedFields": [{}]},
            "spec": {"a": 1, "b": 2, "c": 3, "d": 4, "image": image, "replicas": replicas}, "status": {"r": revision}})
    }

    #[test]
    fn only_what_was_meant_to_change_is_told() {
        let (old, new) = (deployment("reg/web:1", 2, "5"), deployment("reg/web:2", 2, "6"));
        let hunks = objects(&old, &new, Noise::default());
        insta::assert_snapshot!(unified(&hunks).join("\n"), @r"
        @@ -6,5 +6,5 @@
           b: 2
           c: 3
           d: 4
        -  image: reg/web:1
        +  image: reg/web:2
           replicas: 2
        ");
        let marked: Vec<_> = hunks[0]
            .iter()
            .flat_map(|l| &l.parts)
            .filter(|(changed, _)| *changed)
            .collect();
        insta::assert_snapshot!(format!("{marked:?}"), @r#"[(true, "reg/web:1"), (true, "reg/web:2")]"#);
        assert!(objects(&old, &deployment("reg/web:1", 2, "7"), Noise::default()).is_empty());
        assert_eq!(
            objects(&old, &new, Noise { status: true })
                .concat()
                .iter()
                .filter(|l| l.kind != Kind::Same)
                .count(),
            4
        );
    }

    #[test]
    fn a_change_can_be_carried_over() {
        let (old, new) = (
            json!({"a": {"b": 1, "c": 2}, "d": [1]}),
            json!({"a": {"b": 1, "e": 3}, "d": [2]}),
        );
        let patch = merge_patch(&old, &new);
        assert_eq!(patch, json!({"a": {"c": null, "e": 3}, "d": [2]}));
        let mut newest = json!({"a": {"b": 9, "c": 2}, "d": [1]});
        json_patch::merge(&mut newest, &patch);
        assert_eq!(newest, json!({"a": {"b": 9, "e": 3}, "d": [2]}));
        let mine = json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "mine"}});
        let theirs = json!({"metadata": {"resourceVersion": "2"}, "data": {"a": "0", "b": "theirs"}});
        let base = json!({"metadata": {"resourceVersion": "1", "managedFields": []}, "data": {"a": "0"}});
        assert_eq!(
            carry_over(&base, &mine, &theirs),
            json!({"metadata": {"resourceVersion": "2"}, "data": {"a": "mine", "b": "theirs"}})
        );
    }

    #[test]
    fn an_object_is_untouched_when_only_its_status_moved() {
        let before = json!({"metadata": {"resourceVersion": "1"}, "spec": {"a": 1}, "status": {"ready": 0}});
        let mut newest = json!({"metadata": {"resourceVersion": "2"}, "spec": {"a": 1}, "status": {"ready": 1}});
        assert!(is_untouched(&before, &newest));
        newest["metadata"]["labels"] = json!({"a": "b"});
        assert!(!is_untouched(&before, &newest));
    }

    #[test]
    fn columns_stand_beside_each_other() {
        let hunks = texts("a\nb\nc\nd\n", "a\nB\nd\ne\n");
        let column = |line: &Option<Line>| {
            line.as_ref()
                .map(|l| format!("{}{}", l.kind.sign(), l.text()))
                .unwrap_or_default()
        };
        let rows: Vec<_> = side_by_side(&hunks[0])
            .iter()
            .map(|(a, b)| format!("{:4}|{}", column(a), column(b)))
            .collect();
        insta::assert_snapshot!(rows.join("\n"), @r"
         a  | a
        -b  |+B
        -c  |
         d  | d
            |+e
        ");
        insta::assert_snapshot!(unified(&texts("", "x\n")).join("\n"), @r"
        @@ -0,0 +1,1 @@
        +x
        ");
    }
}
