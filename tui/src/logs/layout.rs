//! One line of a log as rows of the screen: prefix, colours, matches, wrapped or cut, JSON spread out.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::ansi;
use super::filter::Pattern;
use super::palette::Palette;
use super::ring::{Kind, Line};
use super::severity::Severity;

const TAB_COLUMNS: usize = 8;
/// A line takes no more rows than this when it is wrapped.
const ROWS_MAX: usize = 200;

/// How lines are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How<'a> {
    pub(super) width: usize,
    /// Columns that are scrolled out at the left.
    pub(super) left: usize,
    pub(super) wrap: bool,
    pub(super) pretty: bool,
    pub(super) time: bool,
    /// Width of sources' names; none when zero.
    pub(super) source_width: usize,
    pub(super) filter: Option<&'a Pattern>,
    pub(super) search: Option<&'a Pattern>,
}

/// A row of the screen: pieces of text, each with its style.
pub(super) type Row = Vec<(Style, String)>;

/// Lays a line out.
pub(super) fn rows(line: &Line<'_>, source: &str, how: &How<'_>, palette: &Palette) -> Vec<Row> {
    let prefix = prefix(line, source, how, palette);
    let prefix_width: usize = prefix.iter().map(|(_, text)| text.width()).sum();
    let room = how.width.saturating_sub(prefix_width).max(1);
    let mut rows = Vec::new();
    for pieces in texts(line, how, palette) {
        let columns = mark_matches(pieces, how, palette);
        match how.wrap {
            true => wrap(columns, room, &mut rows),
            false => rows.push(cut(columns, how.left, room)),
        }
        if rows.len() >= ROWS_MAX {
            rows.truncate(ROWS_MAX);
            break;
        }
    }
    let indent = " ".repeat(prefix_width);
    for (index, row) in rows.iter_mut().enumerate() {
        match index {
            0 => drop(row.splice(0..0, prefix.iter().cloned())),
            _ => row.insert(0, (palette.text, indent.clone())),
        }
    }
    rows
}

fn prefix(line: &Line<'_>, source: &str, how: &How<'_>, palette: &Palette) -> Row {
    let mut prefix = Vec::new();
    if line.kind == Kind::Mark {
        return prefix;
    }
    if how.time {
        let time = line.time.map(|time| format!("{time:.3} "));
        let blank = " ".repeat("2026-01-01T00:00:00.000Z ".len());
        prefix.push((palette.time, time.unwrap_or(blank)));
    }
    if how.source_width > 0 {
        let style = palette.source(line.source);
        prefix.push((style, fit(source, how.source_width)));
        prefix.push((style, " ".to_owned()));
    }
    // A glyph besides the colour, for whoever does not see it.
    let glyph = match (line.kind, line.severity) {
        (Kind::Note, _) => "·",
        (_, Severity::Error) => "✖",
        (_, Severity::Warning) => "▲",
        _ => " ",
    };
    prefix.push((palette.severity(line.severity), format!("{glyph} ")));
    prefix
}

/// A name in exactly so many columns; of a long one the end, which tells Pods apart.
pub(super) fn fit(name: &str, width: usize) -> String {
    let long = name.chars().count();
    match long > width {
        true => std::iter::once('…')
            .chain(name.chars().skip(long - width + 1))
            .collect(),
        false => format!("{name:<width$}"),
    }
}

/// The texts of a line: one, or of JSON that is spread out several.
fn texts<'a>(line: &Line<'a>, how: &How<'_>, palette: &Palette) -> Vec<Vec<(Style, std::borrow::Cow<'a, str>)>> {
    let base = match line.kind {
        Kind::Text => palette.severity(line.severity),
        Kind::Note => palette.note,
        Kind::Mark => palette.mark,
    };
    if line.kind == Kind::Mark {
        let rest = how.width.saturating_sub(line.text.width() + 4);
        let text = format!("── {} {}", line.text, "─".repeat(rest));
        return vec![vec![(base, text.into())]];
    }
    if how.pretty
        && let Some(start) = line.text.find('{')
        && let Ok(value @ Value::Object(_)) = serde_json::from_str(&line.text[start..])
    {
        let mut all = Vec::new();
        if !line.text[..start].trim().is_empty() {
            all.push(vec![(base, line.text[..start].trim_end().into())]);
        }
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        all.extend(text.lines().map(|row| json_row(row, base, palette)));
        return all;
    }
    match line.coloured {
        true => vec![
            ansi::spans(line.text, base)
                .map(|(style, text)| (style, text.into()))
                .collect(),
        ],
        false => vec![vec![(base, line.text.into())]],
    }
}

fn json_row<'a>(row: &str, base: Style, palette: &Palette) -> Vec<(Style, std::borrow::Cow<'a, str>)> {
    match row.split_once("\": ") {
        Some((key, value)) if key.trim_start().starts_with('"') => {
            vec![
                (palette.key, format!("{key}\": ").into()),
                (base, value.to_owned().into()),
            ]
        }
        _ => vec![(base, row.to_owned().into())],
    }
}

/// One grapheme with its style and width.
struct Column {
    style: Style,
    text: String,
    width: usize,
}

/// The line's graphemes, those that match in the style of matches.
fn mark_matches(pieces: Vec<(Style, std::borrow::Cow<'_, str>)>, how: &How<'_>, palette: &Palette) -> Vec<Column> {
    let whole: String = pieces.iter().map(|(_, text)| &**text).collect();
    let mut places: Vec<(usize, usize)> = [how.filter, how.search]
        .into_iter()
        .flatten()
        .flat_map(|pattern| pattern.places(&whole))
        .collect();
    places.sort_unstable();
    let mut columns = Vec::with_capacity(whole.len());
    let (mut at, mut used) = (0, 0);
    for (style, text) in &pieces {
        for grapheme in text.graphemes(true) {
            while places.first().is_some_and(|(_, end)| *end <= at) {
                places.remove(0);
            }
            let is_match = places.first().is_some_and(|(start, end)| (*start..*end).contains(&at));
            at += grapheme.len();
            let (text, width) = match grapheme {
                "\t" => {
                    let width = TAB_COLUMNS - used % TAB_COLUMNS;
                    (" ".repeat(width), width)
                }
                other => (other.to_owned(), other.width()),
            };
            used += width;
            let style = if is_match { style.patch(palette.matched) } else { *style };
            columns.push(Column { style, text, width });
        }
    }
    columns
}

fn append(row: &mut Row, column: Column) {
    match row.last_mut() {
        Some((style, text)) if *style == column.style => text.push_str(&column.text),
        _ => row.push((column.style, column.text)),
    }
}

fn wrap(columns: Vec<Column>, room: usize, rows: &mut Vec<Row>) {
    let mut row = Vec::new();
    let mut used = 0;
    for column in columns {
        if used + column.width > room && used > 0 {
            rows.push(std::mem::take(&mut row));
            used = 0;
            if rows.len() >= ROWS_MAX {
                return;
            }
        }
        used += column.width;
        append(&mut row, column);
    }
    rows.push(row);
}

fn cut(columns: Vec<Column>, left: usize, room: usize) -> Row {
    let mut row = Vec::new();
    let mut at = 0;
    for column in columns {
        let end = at + column.width;
        if end > left + room {
            break;
        }
        if at >= left {
            append(&mut row, column);
        } else if end > left {
            // Half of a wide character is blank.
            row.push((column.style, " ".repeat(end - left)));
        }
        at = end;
    }
    row
}

/// Puts a row on the screen.
pub(super) fn draw(row: &Row, area: Rect, y: u16, buffer: &mut Buffer) {
    let mut x = area.x;
    for (style, text) in row {
        let room = usize::from(area.right().saturating_sub(x));
        if room == 0 {
            return;
        }
        (x, _) = buffer.set_stringn(x, y, text, room, *style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::ring::Ring;

    fn check(text: &str, how: How<'_>) -> String {
        let mut ring = Ring::default();
        ring.push(0, Kind::Text, "2026-01-01T00:00:01.5Z".parse().ok(), text.as_bytes());
        let line = ring.get(0).expect("a line");
        let rows = rows(&line, "web-1", &how, &Palette::default());
        let text = |row: &Row| row.iter().map(|(_, text)| text.as_str()).collect::<String>();
        rows.iter()
            .map(|row| format!("|{}|", text(row)))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn lines_are_cut_scrolled_and_wrapped() {
        let how = How {
            width: 12,
            ..How::default()
        };
        insta::assert_snapshot!(check("abcdefghijklmnop", how), @"|  abcdefghij|");
        insta::assert_snapshot!(check("abcdefghijklmnop", How { left: 4, ..how }), @"|  efghijklmn|");
        insta::assert_snapshot!(check("abcdefghijklmnop", How { wrap: true, ..how }), @"
        |  abcdefghij|
        |  klmnop|
        ");
        insta::assert_snapshot!(check("a\tb", How { width: 20, ..how }), @"|  a       b|");
        insta::assert_snapshot!(check("日本語日本語", How { wrap: true, width: 9, ..how }), @"
        |  日本語|
        |  日本語|
        ");
        insta::assert_snapshot!(check("日本語", How { left: 1, ..how }), @"|   本語|");
        insta::assert_snapshot!(check("ERROR x", How { time: true, source_width: 4, width: 60, ..how }), @"|2026-01-01T00:00:01.500Z …b-1 ✖ ERROR x|");
    }

    #[test]
    fn json_is_spread_out_on_request() {
        let how = How {
            width: 40,
            pretty: true,
            ..How::default()
        };
        insta::assert_snapshot!(check(r#"app: {"level":"error","at":{"line":7}}"#, how), @r#"
        |✖ app:|
        |  {|
        |    "at": {|
        |      "line": 7|
        |    },|
        |    "level": "error"|
        |  }|
        "#);
        insta::assert_snapshot!(check("{not json}", how), @"|  {not json}|");
    }

    #[test]
    fn matches_are_marked_across_colours() {
        let mut ring = Ring::default();
        ring.push(0, Kind::Text, None, b"a\x1b[31mbc\x1b[0mde");
        let pattern = Pattern::new("bcd");
        let how = How {
            width: 20,
            search: pattern.as_ref(),
            ..How::default()
        };
        let palette = Palette::default();
        let rows = rows(&ring.get(0).expect("a line"), "", &how, &palette);
        let marked: String = rows[0]
            .iter()
            .filter(|(style, _)| style.add_modifier.contains(palette.matched.add_modifier))
            .map(|(_, text)| text.as_str())
            .collect();
        assert_eq!(marked, "bcd");
    }
}
