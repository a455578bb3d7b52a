//! Lines with tabs, lined up at the end: every run of lines that have a cell in a column makes that
//! column as wide as its widest cell.

use serde_json::Value;

use crate::object::Object;
use crate::view::NONE;

/// Room between columns.
const PADDING: usize = 2;
/// Longest annotation that is shown on one line, and longest line of one that is not.
const MAX_ANNOTATION: usize = 140;

#[derive(Default)]
pub(super) struct Writer {
    done: String,
    pending: String,
}

impl Writer {
    /// Writes a line at an indentation of two spaces per level.
    pub(super) fn line(&mut self, level: usize, line: impl AsRef<str>) {
        self.pending.extend(std::iter::repeat_n("  ", level));
        self.pending.push_str(&escape(line.as_ref()));
        self.pending.push('\n');
    }

    /// Lines up what there is: later lines do not change it any more.
    pub(super) fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.done.push_str(&align(&pending));
    }

    pub(super) fn finish(mut self) -> String {
        self.flush();
        self.done
    }

    /// A title with a value per line.
    pub(super) fn multi(&mut self, title: &str, values: &[String]) {
        let indent = title.len() - title.trim_start().len();
        match values {
            [] => self.line(0, format!("{title}:\t{NONE}")),
            [first, rest @ ..] => {
                self.line(0, format!("{title}:\t{first}"));
                for value in rest {
                    self.line(0, format!("{}\t{value}", " ".repeat(indent)));
                }
            }
        }
    }

    /// `key=value`, one per line, sorted.
    pub(super) fn labels(&mut self, title: &str, labels: Option<&Object>) {
        let values: Vec<_> = sorted(labels).map(|(key, value)| format!("{key}={value}")).collect();
        self.multi(title, &values);
    }

    /// `key: value`, long ones below their key.
    pub(super) fn annotations(&mut self, title: &str, annotations: Option<&Object>) {
        let mut values = Vec::new();
        for (key, value) in sorted(annotations) {
            if key == "kubectl.kubernetes.io/last-applied-configuration" {
                continue;
            }
            let value = value.strip_suffix('\n').unwrap_or(value);
            if key.len() + value.len() + 2 > MAX_ANNOTATION || value.contains('\n') {
                values.push(format!("{key}:"));
                values.extend(value.split('\n').map(|line| format!("  {}", shorten(line))));
            } else {
                values.push(format!("{key}: {value}"));
            }
        }
        self.multi(title, &values);
    }
}

fn sorted(map: Option<&Object>) -> impl Iterator<Item = (&str, &str)> {
    let mut entries: Vec<_> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    entries.sort_unstable();
    entries.into_iter()
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(MAX_ANNOTATION - 2) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// Text of others must not steer the reader's terminal.
fn escape(line: &str) -> std::borrow::Cow<'_, str> {
    if line.contains(['\x1b', '\r']) {
        return line.replace('\x1b', "^[").replace('\r', "\\r").into();
    }
    line.into()
}

/// Lines up the tab-separated cells of a text.
pub(super) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    block(&lines, &mut Vec::new(), &mut out);
    out
}

/// Lays out lines whose first columns have these widths.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    // The last cell of a line ends it and has no column.
    let has_column = |line: &Vec<&str>| column + 1 < line.len();
    let mut rest = lines;
    while !rest.is_empty() {
        let plain = rest.iter().position(has_column).unwrap_or(rest.len());
        rest[..plain].iter().for_each(|line| write(line, widths, out));
        rest = &rest[plain..];
        let run = rest.iter().position(|line| !has_column(line)).unwrap_or(rest.len());
        if run > 0 {
            let cells = rest[..run].iter().map(|line| line[column].chars().count() + PADDING);
            widths.push(cells.max().unwrap_or(0));
            block(&rest[..run], widths, out);
            widths.pop();
        }
        rest = &rest[run..];
    }
}

fn write(line: &[&str], widths: &[usize], out: &mut String) {
    for (at, cell) in line.iter().enumerate() {
        out.push_str(cell);
        if let Some(width) = widths.get(at) {
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    out.push('\n');
}

/// `True` and `False`, as descriptions write flags.
pub(super) fn yes_no(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A map's entries sorted by key.
pub(super) fn entries(map: Option<&Object>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_run_of_lines_needs() {
        let text = "a:\tb\nlonger:\tc\n  x:\n    in:\t1\n    inner:\t2\nz:\tq\tr\nzz:\tqq\tr\n";
        insta::assert_snapshot!(align(text), @r"
        a:       b
        longer:  c
          x:
            in:     1
            inner:  2
        z:          q   r
        zz:         qq  r
        ");
    }
}
