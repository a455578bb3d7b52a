//! The loop: takes events, lets the state change, carries out effects, draws when something changed.
//!
//! One task. It waits for input, for what the tasks send, for signals and for the timer that is due. The
//! queue is drained before drawing, but not for longer than a frame may take, and frames come no faster
//! than [`FRAME`].

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream};
use futures::StreamExt as _;
use jiff::Timestamp;
use nix::sys::signal::{Signal, raise};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::Options;
use crate::app::App;
use crate::bindings::Bindings;
use crate::effect::Effect;
use crate::event::{Event, Notice, Reply, Stamped, Tone, ViewId};
use crate::tasks::Runner;
use crate::terminal::Screen;

/// At most 60 frames a second.
const FRAME: Duration = Duration::from_millis(16);
/// Longest that events are drained before a frame.
const DRAIN: Duration = Duration::from_millis(8);
/// Events that wait for the console before their senders do.
const QUEUE: usize = 256;

/// Runs the console until it is quit.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut screen = Screen::take(options.mouse)?;
    let (bindings, warnings) = match &options.keys {
        Some(file) => Bindings::load(file),
        None => (Bindings::default(), Vec::new()),
    };
    let now = Timestamp::now();
    let (mut app, effects) = App::new(options.setup, bindings, now);
    let record = options
        .record
        .as_ref()
        .map(File::create)
        .transpose()?
        .map(BufWriter::new);
    let (width, height) = screen.size()?;
    app.update(Stamped {
        at: now,
        event: Event::Resize(width, height),
    });
    screen.draw(&app)?;
    let mut console = Console {
        app,
        screen,
        runner: Runner::new(options.connect, sender),
        record,
        dirty: true,
        quit: false,
    };
    for text in warnings {
        console.take(Event::Notice(Notice::new(Tone::Warning, text))).await?;
    }
    console.carry_out(effects).await?;
    console.turn(receiver).await
}

struct Console {
    app: App,
    screen: Screen,
    runner: Runner,
    record: Option<BufWriter<File>>,
    dirty: bool,
    quit: bool,
}

impl Console {
    async fn turn(&mut self, mut events: mpsc::Receiver<Event>) -> anyhow::Result<()> {
        let mut input = EventStream::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut stop = signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
        let mut drawn = Instant::now();
        while !self.quit {
            let frame = drawn + FRAME;
            let due = self.app.due().map(until);
            tokio::select! {
                biased;
                event = input.next() => match event {
                    Some(Ok(event)) => self.typed(event).await?,
                    // The terminal went away.
                    Some(Err(_)) | None => self.take(Event::Terminated).await?,
                },
                _ = terminate.recv() => self.take(Event::Terminated).await?,
                _ = hangup.recv() => self.take(Event::Terminated).await?,
                _ = stop.recv() => {
                    drop(input);
                    self.suspend().await?;
                    input = EventStream::new();
                }
                () = sleep_until(frame), if self.dirty => {
                    self.screen.draw(&self.app)?;
                    drawn = Instant::now();
                    self.dirty = false;
                }
                event = events.recv() => {
                    let drained = Instant::now() + DRAIN;
                    let mut next = event;
                    while let Some(event) = next {
                        self.take(event).await?;
                        next = if Instant::now() < drained { events.try_recv().ok() } else { None };
                    }
                }
                () = sleep_until(due.unwrap_or(frame)), if due.is_some() => self.take(Event::Tick).await?,
            }
        }
        Ok(())
    }

    async fn typed(&mut self, input: Input) -> anyhow::Result<()> {
        let event = match input {
            Input::Key(key) => Event::Key(key),
            Input::Mouse(mouse) => Event::Mouse(mouse),
            Input::Paste(text) => Event::Paste(text),
            Input::Resize(width, height) => Event::Resize(width, height),
            Input::FocusGained | Input::FocusLost => return Ok(()),
        };
        self.take(event).await
    }

    async fn take(&mut self, event: Event) -> anyhow::Result<()> {
        let stamped = Stamped {
            at: Timestamp::now(),
            event,
        };
        if let Some(record) = &mut self.record {
            serde_json::to_writer(&mut *record, &stamped)?;
            record.write_all(b"\n")?;
        }
        let effects = self.app.update(stamped);
        self.dirty = true;
        self.carry_out(effects).await
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) -> anyhow::Result<()> {
        for effect in effects {
            match self.runner.run(effect) {
                None => {}
                Some(Effect::Quit) => {
                    self.quit = true;
                    if let Some(record) = &mut self.record {
                        record.flush()?;
                    }
                }
                Some(Effect::Copy(text)) => {
                    if let Some(problem) = self.screen.copy(&text)? {
                        self.tell(Notice::new(Tone::Warning, problem));
                    }
                }
                Some(Effect::Save(file, text)) => {
                    let notice = match std::fs::write(&file, text) {
                        Ok(()) => Notice::new(Tone::Good, format!("saved {}", file.display())),
                        Err(error) => Notice::new(Tone::Bad, format!("cannot save {}: {error}", file.display())),
                    };
                    self.tell(notice);
                }
                Some(Effect::Suspend) => self.suspend().await?,
                Some(Effect::Edit(to, text)) => self.edit(to, &text).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Tells of what the loop itself did; such notices have no effects.
    fn tell(&mut self, notice: Notice) {
        self.app.update(Stamped {
            at: Timestamp::now(),
            event: Event::Notice(notice),
        });
        self.dirty = true;
    }

    /// Stops as a job of a shell does, and comes back when the shell continues us.
    #[expect(clippy::unused_async, reason = "the loop awaits whatever leaves the screen")]
    async fn suspend(&mut self) -> anyhow::Result<()> {
        self.screen.leave();
        raise(Signal::SIGSTOP)?;
        self.screen.enter()?;
        let (width, height) = self.screen.size()?;
        self.app.update(Stamped {
            at: Timestamp::now(),
            event: Event::Resize(width, height),
        });
        self.dirty = true;
        Ok(())
    }

    async fn edit(&mut self, to: ViewId, text: &str) -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("mizzen-edit-{}.yaml", std::process::id()));
        write_private(&file, text)?;
        let editor = ["KUBE_EDITOR", "VISUAL", "EDITOR"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let editor = editor.unwrap_or_else(|| "vi".to_owned());
        self.screen.leave();
        let mut words = editor.split_whitespace();
        let status = Command::new(words.next().unwrap_or("vi"))
            .args(words)
            .arg(&file)
            .status()
            .await;
        self.screen.enter()?;
        let edited = std::fs::read_to_string(&file);
        let _ = std::fs::remove_file(&file);
        let reply = match (status, edited) {
            (Ok(status), Ok(edited)) if status.success() && edited != text => Reply::Text(edited),
            (Ok(status), Ok(_)) if status.success() => Reply::Done("nothing was changed".to_owned()),
            (Ok(status), _) => Reply::Failed(format!("{editor} ended with {status}; nothing was changed")),
            (Err(error), _) => Reply::Failed(format!("cannot run {editor}: {error}; set EDITOR")),
        };
        Box::pin(self.take(Event::Reply(to, reply))).await
    }
}

fn write_private(file: &std::path::Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(file);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

fn until(at: Timestamp) -> Instant {
    let wait = at.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(wait).unwrap_or_default()
}
