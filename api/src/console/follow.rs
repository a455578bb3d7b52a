//! When to list, when to watch, when to wait: the course of following a collection, without any I/O.
//!
//! A driver asks for the next [`Step`], takes it, and tells how it went. Lost connections resume at the
//! last revision; a revision that the server no longer has leads to a new list.

use std::time::Duration;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// List a page: the first, or the one that this token continues.
    List(Option<String>),
    /// Watch from this revision.
    Watch(String),
}

/// Where following has come to.
#[derive(Clone, Debug)]
pub struct Follow {
    step: Step,
    pause: Duration,
}

/// Short: a Pod may reach its node a moment before the node may read what the Pod uses.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Default for Follow {
    fn default() -> Self {
        Self {
            step: Step::List(None),
            pause: FIRST_PAUSE,
        }
    }
}

impl Follow {
    /// What to do next.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// A page came, with this revision and token. Says whether it was the last.
    pub fn listed(&mut self, revision: &str, token: &str) -> bool {
        self.pause = FIRST_PAUSE;
        let last = token.is_empty();
        self.step = match last {
            true => Step::Watch(revision.to_owned()),
            false => Step::List(Some(token.to_owned())),
        };
        last
    }

    /// An event or a bookmark came.
    pub fn moved(&mut self, revision: &str) {
        self.pause = FIRST_PAUSE;
        if !revision.is_empty() {
            self.step = Step::Watch(revision.to_owned());
        }
    }

    /// The step failed, with the server's code or without any answer, or the watch ended by itself. Gives
    /// how long to wait before the next; each time twice as long, until something comes.
    pub fn stopped(&mut self, code: Option<u16>) -> Duration {
        // A token or a revision of which the server knows no more.
        if code == Some(410) {
            self.step = Step::List(None);
            return Duration::ZERO;
        }
        if matches!(self.step, Step::List(_)) {
            self.step = Step::List(None);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_with_all_that_happens() {
        let mut follow = Follow::default();
        assert_eq!(follow.step(), &Step::List(None));
        assert!(!follow.listed("7", "more"));
        assert_eq!(follow.step(), &Step::List(Some("more".into())));
        assert!(follow.listed("7", ""));
        follow.moved("9");
        let pauses: Vec<_> = (0..3).map(|_| follow.stopped(None).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200]);
        assert_eq!(follow.step(), &Step::Watch("9".into()));
        follow.moved("10");
        assert_eq!(follow.stopped(Some(503)).as_millis(), 50, "something came");
        assert_eq!(follow.stopped(Some(410)), Duration::ZERO);
        assert_eq!(follow.step(), &Step::List(None));
        assert!(
            (0..20)
                .map(|_| follow.stopped(None))
                .all(|pause| pause <= LONGEST_PAUSE)
        );
    }
}
