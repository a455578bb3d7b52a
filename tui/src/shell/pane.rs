//! The emulated screen of a process in a container.
//!
//! What the process prints goes through an emulation of a VT100 and reaches the real terminal as cells only. Questions
//! that programs ask their terminal are answered to the process. [`LEAVE`] is the one key that is ours while the process
//! runs: it opens a menu (leave, full screen, scroll back, send the key itself).

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mizzen_api::client::exec::Exit;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};

use super::{containment, keys};

/// Rows that can be scrolled back to.
const SCROLLBACK_ROWS: usize = 10_000;
/// The emulation has at least so many columns and rows; of a smaller area only a part is shown.
const SIZE_MIN: (u16, u16) = (8, 2);
/// Rows that the mouse wheel scrolls.
pub const WHEEL_ROWS: usize = 3;

/// Whether a key is the one that opens the menu (`Ctrl-]`; some terminals send it as Ctrl-5).
pub fn is_leave(key: &KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char(']' | '5'))
}

/// How far a process has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The connection is being made.
    Connecting,
    /// It runs.
    Running,
    /// It ended.
    Ended(Exit),
    /// It could not be started.
    Refused(String),
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing for anyone else.
    Nothing,
    /// These bytes are for the process.
    Send(Vec<u8>),
    /// The view is to be closed.
    Leave,
    /// Take the whole screen, or give it back.
    FullScreen,
}

/// Answers to what programs ask their terminal.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    title: String,
}

impl vt100::Callbacks for Answers {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title = String::from_utf8_lossy(title);
        self.title = title.chars().filter(|c| !c.is_control()).take(64).collect();
    }

    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _second: Option<u8>,
        parameters: &[&[u16]],
        command: char,
    ) {
        let parameter = parameters.first().and_then(|p| p.first()).copied().unwrap_or(0);
        match (first, command, parameter) {
            (None, 'n', 5) => self.bytes.extend_from_slice(b"\x1b[0n"),
            (None, 'n', 6) => {
                let (row, column) = screen.cursor_position();
                self.bytes
                    .extend_from_slice(format!("\x1b[{};{}R", row + 1, column + 1).as_bytes());
            }
            (None, 'c', 0) => self.bytes.extend_from_slice(b"\x1b[?1;2c"),
            _ => {}
        }
    }
}

/// A process's screen.
pub struct Pane {
    parser: vt100::Parser<Answers>,
    state: State,
    /// The menu is open.
    menu: bool,
    full_screen: bool,
}

impl std::fmt::Debug for Pane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pane")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Pane {
    /// An empty screen.
    pub fn new(width: u16, height: u16) -> Self {
        Self {
            parser: parser_of(width.max(SIZE_MIN.0), height.max(SIZE_MIN.1)),
            state: State::Connecting,
            menu: false,
            full_screen: false,
        }
    }

    /// How far the process has come.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether it has the whole screen.
    pub fn full_screen(&self) -> bool {
        self.full_screen
    }

    /// The title that the process gave its terminal.
    pub fn title(&self) -> &str {
        &self.parser.callbacks().title
    }

    /// The process runs.
    pub fn started(&mut self) {
        self.state = State::Running;
    }

    /// The process ended, or was not started.
    pub fn ended(&mut self, state: State) {
        self.state = state;
        self.menu = false;
        self.parser.screen_mut().set_scrollback(0);
    }

    /// Takes in what the process prints; gives what is to be answered.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.contained(|parser| parser.process(bytes));
        std::mem::take(&mut self.parser.callbacks_mut().bytes)
    }

    /// Does something with the emulation, which starts over with an empty screen should that fail.
    fn contained(&mut self, work: impl FnOnce(&mut vt100::Parser<Answers>)) {
        let (width, height) = self.size();
        let done = containment::run(|| work(&mut self.parser));
        if !done {
            self.parser = parser_of(width, height);
            self.parser
                .process(b"[the emulation of the terminal failed and was started anew]\r\n");
        }
    }

    /// Fits the screen to an area; `true` when that changed its size, which the process must be told.
    pub fn resize(&mut self, width: u16, height: u16) -> bool {
        let size = (height.max(SIZE_MIN.1), width.max(SIZE_MIN.0));
        let changed = self.parser.screen().size() != size;
        if changed {
            self.contained(|parser| parser.screen_mut().set_size(size.0, size.1));
        }
        changed
    }

    /// Width and height.
    pub fn size(&self) -> (u16, u16) {
        let (height, width) = self.parser.screen().size();
        (width, height)
    }

    /// Handles a key.
    pub fn key(&mut self, key: &KeyEvent) -> Outcome {
        if !matches!(self.state, State::Running) {
            return match key.code {
                KeyCode::Enter | KeyCode::Esc | KeyCode::Char('q') => Outcome::Leave,
                KeyCode::PageUp | KeyCode::Up => self.scroll(true, 1),
                KeyCode::PageDown | KeyCode::Down => self.scroll(false, 1),
                _ if is_leave(key) => Outcome::Leave,
                _ => Outcome::Nothing,
            };
        }
        if std::mem::take(&mut self.menu) {
            return self.menu_key(key);
        }
        if is_leave(key) {
            self.menu = true;
            return Outcome::Nothing;
        }
        let page = usize::from(self.size().1).saturating_sub(1).max(1);
        match key.code {
            KeyCode::PageUp if key.modifiers.contains(KeyModifiers::SHIFT) => return self.scroll(true, page),
            KeyCode::PageDown if key.modifiers.contains(KeyModifiers::SHIFT) => return self.scroll(false, page),
            _ => {}
        }
        // Whoever types wants to see it.
        self.parser.screen_mut().set_scrollback(0);
        match keys::encode(key, self.parser.screen().application_cursor()) {
            bytes if bytes.is_empty() => Outcome::Nothing,
            bytes => Outcome::Send(bytes),
        }
    }

    fn menu_key(&mut self, key: &KeyEvent) -> Outcome {
        let page = usize::from(self.size().1).saturating_sub(1).max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Char('d') => Outcome::Leave,
            KeyCode::Char('f') => {
                self.full_screen = !self.full_screen;
                Outcome::FullScreen
            }
            KeyCode::Up | KeyCode::PageUp | KeyCode::Char('k') => {
                // The menu stays, so that scrolling goes on.
                self.menu = true;
                self.scroll(true, page)
            }
            KeyCode::Down | KeyCode::PageDown | KeyCode::Char('j') => {
                self.menu = true;
                self.scroll(false, page)
            }
            _ if is_leave(key) => Outcome::Send(vec![0x1d]),
            _ => Outcome::Nothing,
        }
    }

    /// Handles pasted text.
    pub fn paste(&mut self, text: &str) -> Outcome {
        match self.state {
            State::Running => Outcome::Send(keys::encode_paste(text, self.parser.screen().bracketed_paste())),
            _ => Outcome::Nothing,
        }
    }

    /// Scrolls back or forth. A program that has the screen to itself gets arrow keys instead.
    pub fn scroll(&mut self, up: bool, rows: usize) -> Outcome {
        let screen = self.parser.screen_mut();
        if screen.alternate_screen() && self.state == State::Running {
            let code = if up { KeyCode::Up } else { KeyCode::Down };
            let one = keys::encode(&KeyEvent::new(code, KeyModifiers::NONE), screen.application_cursor());
            return Outcome::Send(one.repeat(rows));
        }
        let at = screen.scrollback();
        screen.set_scrollback(if up { at + rows } else { at.saturating_sub(rows) });
        Outcome::Nothing
    }

    /// What there is to say about it, for its title or its last row.
    pub fn status(&self) -> String {
        let back = self.parser.screen().scrollback();
        match &self.state {
            State::Connecting => "connecting…".to_owned(),
            State::Running if self.menu => {
                "q leave · f full screen · ↑↓ scroll back · Ctrl-] send Ctrl-] · any other key goes on".to_owned()
            }
            State::Running if back > 0 => format!("{back} rows back · type to return"),
            State::Running => "Ctrl-] leave and more".to_owned(),
            State::Ended(Exit::Code(code)) => format!("ended with exit code {code} · Enter goes back"),
            State::Ended(Exit::Failed(reason)) => format!("failed: {reason} · Enter goes back"),
            State::Ended(Exit::Lost) => "the connection was lost · Enter goes back".to_owned(),
            State::Refused(reason) => format!("{reason} · Enter goes back"),
        }
    }

    /// Draws the screen; gives where the cursor is, when it shows.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        let screen = self.parser.screen();
        let (height, width) = screen.size();
        for row in 0..height.min(area.height) {
            for column in 0..width.min(area.width) {
                let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
                    continue;
                };
                let target = &mut buffer[(area.x + column, area.y + row)];
                // Half a wide character at the edge is none.
                let fits = !cell.is_wide() || column + 1 < width.min(area.width);
                target.set_symbol(if cell.has_contents() && fits {
                    cell.contents()
                } else {
                    " "
                });
                target.set_style(style(cell));
            }
        }
        let (row, column) = screen.cursor_position();
        let shows = !screen.hide_cursor() && screen.scrollback() == 0 && self.state == State::Running;
        let inside = row < area.height && column < area.width;
        (shows && inside).then(|| Position::new(area.x + column, area.y + row))
    }
}

fn parser_of(width: u16, height: u16) -> vt100::Parser<Answers> {
    vt100::Parser::new_with_callbacks(height, width, SCROLLBACK_ROWS, Answers::default())
}

fn style(cell: &vt100::Cell) -> Style {
    let mut style = Style::reset();
    style.fg = colour(cell.fgcolor()).or(style.fg);
    style.bg = colour(cell.bgcolor()).or(style.bg);
    let modifiers = [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ];
    for (_, modifier) in modifiers.into_iter().filter(|(on, _)| *on) {
        style = style.add_modifier(modifier);
    }
    style
}

fn colour(colour: vt100::Color) -> Option<Color> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Color::Indexed(index)),
        vt100::Color::Rgb(r, g, b) => Some(Color::Rgb(r, g, b)),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    fn running(width: u16, height: u16) -> Pane {
        let mut pane = Pane::new(width, height);
        pane.started();
        pane
    }

    fn screen(pane: &Pane) -> String {
        let (width, height) = pane.size();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal
            .draw(|frame| {
                let area = frame.area();
                if let Some(cursor) = pane.draw(area, frame.buffer_mut()) {
                    frame.set_cursor_position(cursor);
                }
            })
            .expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn a_screen_is_emulated() {
        let mut pane = running(16, 4);
        pane.feed(b"$ ls\r\n\x1b[1;32mbin\x1b[0m  etc\r\n\x1b[5;5Hx\x1b]0;ti\x07\x1b]52;c;aGk=\x07");
        insta::assert_snapshot!(screen(&pane), @r#"
        "$ ls            "
        "bin  etc        "
        "                "
        "    x           "
        "#);
        assert_eq!(pane.title(), "ti");
        let mut buffer = Buffer::empty(Rect::new(0, 0, 16, 4));
        let cursor = pane.draw(buffer.area, &mut buffer);
        assert_eq!(cursor, Some(Position::new(5, 3)));
        assert_eq!(buffer[(0, 1)].fg, Color::Indexed(2));
        assert!(buffer[(0, 1)].modifier.contains(Modifier::BOLD));
    }

    #[test]
    fn programs_get_answers() {
        let mut pane = running(10, 4);
        assert_eq!(pane.feed(b"ab\x1b[6n"), b"\x1b[1;3R");
        assert_eq!(pane.feed(b"\x1b[c\x1b[5n\x1b[>c"), b"\x1b[?1;2c\x1b[0n");
    }

    #[test]
    fn keys_go_to_the_process_but_for_the_menu() {
        let mut pane = running(60, 4);
        let leave = key(KeyCode::Char(']'), KeyModifiers::CONTROL);
        let plain = |c| key(KeyCode::Char(c), KeyModifiers::NONE);
        assert_eq!(pane.key(&plain('q')), Outcome::Send(b"q".to_vec()));
        assert_eq!(
            pane.key(&key(KeyCode::Esc, KeyModifiers::NONE)),
            Outcome::Send(vec![0x1b])
        );
        assert_eq!(pane.key(&leave), Outcome::Nothing);
        insta::assert_snapshot!(pane.status(), @"q leave · f full screen · ↑↓ scroll back · Ctrl-] send Ctrl-] · any other key goes on");
        assert_eq!(pane.key(&leave), Outcome::Send(vec![0x1d]));
        pane.key(&leave);
        assert_eq!(pane.key(&plain('f')), Outcome::FullScreen);
        assert!(pane.full_screen());
        pane.key(&leave);
        assert_eq!(pane.key(&plain('x')), Outcome::Nothing);
        pane.key(&leave);
        assert_eq!(pane.key(&plain('q')), Outcome::Leave);
        pane.ended(State::Ended(Exit::Code(7)));
        insta::assert_snapshot!(pane.status(), @"ended with exit code 7 · Enter goes back");
        assert_eq!(pane.key(&plain('x')), Outcome::Nothing);
        assert_eq!(pane.key(&key(KeyCode::Enter, KeyModifiers::NONE)), Outcome::Leave);
    }

    #[test]
    fn what_scrolled_away_can_be_seen_again() {
        let mut pane = running(8, 2);
        pane.feed(b"one\r\ntwo\r\nthree\r\nfour");
        pane.scroll(true, 2);
        insta::assert_snapshot!(screen(&pane), @r#"
        "one     "
        "two     "
        "#);
        insta::assert_snapshot!(pane.status(), @"2 rows back · type to return");
        pane.key(&key(KeyCode::Char('x'), KeyModifiers::NONE));
        insta::assert_snapshot!(screen(&pane), @r#"
        "three   "
        "four    "
        "#);
        // A pager has the screen to itself: the wheel is its arrows.
        pane.feed(b"\x1b[?1049h\x1b[?1h");
        assert_eq!(pane.scroll(true, 2), Outcome::Send(b"\x1bOA\x1bOA".to_vec()));
    }

    #[test]
    fn a_size_of_nothing_is_survived() {
        let mut pane = running(80, 24);
        pane.feed("日本語".repeat(20).as_bytes());
        for (width, height) in [(1, 1), (0, 0), (3, 1), (200, 60)] {
            pane.resize(width, height);
            pane.feed("日本\r\n語".as_bytes());
            let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
            pane.draw(buffer.area, &mut buffer);
        }
        assert!(!pane.resize(200, 60));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_that_a_process_prints_breaks_it(
            pieces in proptest::collection::vec(("[ -~日\\x1b\\[\\];?0-9A-Za-z\r\n\t]{0,40}", 0u16..30, 0u16..12), 1..20)
        ) {
            let mut pane = running(20, 6);
            for (text, width, height) in pieces {
                pane.feed(text.as_bytes());
                pane.resize(width, height);
                pane.scroll(true, 2);
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                pane.draw(buffer.area, &mut buffer);
            }
        }

        #[test]
        fn no_sequence_breaks_it(
            pieces in proptest::collection::vec(("(\x1b\\[[?>]?[0-9;]{0,6}[@-~]|\x1b[ -~]|[a-z日]{0,5}|\r|\n|\t|\x08)", 1u16..30, 1u16..12, proptest::bool::weighted(0.1)), 1..60)
        ) {
            let mut pane = running(20, 6);
            for (text, width, height, resize) in pieces {
                pane.feed(text.as_bytes());
                if resize {
                    pane.resize(width, height);
                }
                let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 6));
                pane.draw(buffer.area, &mut buffer);
            }
        }
    }
}
