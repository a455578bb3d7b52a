//! A terminal within the terminal: a shell in a container, or what a container runs.
//!
//! - [`keys`]: keys as the bytes that programs expect; [`pane`]: the emulated screen, its scrollback and its end.

mod containment;
pub mod keys;
pub mod pane;
