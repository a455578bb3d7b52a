//! What only a click leads to, as a module of its own that is loaded when it is first wanted.
//!
//! [`More`] is all that the rest of the application knows of it. Whatever only these functions reach stays out of
//! what a browser loads at first; the bundler sees to that (`web/bundle`).

use std::sync::Arc;
use std::time::Duration;

use leptos::prelude::*;
use leptos::wasm_split::{SplitLoaderError, wasm_split};
use mizzen_api::console::locator::Place;
use mizzen_api::resource::Resource;
use wasm_bindgen_futures::spawn_local;

use super::act::{Act, Perform};
use super::change::Create;
use super::live;
use super::object::ObjectPage;
use super::state::{app, t};
use super::timeline::TimelinePage;
use super::topology::MapPage;
use crate::text::Text;

/// Between attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// What the module makes.
pub struct More {
    /// The page of an object.
    pub object: fn(Arc<Resource>, Place) -> AnyView,
    /// The map.
    pub map: fn() -> AnyView,
    /// Events in time.
    pub timeline: fn() -> AnyView,
    /// The dialog for new objects.
    pub create: fn() -> AnyView,
    /// The dialog of an action.
    pub perform: fn(Act) -> AnyView,
}

static MORE: More = More {
    object: |resource, place| view! { <ObjectPage resource place /> }.into_any(),
    map: || view! { <MapPage /> }.into_any(),
    timeline: || view! { <TimelinePage /> }.into_any(),
    create: || view! { <Create /> }.into_any(),
    perform: |act| view! { <Perform act /> }.into_any(),
};

#[wasm_split(more, wasm_split_path = ::leptos::wasm_split, fallible)]
fn load() -> Result<&'static More, SplitLoaderError> {
    Ok(&MORE)
}

/// Shows what the module makes, as soon as it is here.
pub fn later(make: impl Fn(&'static More) -> AnyView + Send + 'static) -> AnyView {
    let app = app();
    if app.more.with_untracked(Option::is_none) {
        spawn_local(async move {
            // Whoever waits at the same time waits for the same answer.
            let more = loop {
                match load().await {
                    Ok(more) => break more,
                    Err(_) => live::sleep(AGAIN).await,
                }
            };
            app.more.set(Some(more));
        });
    }
    let content = move || match app.more.get() {
        Some(more) => make(more),
        None => view! { <p class="empty" role="status">{t(Text::Loading)}</p> }.into_any(),
    };
    content.into_any()
}
