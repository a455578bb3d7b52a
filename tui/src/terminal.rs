//! The terminal: raw mode, alternate screen, mouse and bracketed paste while the console has it; as it was
//! before at every way out, a panic included.

use std::io::{self, Stdout, Write as _};

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::app::App;

/// Most bytes that terminals take by OSC 52.
const MOST_COPIED: usize = 74_000;

/// The screen, while this lives.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub fn take(mouse: bool) -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enter(mouse)?;
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?,
            mouse,
        })
    }

    /// Draws the state.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| app.draw(frame))?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// Columns and rows.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Gives the terminal to others for a while.
    pub fn leave(&self) {
        give_back();
    }

    /// Takes it over again; the next frame paints everything.
    pub fn enter(&mut self) -> io::Result<()> {
        enter(self.mouse)?;
        // Not `clear`, which asks the terminal where its cursor is and may get no answer.
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Puts text on the clipboard of the terminal, also over SSH. Says what came of it.
    pub fn copy(&self, text: &str) -> io::Result<Option<String>> {
        if text.len() > MOST_COPIED {
            return Ok(Some(format!(
                "too long to copy: {} bytes, terminals take {MOST_COPIED}; save it instead (ctrl-s)",
                text.len()
            )));
        }
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))?;
        Ok(None)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
    if mouse {
        execute!(io::stdout(), EnableMouseCapture)?;
    }
    Ok(())
}

/// On a terminal that has gone away nothing of this works, and nothing needs to.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
    let _ = io::stdout().flush();
}
