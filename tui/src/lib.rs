//! The terminal UI; not built yet.
