//! Logs: the lines, which of them are shown, and the view.
//!
//! - [`ring`]: the last million lines; [`severity`]: how bad a line is; [`ansi`]: what a terminal may be given;
//! - [`filter`]: which lines are shown.

pub mod ansi;
pub mod filter;
pub mod ring;
pub mod severity;
