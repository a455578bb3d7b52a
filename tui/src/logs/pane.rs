//! The log view's state: where it stands, what it shows, and drawing it.
//!
//! It knows lines and positions by their numbers, so that nothing moves while lines come and go. Following means that
//! the last row shown is the last line; otherwise the first row stays where it is.

use std::io::{self, Write};

use mizzen_api::client::logs::{Event, Source};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde::{Deserialize, Serialize};

use super::ansi;
use super::filter::{Filter, Pattern, Wanted};
use super::layout::{self, How, Row};
use super::palette::Palette;
use super::ring::{Kind, Line, Ring};
use super::severity::Severity;

/// Lines that a filter looks at between two frames.
const STEP_LINES: usize = 16 << 10;
/// Sources' names take no more columns than this.
const SOURCE_WIDTH_MAX: usize = 32;
/// Columns that one key scrolls sideways.
const SIDEWAYS: usize = 16;

/// How lines are shown; kept from one log to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Long lines take several rows.
    pub wrap: bool,
    /// Lines start with their time.
    pub time: bool,
    /// JSON is spread out.
    pub pretty: bool,
    /// New lines do not scroll back to the left.
    pub column_lock: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            wrap: false,
            time: false,
            pretty: false,
            column_lock: true,
        }
    }
}

/// A place in the log: a line, and of its rows the first that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: i64,
    row: usize,
}

/// A log view.
#[derive(Debug, Default)]
pub struct Pane {
    ring: Ring,
    filter: Filter,
    /// Whether all lines were filtered.
    filtered: bool,
    search: Option<Pattern>,
    /// The line that the search went to.
    found: Option<i64>,
    sources: Vec<Source>,
    labels: Vec<String>,
    look: Look,
    /// The first row shown; `None` while following.
    top: Option<Place>,
    left: usize,
    caught_up: bool,
    /// All older lines were loaded, or cannot be.
    complete: bool,
    /// Rows and columns when it was drawn last.
    size: (usize, usize),
}

impl Pane {
    /// An empty view.
    pub fn new(look: Look) -> Self {
        Self {
            look,
            filtered: true,
            ..Self::default()
        }
    }

    /// Takes in news of the logs.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Source(id, source) => {
                debug_assert_eq!(*id, self.sources.len());
                self.sources.push(source.clone());
                self.labels = labels(&self.sources);
            }
            Event::Lines(id, block) => {
                self.ring.ingest(source_index(*id), block);
                self.filtered = false;
                if self.top.is_none() && !self.look.column_lock {
                    self.left = 0;
                }
            }
            Event::Note(id, text) => {
                let now = jiff::Timestamp::now();
                self.ring
                    .push(source_index(*id), Kind::Note, Some(now), text.as_bytes());
                self.filtered = false;
            }
            Event::CaughtUp => self.caught_up = true,
        }
    }

    /// Does a part of what filtering is left; `true` when there is more, and the view should be drawn again soon.
    pub fn step(&mut self) -> bool {
        if !self.filtered {
            self.filtered = self.filter.advance(&self.ring, STEP_LINES);
        }
        !self.filtered
    }

    /// The lines.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Where the lines come from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How lines are shown.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Whether it follows the end.
    pub fn follows(&self) -> bool {
        self.top.is_none()
    }

    /// Whether what there was has come.
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// Lines shown, and lines there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.filter.count(&self.ring), self.ring.len())
    }

    /// Follows the end, or stops where it is.
    pub fn set_follow(&mut self, follow: bool) {
        match follow {
            true => {
                self.top = None;
                if !self.look.column_lock {
                    self.left = 0;
                }
            }
            false if self.top.is_none() => self.top = self.bottom_top(),
            false => {}
        }
    }

    /// Changes how lines are shown; what is at the top stays there.
    pub fn set_look(&mut self, look: Look) {
        if look.wrap && !self.look.wrap {
            self.left = 0;
        }
        self.look = look;
        if let Some(top) = &mut self.top {
            top.row = 0;
        }
    }

    /// Shows only some lines.
    pub fn set_filter(&mut self, wanted: Wanted) {
        self.filter.set(wanted);
        self.filtered = false;
        self.step();
        // The line at the top may be hidden now; the next one takes its place.
        if let Some(top) = self.top {
            let line = self.filter.at_or_after(&self.ring, top.line);
            self.top = line
                .or_else(|| self.filter.at_or_before(&self.ring, top.line))
                .map(|line| Place { line, row: 0 });
        }
    }

    /// What is shown.
    pub fn filter(&self) -> &Wanted {
        self.filter.wanted()
    }

    /// Only lines that tell of trouble, or all again.
    pub fn toggle_faults(&mut self) {
        let mut wanted = self.filter.wanted().clone();
        wanted.severity = match wanted.severity {
            Severity::Unknown => Severity::Warning,
            _ => Severity::Unknown,
        };
        self.set_filter(wanted);
    }

    /// Highlights what matches, and goes to the last line above that does.
    pub fn set_search(&mut self, pattern: Option<Pattern>) -> bool {
        self.search = pattern;
        self.found = None;
        self.search.is_some() && self.find(false)
    }

    /// What is searched for.
    pub fn search(&self) -> Option<&Pattern> {
        self.search.as_ref()
    }

    /// Goes to the next line (or the one before) that matches the search; around the end, if need be.
    pub fn find(&mut self, forward: bool) -> bool {
        let Some(pattern) = &self.search else {
            return false;
        };
        let last = self.ring.last().unwrap_or_default();
        let start = match (self.found, self.top) {
            (Some(found), _) if forward => found + 1,
            (Some(found), _) => found - 1,
            (None, Some(top)) => top.line,
            (None, None) => last,
        };
        let mut scratch = String::new();
        let mut matches = |number: i64| {
            let line = self.ring.get(number);
            line.is_some_and(|line| pattern.matches(&line, &mut scratch))
        };
        let (ring, filter) = (&self.ring, &self.filter);
        let step = |number: i64| match forward {
            true => filter.at_or_after(ring, number),
            false => filter.at_or_before(ring, number),
        };
        let around = if forward { i64::MIN } else { i64::MAX };
        let mut at = step(start);
        let mut wrapped = false;
        let found = loop {
            match at {
                Some(number) if matches(number) => break Some(number),
                Some(number) if wrapped && number == start => break None,
                Some(number) => at = step(if forward { number + 1 } else { number - 1 }),
                None if wrapped => break None,
                None => {
                    wrapped = true;
                    at = step(around);
                }
            }
        };
        if let Some(number) = found {
            self.found = Some(number);
            self.show(number);
        }
        found.is_some()
    }

    /// Scrolls so that a line is in sight, a third from the top when it was not.
    fn show(&mut self, number: i64) {
        let top = self.top.or_else(|| self.bottom_top()).unwrap_or_default();
        let end = self.walk(top, self.size.0.saturating_sub(1) as isize);
        if number >= top.line && number < end.line.max(top.line + 1) {
            self.top = Some(top);
            return;
        }
        let place = Place { line: number, row: 0 };
        self.top = Some(self.walk(place, -(self.size.0 as isize / 3)));
        self.clamp();
    }

    /// Scrolls by rows; down to the end means following. `true` when the top was reached and older lines are wanted.
    pub fn scroll(&mut self, rows: isize) -> bool {
        let Some(top) = self.top.or_else(|| self.bottom_top()) else {
            return rows < 0 && self.wants_older();
        };
        let to = self.walk(top, rows);
        self.top = Some(to);
        self.clamp();
        rows < 0 && to == self.first_place() && self.wants_older()
    }

    /// Scrolls by a page.
    pub fn page(&mut self, down: bool) -> bool {
        let rows = self.size.0.saturating_sub(1).max(1) as isize;
        self.scroll(if down { rows } else { -rows })
    }

    /// Goes to the first line. `true` when older lines are wanted.
    pub fn to_top(&mut self) -> bool {
        self.top = Some(self.first_place());
        self.clamp();
        self.wants_older()
    }

    /// Scrolls sideways.
    pub fn sideways(&mut self, right: bool) {
        if !self.look.wrap {
            self.left = match right {
                true => self.left + SIDEWAYS,
                false => self.left.saturating_sub(SIDEWAYS),
            };
        }
    }

    /// Draws a line across, below what there is now.
    pub fn mark(&mut self) {
        let now = jiff::Timestamp::now();
        self.mark_at(now);
    }

    fn mark_at(&mut self, now: jiff::Timestamp) {
        self.ring.push(0, Kind::Mark, Some(now), format!("{now:.0}").as_bytes());
        self.filtered = false;
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.filtered = false;
        self.found = None;
        self.top = None;
    }

    fn wants_older(&self) -> bool {
        self.caught_up && !self.complete && !self.ring.is_full()
    }

    /// For [`mizzen_api::client::logs::older`]: each source, how many of its lines there are, when its first was printed.
    pub fn have(&self) -> Vec<(Source, u64, jiff::Timestamp)> {
        let mut have: Vec<_> = self
            .sources
            .iter()
            .map(|s| (s.clone(), 0, jiff::Timestamp::MAX))
            .collect();
        for line in self.ring.iter().filter(|line| line.kind == Kind::Text) {
            if let (Some(have), Some(time)) = (have.get_mut(usize::from(line.source)), line.time) {
                have.1 += 1;
                have.2 = have.2.min(time);
            }
        }
        have
    }

    /// Puts older lines in front; none means that there are none.
    pub fn prepend(&mut self, lines: &[(usize, jiff::Timestamp, impl AsRef<[u8]>)]) {
        let before = self.ring.first();
        self.ring.prepend(lines.iter().map(|(id, time, line)| {
            let line = line.as_ref();
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let (own, text) = mizzen_api::client::logs::split_time(line);
            (source_index(*id), own.or(Some(*time)), text)
        }));
        self.complete = self.ring.first() == before;
        self.filtered = false;
        self.step();
    }

    /// Writes the lines that are shown, without colours.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut scratch = String::new();
        let mut at = self.filter.at_or_after(&self.ring, i64::MIN);
        while let Some(line) = at.and_then(|number| self.ring.get(number)) {
            if self.look.time
                && let Some(time) = line.time
            {
                write!(to, "{time} ")?;
            }
            if self.labels.len() > 1 && line.kind != Kind::Mark {
                write!(to, "{} ", self.label(line.source))?;
            }
            writeln!(to, "{}", ansi::strip(line.text, &mut scratch))?;
            at = self.filter.at_or_after(&self.ring, line.number + 1);
        }
        Ok(())
    }

    fn label(&self, source: u16) -> &str {
        self.labels.get(usize::from(source)).map_or("", String::as_str)
    }

    fn how(&self) -> How<'_> {
        let widest = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        How {
            width: self.size.1,
            left: self.left,
            wrap: self.look.wrap,
            pretty: self.look.pretty,
            time: self.look.time,
            source_width: if self.labels.len() > 1 {
                widest.min(SOURCE_WIDTH_MAX)
            } else {
                0
            },
            filter: self.filter.wanted().pattern.as_ref(),
            search: self.search.as_ref(),
        }
    }

    fn rows_of(&self, line: &Line<'_>, palette: &Palette) -> Vec<Row> {
        layout::rows(line, self.label(line.source), &self.how(), palette)
    }

    fn height_of(&self, number: i64) -> usize {
        if !self.look.wrap && !self.look.pretty {
            return 1;
        }
        let line = self.ring.get(number);
        line.map_or(1, |line| self.rows_of(&line, &Palette::default()).len().max(1))
    }

    fn first_place(&self) -> Place {
        let line = self.filter.at_or_after(&self.ring, i64::MIN).unwrap_or_default();
        Place { line, row: 0 }
    }

    /// A place so many rows on; at most the first or last row.
    fn walk(&self, from: Place, mut rows: isize) -> Place {
        let mut at = from;
        while rows > 0 {
            let left = self.height_of(at.line).saturating_sub(at.row + 1) as isize;
            if rows <= left {
                at.row += rows as usize;
                return at;
            }
            match self.filter.at_or_after(&self.ring, at.line + 1) {
                Some(line) => at = Place { line, row: 0 },
                None => {
                    at.row += left as usize;
                    return at;
                }
            }
            rows -= left + 1;
        }
        while rows < 0 {
            if at.row as isize >= -rows {
                at.row = (at.row as isize + rows) as usize;
                return at;
            }
            rows += at.row as isize + 1;
            match self.filter.at_or_before(&self.ring, at.line - 1) {
                Some(line) => {
                    at = Place {
                        line,
                        row: self.height_of(line).saturating_sub(1),
                    }
                }
                None => return Place { line: at.line, row: 0 },
            }
        }
        at
    }

    /// The first row shown when the last line is at the bottom.
    fn bottom_top(&self) -> Option<Place> {
        let line = self.filter.at_or_before(&self.ring, i64::MAX)?;
        let last = Place {
            line,
            row: self.height_of(line).saturating_sub(1),
        };
        Some(self.walk(last, -(self.size.0.saturating_sub(1) as isize)))
    }

    /// Whoever has scrolled to the end follows.
    fn clamp(&mut self) {
        if let (Some(top), Some(bottom)) = (self.top, self.bottom_top())
            && top >= bottom
        {
            // A log that fits on the screen has its end in sight wherever one stands.
            self.top = None;
        }
    }

    /// Draws the lines.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, palette: &Palette) {
        self.size = (usize::from(area.height), usize::from(area.width));
        if area.is_empty() {
            return;
        }
        self.step();
        // What was pushed out of the ring cannot be shown.
        if let (Some(top), Some(first)) = (&mut self.top, self.ring.first())
            && top.line < first
        {
            *top = Place { line: first, row: 0 };
        }
        let Some(top) = self.top.or_else(|| self.bottom_top()) else {
            return;
        };
        let mut y = area.y;
        let mut skip = top.row;
        let mut at = self.filter.at_or_after(&self.ring, top.line);
        while let Some(line) = at.and_then(|number| self.ring.get(number))
            && y < area.bottom()
        {
            for row in self.rows_of(&line, palette).iter().skip(std::mem::take(&mut skip)) {
                if y >= area.bottom() {
                    break;
                }
                layout::draw(row, area, y, buffer);
                if self.found == Some(line.number) {
                    buffer.set_style(Rect { y, height: 1, ..area }, palette.found);
                }
                y += 1;
            }
            at = self.filter.at_or_after(&self.ring, line.number + 1);
        }
    }

    /// What there is to say about the view, for its title.
    pub fn status(&self) -> String {
        let (shown, all) = self.counts();
        let mut words = vec![match shown == all {
            true => format!("{all} lines"),
            false => format!("{shown} of {all} lines"),
        }];
        if !self.filtered {
            words.push("filtering…".to_owned());
        }
        if self.ring.dropped() > 0 {
            words.push(format!("{} older lines dropped", self.ring.dropped()));
        }
        if self.left > 0 {
            words.push(format!("column {}", self.left));
        }
        words.join(" · ")
    }
}

fn source_index(id: usize) -> u16 {
    u16::try_from(id).unwrap_or(u16::MAX)
}

/// The shortest names that tell sources apart.
fn labels(sources: &[Source]) -> Vec<String> {
    let differ = |of: fn(&Source) -> &str| sources.iter().any(|s| of(s) != of(&sources[0]));
    let (namespaces, pods) = (differ(|s| &s.namespace), differ(|s| &s.pod));
    let containers = differ(|s| &s.container);
    let label = |source: &Source| {
        let parts = [
            (namespaces, &source.namespace),
            (pods, &source.pod),
            (containers, &source.container),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, part)| part.as_str())
            .collect();
        parts.join("/")
    };
    sources.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pod: &str, container: &str) -> Source {
        Source {
            namespace: "default".into(),
            pod: pod.into(),
            container: container.into(),
        }
    }

    fn pane(lines: usize) -> Pane {
        let mut pane = Pane::new(Look::default());
        pane.apply(&Event::Source(0, source("web-1", "c")));
        add(&mut pane, 0..lines);
        pane.apply(&Event::CaughtUp);
        pane
    }

    fn add(pane: &mut Pane, lines: std::ops::Range<usize>) {
        let block: String = lines
            .map(|n| format!("2026-01-01T00:00:{:02}Z line {n}\n", n % 60))
            .collect();
        pane.apply(&Event::Lines(0, block.into()));
    }

    fn screen(pane: &mut Pane, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        pane.draw(area, &mut buffer, &Palette::default());
        let row = |y: u16| {
            (0..width)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        };
        (0..height).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_follows_the_end_until_scrolled_up() {
        let mut pane = pane(100);
        insta::assert_snapshot!(screen(&mut pane, 20, 3), @"
          line 97
          line 98
          line 99
        ");
        pane.scroll(-2);
        assert!(!pane.follows());
        add(&mut pane, 100..150);
        insta::assert_snapshot!(screen(&mut pane, 20, 3), @"
          line 95
          line 96
          line 97
        ");
        pane.page(true);
        insta::assert_snapshot!(screen(&mut pane, 20, 1), @"  line 97");
        pane.scroll(1000);
        assert!(pane.follows());
        assert!(pane.to_top());
        insta::assert_snapshot!(screen(&mut pane, 20, 2), @"
          line 0
          line 1
        ");
    }

    #[test]
    fn filtering_hides_and_searching_goes() {
        let mut pane = pane(100);
        screen(&mut pane, 30, 4);
        pane.set_filter(Wanted {
            pattern: Pattern::new("9$"),
            ..Wanted::default()
        });
        insta::assert_snapshot!(screen(&mut pane, 30, 4), @"
          line 69
          line 79
          line 89
          line 99
        ");
        assert_eq!(pane.status(), "10 of 100 lines");
        pane.set_filter(Wanted::default());
        assert!(pane.set_search(Pattern::new("line 5")));
        assert_eq!(pane.found, Some(59));
        assert!(pane.find(true));
        assert_eq!(pane.found, Some(5));
        assert!(pane.find(false));
        assert_eq!(pane.found, Some(59));
        insta::assert_snapshot!(screen(&mut pane, 30, 4), @"
          line 58
          line 59
          line 60
          line 61
        ");
        assert!(!pane.set_search(Pattern::new("nowhere")));
    }

    #[test]
    fn wrapped_lines_scroll_by_rows() {
        let mut pane = Pane::new(Look {
            wrap: true,
            ..Look::default()
        });
        pane.apply(&Event::Source(0, source("web-1", "c")));
        pane.apply(&Event::Lines(0, "abcdefghijklmno\nx\n".into()));
        insta::assert_snapshot!(screen(&mut pane, 7, 3), @"
          fghij
          klmno
          x
        ");
        pane.scroll(-1);
        insta::assert_snapshot!(screen(&mut pane, 7, 3), @"
          abcde
          fghij
          klmno
        ");
    }

    #[test]
    fn several_sources_are_told_apart() {
        let mut pane = pane(1);
        pane.apply(&Event::Source(1, source("web-2", "c")));
        pane.apply(&Event::Lines(1, "2026-01-01T00:00:01Z WARN other\n".into()));
        pane.apply(&Event::Note(1, "pod is gone".into()));
        pane.mark_at("2026-01-01T00:00:02Z".parse().expect("a time"));
        insta::assert_snapshot!(screen(&mut pane, 30, 4), @"
        web-1   line 0
        web-2 ▲ WARN other
        web-2 · pod is gone
        ── 2026-01-01T00:00:02Z ──────
        ");
        let mut saved = Vec::new();
        pane.write(&mut saved).expect("written");
        insta::assert_snapshot!(String::from_utf8_lossy(&saved), @"
        web-1 line 0
        web-2 WARN other
        web-2 pod is gone
        2026-01-01T00:00:02Z
        ");
    }

    #[test]
    fn older_lines_come_in_above_without_moving_anything() {
        let mut pane = pane(3);
        screen(&mut pane, 20, 2);
        assert!(pane.to_top());
        assert_eq!(pane.have()[0].1, 3);
        let time: jiff::Timestamp = "2025-12-31T00:00:00Z".parse().expect("a time");
        pane.prepend(&[(0, time, b"2025-12-31T00:00:00Z older\n".as_slice())]);
        insta::assert_snapshot!(screen(&mut pane, 20, 2), @"
          line 0
          line 1
        ");
        pane.scroll(-1);
        insta::assert_snapshot!(screen(&mut pane, 20, 2), @"
          older
          line 0
        ");
        pane.prepend(&[] as &[(usize, jiff::Timestamp, &[u8])]);
        assert!(!pane.to_top());
    }

    #[test]
    fn what_was_dropped_is_told() {
        let mut pane = pane(0);
        pane.ring = Ring::with_limit(100);
        for start in 0..30 {
            add(&mut pane, start * 1000..(start + 1) * 1000);
        }
        pane.to_top();
        add(&mut pane, 0..10_000);
        let shown = screen(&mut pane, 20, 1);
        let first = pane.ring.first().expect("a line");
        let first = pane.ring.get(first).expect("a line");
        assert_eq!(shown.trim(), first.text);
        assert!(pane.status().ends_with("older lines dropped"), "{}", pane.status());
    }
}
