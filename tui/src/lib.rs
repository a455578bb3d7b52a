//! The terminal UI; its streams so far.

pub mod logs;
pub mod shell;
