//! The dashboard: one crate, two programs.
//!
//! For wasm32 this is the application ([`app`]); for the host it is the application's built files
//! ([`ASSETS`]), which the server serves. `web/build.sh` makes the one, so that the other can embed it.
//! [`text`] is compiled for both: its tests run on the host.

#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(not(target_arch = "wasm32"))]
mod assets;
pub mod text;

#[cfg(not(target_arch = "wasm32"))]
pub use assets::{ASSETS, Asset};

/// Runs when the browser has loaded the program.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen(start)]
pub fn start() {
    app::start();
}
