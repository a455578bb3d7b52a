//! Whole-system tests: real processes, real containers, real clients.
