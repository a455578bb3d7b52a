//! Drawing a table: only the rows on screen are formatted.

use jiff::{SignedDuration, Timestamp};
use mizzen_api::console::rows::RowId;
use mizzen_api::table::Severity;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr as _;

use super::{Empty, Table, key_of};
use crate::data::Row;
use crate::theme::{Theme, glyph};
use crate::view::Cx;

/// Widest that one column may be when others want room too.
const WIDEST: usize = 60;
/// Room before the first column: mark and glyph.
const GUTTER: u16 = 2;
/// Room between columns.
const GAP: u16 = 2;
/// Above this width messages of events fit into their rows mostly; below that height there is no room for more.
const ROOMY: u16 = 140;
const LOW: u16 = 10;
/// Lines for the message of the row under the cursor.
const MESSAGE: u16 = 2;
/// Ages below this change every second.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// A column on screen.
struct Place {
    column: Option<usize>,
    x: u16,
    width: u16,
}

pub(super) fn draw(table: &Table, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
    let area = draw_message(table, cx, frame, area);
    let height = usize::from(area.height.saturating_sub(1));
    table.height.set(height);
    table.width.set(usize::from(area.width));
    let shown = table.index.shown().len();
    if shown == 0 {
        return draw_empty(table, cx, frame, area);
    }
    let least = (table.at + 1).saturating_sub(height);
    let offset = table
        .offset
        .get()
        .min(table.at)
        .max(least)
        .min(shown.saturating_sub(height.min(shown)));
    table.offset.set(offset);
    let rows: Vec<(RowId, &Row)> = rows_on_screen(table);
    let (places, more) = layout(table, cx, &rows, area.width);
    let buffer = frame.buffer_mut();
    draw_headings(table, cx.theme, &places, more, buffer, area);
    for (at, (id, row)) in rows.iter().enumerate() {
        let y = area.y + 1 + at as u16;
        draw_row(
            table,
            cx,
            (*id, row),
            offset + at == table.at,
            &places,
            buffer,
            Rect { y, height: 1, ..area },
        );
    }
}

/// What an event says is longer than its row: below the rows it is told in full for the one under the cursor.
/// Gives the room that is left.
fn draw_message(table: &Table, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) -> Rect {
    let message = table.headings.iter().position(|heading| heading.name == "Message");
    let (Some(at), Some(row)) = (message, table.row_at(table.at)) else {
        return area;
    };
    if area.width > ROOMY || area.height < LOW {
        return area;
    }
    let [rows, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(1 + MESSAGE)]).areas(area);
    let rule = Block::new().borders(Borders::TOP).border_style(cx.theme.frame);
    let text = Paragraph::new(table.cell_text(row, Some(at), cx.now)).style(cx.theme.text);
    frame.render_widget(text.wrap(Wrap { trim: true }).block(rule), below);
    rows
}

fn rows_on_screen(table: &Table) -> Vec<(RowId, &Row)> {
    let rows = table.on_screen().iter();
    rows.filter_map(|id| Some((*id, &**table.index.get(*id)?))).collect()
}

/// Where the columns are, and whether some are hidden to the left and to the right.
fn layout(table: &Table, cx: &Cx<'_>, rows: &[(RowId, &Row)], width: u16) -> (Vec<Place>, (bool, bool)) {
    let columns = table.columns();
    // The namespace, where there is one, and the name stay in place.
    let frozen = columns.iter().take_while(|c| c.is_none()).count() + 1;
    // Room for the arrow of the sort beside every heading, where there is room: then columns stay in place
    // whichever is sorted by.
    let widest = |column: &Option<usize>| {
        let cells = rows
            .iter()
            .map(|(_, row)| table.cell_text(row, *column, cx.now).width());
        cells.max().unwrap_or(0)
    };
    let cells: Vec<usize> = columns.iter().map(widest).collect();
    let widths = |roomy: bool| -> Vec<u16> {
        let need = |(column, cells): (&Option<usize>, &usize)| {
            let heading = table.heading(*column);
            let sorted = table.sort.as_ref();
            let sorted = sorted.is_some_and(|sort| sort.column.eq_ignore_ascii_case(heading));
            let heading = heading.width() + usize::from(roomy || sorted);
            // Nothing comes after the last one.
            let most = if Some(column) == columns.last() {
                usize::from(width)
            } else {
                WIDEST
            };
            heading.max(*cells).min(most) as u16
        };
        columns.iter().zip(&cells).map(need).collect()
    };
    let mut wanted = widths(true);
    if wanted.iter().map(|width| width + GAP).sum::<u16>() > width.saturating_sub(GUTTER) + GAP {
        wanted = widths(false);
    }
    let mut places = Vec::new();
    let mut x = GUTTER;
    let mut right = false;
    let scrolled = table.scrolled.min(columns.len().saturating_sub(frozen));
    for (at, column) in columns.iter().enumerate() {
        if at >= frozen && at < frozen + scrolled {
            continue;
        }
        if x >= width {
            right = true;
            break;
        }
        let wanted = wanted[at];
        right |= x + wanted > width;
        let given = wanted.min(width - x);
        places.push(Place {
            column: *column,
            x,
            width: given,
        });
        x += wanted + GAP;
    }
    (places, (scrolled > 0, right))
}

/// The column whose heading is at a place; the outer `None` is none.
pub(super) fn column_at(table: &Table, x: u16, cx: &Cx<'_>) -> Option<Option<usize>> {
    let rows = rows_on_screen(table);
    let (places, _) = layout(table, cx, &rows, table.width.get() as u16);
    places
        .iter()
        .find(|p| x >= p.x && x < p.x + p.width + GAP)
        .map(|p| p.column)
}

fn draw_headings(
    table: &Table,
    theme: &Theme,
    places: &[Place],
    (left, right): (bool, bool),
    buffer: &mut Buffer,
    area: Rect,
) {
    let columns = table.columns();
    for place in places {
        let heading = table.heading(place.column);
        let arrow = match &table.sort {
            Some(sort) if sort.column.eq_ignore_ascii_case(heading) => {
                if sort.descending {
                    "↓"
                } else {
                    "↑"
                }
            }
            _ => "",
        };
        let chosen = table.column.is_some_and(|at| columns.get(at) == Some(&place.column));
        let style = if chosen {
            theme.accent.add_modifier(Modifier::REVERSED)
        } else {
            theme.accent
        };
        let text = format!("{}{arrow}", heading.to_uppercase());
        buffer.set_stringn(area.x + place.x, area.y, text, usize::from(place.width), style);
    }
    if left {
        buffer.set_string(area.x, area.y, "‹", theme.warn);
    }
    if right && area.width > 0 {
        buffer.set_string(area.right() - 1, area.y, "›", theme.warn);
    }
}

fn draw_row(
    table: &Table,
    cx: &Cx<'_>,
    (id, row): (RowId, &Row),
    selected: bool,
    places: &[Place],
    buffer: &mut Buffer,
    area: Rect,
) {
    let theme = cx.theme;
    let severity = row.row.severity();
    let marked = !table.marks.is_empty() && table.marks.contains(&key_of(row));
    let delta = table.deltas.get(&id).filter(|d| d.until > cx.now);
    let base = match (marked, cx.stale) {
        (true, _) => theme.marked,
        (false, true) => theme.muted.add_modifier(Modifier::DIM),
        (false, false) if severity == Severity::Muted => theme.done,
        (false, false) => theme.text,
    };
    if selected {
        buffer.set_style(area, theme.selected);
    }
    let (mark, mark_style) = match marked {
        true => ("✓", theme.marked),
        false => (glyph(severity), theme.of(severity)),
    };
    let over = |style: Style| if selected { style.patch(theme.selected) } else { style };
    buffer.set_stringn(area.x, area.y, mark, 1, over(mark_style));
    for place in places {
        let text = table.cell_text(row, place.column, cx.now);
        let cell = place.column.and_then(|at| row.row.cells.get(at));
        let style = match cell.map(|c| c.severity) {
            Some(severity) if severity > Severity::Muted && !cx.stale && !marked => theme.of(severity),
            _ => base,
        };
        let numeric = place.column.is_some_and(|at| table.headings[at].numeric);
        let indent = if numeric {
            usize::from(place.width).saturating_sub(text.width() + 1)
        } else {
            0
        };
        let x = area.x + place.x + indent as u16;
        let room = usize::from(place.width).saturating_sub(indent);
        let (end, _) = buffer.set_stringn(x, area.y, &text, room, over(style));
        let changed = place.column.and_then(|at| delta?.cells.get(&at));
        if let Some(mark) = changed
            && end < area.right()
        {
            buffer.set_stringn(end, area.y, mark, 1, over(theme.warn));
        }
        if text.width() > room && room > 0 {
            buffer.set_stringn(x + room as u16 - 1, area.y, "…", 1, over(style));
        }
    }
}

fn draw_empty(table: &Table, cx: &Cx<'_>, frame: &mut Frame<'_>, area: Rect) {
    let theme = cx.theme;
    let plural = &table.resource.plural;
    let scope = match (table.resource.namespaced(), table.namespaces.join(", ")) {
        (false, _) => String::new(),
        (true, all) if all.is_empty() => " in any namespace".to_owned(),
        (true, some) => format!(" in {some}"),
    };
    let (text, style) = match table.empty(cx) {
        _ if table.index.is_passing() => ("◐ filtering …".to_owned(), theme.progress),
        Empty::Syncing => (format!("◐ synchronizing {plural}{scope} …"), theme.progress),
        Empty::Filtered(count) => (
            format!(
                "none of {count} {plural} match{} (esc clears the filter)",
                match (&*table.filter, table.faults) {
                    ("", _) => " faults-only".to_owned(),
                    (filter, false) => format!(" /{filter}"),
                    (filter, true) => format!(" /{filter} with faults-only"),
                }
            ),
            theme.muted,
        ),
        Empty::Trouble(trouble) if trouble.code == 403 => (
            format!(
                "▲ forbidden: the verb list is missing on {plural}{scope}\n\n{}",
                trouble.message
            ),
            theme.warn,
        ),
        Empty::Trouble(trouble) if trouble.code == 401 => (
            format!("✖ the server refuses the credentials\n\n{}", trouble.message),
            theme.fail,
        ),
        Empty::Trouble(trouble) if trouble.code == 404 => (
            format!("the server does not serve {plural} (any more)\n\n{}", trouble.message),
            theme.warn,
        ),
        Empty::Trouble(trouble) => (format!("▲ {}, trying again", trouble.message), theme.warn),
        Empty::None => (format!("there are no {plural}{scope}"), theme.muted),
    };
    let lines: Vec<Line<'_>> = text.lines().map(|line| Line::styled(line, style).centered()).collect();
    let middle = Rect {
        y: area.y + area.height / 3,
        height: area.height - area.height / 3,
        ..area
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), middle);
}

/// When the next age on screen changes its text.
pub(super) fn next_age(table: &Table, cx: &Cx<'_>) -> Option<Timestamp> {
    let clock = table
        .headings
        .iter()
        .position(|h| matches!(h.name.as_str(), "Age" | "Last Seen"))?;
    let age = |id: &RowId| {
        let row = &table.index.get(*id)?.row;
        let age = row.cells.get(clock)?.sort?;
        Some(age + cx.now.as_second() - row.taken)
    };
    let youngest = table.on_screen().iter().filter_map(age).min()?;
    let step = match youngest < FRESH.as_secs() {
        true => SignedDuration::from_secs(1),
        false => SignedDuration::from_secs(60 - youngest.rem_euclid(60)),
    };
    Some(cx.now + step)
}
