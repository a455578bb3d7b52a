//! The one HTTP pipeline, a file per stage.
//!
//! A request passes: limits, authentication, resolution of its path into [`request::Request`] terms,
//! authorization, decoding, defaulting, admission, validation, the store. Handlers are per verb.

pub mod admission;
pub mod authentication;
pub mod authorization;
#[cfg(test)]
mod fake;
pub mod listener;
