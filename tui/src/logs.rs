//! Logs: the lines, which of them are shown, and the view.
//!
//! - [`ring`]: the last million lines; [`ansi`]: what a terminal may be given;
//! - [`filter`]: which lines are shown; `layout`: a line as rows of the screen; [`palette`]: colours;
//! - [`pane`]: the view.

pub mod ansi;
pub mod filter;
mod layout;
pub mod palette;
pub mod pane;
pub mod ring;

pub use mizzen_api::console::loglevel as severity;
