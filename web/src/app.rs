//! The application in the browser.
//!
//! [`state::App`] holds what all parts share; its address is a `Locator`, and every page is a function of
//! that. [`transport`] talks to the API, [`live`] follows collections with it. A page is a file: [`table`]
//! for any kind with its [`rows`], [`object`] for any object with its tabs ([`panels`], [`rollout`], [`logs`], [`terminal`]), [`overview`],
//! [`topology`] for the map, [`timeline`] for events. What changes things goes through [`act`] and [`change`] with its [`editor`].
//! What only a click leads to is a second module of the program ([`more`]).
//!
//! Invariant: what the API tells is only ever shown as text nodes and attribute values, never as markup.

mod act;
mod change;
mod editor;
mod frame;
mod keys;
mod live;
mod login;
mod logs;
mod more;
mod object;
mod overview;
mod panels;
mod rollout;
mod rows;
mod state;
mod table;
mod terminal;
mod timeline;
mod topology;
mod transport;

use leptos::prelude::*;

/// Mounts the application.
pub fn start() {
    mount_to_body(|| {
        let app = state::App::new();
        provide_context(app);
        frame::Frame()
    });
}
