//! A terminal with a program in it: what a person sees and types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use crate::{PATIENCE, succeed};

/// A program that runs in a terminal of its own.
pub struct Terminal {
    master: File,
    path: PathBuf,
    child: Child,
    unread: String,
}

impl Terminal {
    /// Starts a command in a terminal of this size.
    pub fn open(rows: u16, columns: u16, command: &Command) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let path = nix::unistd::ttyname(&pair.slave).expect("its name");
        let slave = File::from(pair.slave);
        // setsid makes it the program's controlling terminal, so that its keys and its size send signals.
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            inside.env(name, value.unwrap_or_default());
        }
        let child = inside
            .stdin(slave.try_clone().expect("a terminal"))
            .stdout(slave.try_clone().expect("a terminal"))
            .stderr(slave)
            .spawn()
            .expect("it starts");
        Self {
            master: File::from(pair.master),
            path,
            child,
            unread: String::new(),
        }
    }

    /// Changes the size, as a person who drags a window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        succeed(
            Command::new("stty")
                .arg("-F")
                .arg(&self.path)
                .args(["rows", &rows, "cols", &columns]),
        );
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    /// Reads until `part` is shown, and gives what was shown up to its end.
    #[track_caller]
    pub fn see(&mut self, part: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.unread.find(part) {
                let rest = self.unread.split_off(at + part.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {part:?} in {:?}", self.unread);
            assert!(self.read(), "ended without {part:?} in {:?}", self.unread);
        }
    }

    /// Waits for the program to end; gives its code and what it had still to say.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.read() {
            assert!(begun.elapsed() < PATIENCE, "waited for the end after {:?}", self.unread);
        }
        let status = self.child.wait().expect("it ends");
        (status.code(), std::mem::take(&mut self.unread))
    }

    /// Reads what there is, if it comes soon; false at the end.
    fn read(&mut self) -> bool {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(500u16)).expect("polled") == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        // A terminal whose last program ended answers with an error.
        let length = self.master.read(&mut buffer).unwrap_or(0);
        self.unread.push_str(&String::from_utf8_lossy(&buffer[..length]));
        length > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
