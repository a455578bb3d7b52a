//! The console in a terminal of its own: keys in, a screen out.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vt100::Parser;

use crate::{Cluster, pause, program};

/// How long a screen may take to say something.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long the screen may tell what is not so any more.
const TRUE_AGAIN: Duration = Duration::from_secs(2);

/// The console in a terminal.
pub struct Console {
    child: Child,
    terminal: File,
    screen: Arc<Mutex<Parser<Clipboard>>>,
}

impl Console {
    /// Starts it against a cluster, at this size in columns and rows.
    pub fn start(cluster: &Cluster, size: (u16, u16), arguments: &[&str]) -> Self {
        Self::start_with(&cluster.kubeconfig(), cluster.scratch(), size, arguments)
    }

    /// As [`Console::start`], with any kubeconfig; the home is the directory where files go as well.
    pub fn start_with(kubeconfig: &Path, home: &Path, size: (u16, u16), arguments: &[&str]) -> Self {
        Self::start_through(&[], kubeconfig, home, size, arguments)
    }

    /// As the last words of another command.
    pub fn start_through(
        through: &[String],
        kubeconfig: &Path,
        home: &Path,
        (columns, rows): (u16, u16),
        arguments: &[&str],
    ) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let side = || Stdio::from(pty.slave.try_clone().expect("the terminal"));
        // `setsid --ctty` makes it the controlling terminal, so that sizes and hang-ups are told.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(through)
            .arg(program())
            .arg("tui")
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("KUBE_EDITOR", home.join("editor"))
            .current_dir(home)
            .env("TERM", "xterm-256color")
            .env("COLORTERM", "truecolor")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the console starts");
        let screen = Arc::new(Mutex::new(Parser::new_with_callbacks(
            rows,
            columns,
            0,
            Clipboard::default(),
        )));
        let mut output = File::from(pty.master.try_clone().expect("the terminal"));
        let model = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            // The terminal is gone when the console is.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                model.lock().expect("the screen").process(&bytes[..count]);
            }
        });
        Self {
            child,
            terminal: File::from(pty.master),
            screen,
        }
    }

    /// What is on screen.
    pub fn text(&self) -> String {
        self.screen.lock().expect("the screen").screen().contents()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was put on the terminal's clipboard last.
    pub fn copied(&self) -> String {
        let screen = self.screen.lock().expect("the screen");
        let text = BASE64_STANDARD.decode(&screen.callbacks().0).expect("base64");
        String::from_utf8(text).expect("text")
    }

    /// How many colours are on screen.
    pub fn colours(&self) -> usize {
        let model = self.screen.lock().expect("the screen");
        let screen = model.screen();
        let (rows, columns) = screen.size();
        let cells = (0..rows).flat_map(|row| (0..columns).filter_map(move |column| screen.cell(row, column)));
        let colours = cells.flat_map(|cell| [cell.fgcolor(), cell.bgcolor()]);
        let mut seen = Vec::new();
        for colour in colours.filter(|colour| *colour != vt100::Color::Default) {
            if !seen.contains(&colour) {
                seen.push(colour);
            }
        }
        seen.len()
    }

    /// Where a text is on screen: column and row, from 1 on as terminals count.
    #[track_caller]
    pub fn place(&self, text: &str) -> (usize, usize) {
        let screen = self.text();
        let mut lines = screen.lines().enumerate();
        let found = lines.find_map(|(row, line)| Some((line[..line.find(text)?].chars().count() + 1, row + 1)));
        found.unwrap_or_else(|| panic!("{text:?} is not on screen:\n{screen}"))
    }

    /// Presses the left button at one place and lets it go at another.
    pub fn drag(&mut self, from: (usize, usize), to: (usize, usize)) {
        let at = |button: u8, (column, row): (usize, usize), end: char| format!("\x1b[<{button};{column};{row}{end}");
        let (down, up) = (at(0, from, 'M'), at(0, to, 'm'));
        let moved = if from == to { String::new() } else { at(32, to, 'M') };
        self.keys(&format!("{down}{moved}{up}"));
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.terminal
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Sees a text within the time in which the screen must be true again.
    #[track_caller]
    pub fn sees_soon(&self, text: &str) {
        let start = Instant::now();
        self.sees(text);
        let took = start.elapsed();
        assert!(took < TRUE_AGAIN, "{text:?} took {took:?}");
    }

    /// Waits for a text.
    #[track_caller]
    pub fn sees(&self, text: &str) {
        self.waits(text, |screen| screen.contains(text));
    }

    /// A command line.
    #[track_caller]
    pub fn goes(&mut self, line: &str, sees: &str) {
        self.keys(&format!(":{line}\r"));
        self.sees(sees);
    }

    /// A key, and what it leads to.
    #[track_caller]
    pub fn press(&mut self, key: &str, sees: &str) {
        self.keys(key);
        self.sees(sees);
    }

    /// Waits until something holds of the screen.
    #[track_caller]
    pub fn waits(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !holds(&self.text()) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited for {what:?}; on screen:\n{}",
                self.text()
            );
            pause(Duration::from_millis(10));
        }
    }

    /// Changes the terminal's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .expect("the screen")
            .screen_mut()
            .set_size(rows, columns);
        let status = Command::new("stty")
            .args(["cols", &columns.to_string(), "rows", &rows.to_string()])
            .stdin(self.terminal.try_clone().expect("the terminal"))
            .status();
        assert!(status.expect("stty runs").success());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the console runs");
    }

    /// The state of its process, as `/proc` has it.
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
            .unwrap_or('?')
    }

    /// Waits until the console has ended and gives whether the terminal is as it was before.
    #[track_caller]
    pub fn ends(&mut self) -> bool {
        let start = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end; on screen:\n{}",
                self.text()
            );
            pause(Duration::from_millis(10));
        }
        pause(Duration::from_millis(100));
        self.has_left()
    }

    /// Whether the terminal is as it was before.
    pub fn has_left(&self) -> bool {
        let model = self.screen.lock().expect("the screen");
        let screen = model.screen();
        !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
    }
}

/// What the console copied, as it came.
#[derive(Default)]
struct Clipboard(Vec<u8>);

impl vt100::Callbacks for Clipboard {
    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _selection: &[u8], text: &[u8]) {
        self.0 = text.to_vec();
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
