//! Asking for credentials, over whatever is shown.

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::state::{app, t};
use super::transport::Call;
use crate::text::Text;

/// The dialog, while somebody has to log in.
#[component]
pub fn Login() -> impl IntoView {
    let app = app();
    move || {
        app.asks
            .get()
            .then(|| view! { <div class="veil"><Form /></div> }.into_any())
    }
}

#[component]
fn Form() -> impl IntoView {
    let app = app();
    let token = RwSignal::new(String::new());
    let wrong = RwSignal::new(None::<String>);
    let language = app.language;
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        spawn_local(async move {
            let body = serde_json::json!({"token": token.get_untracked().trim()}).to_string();
            match Call::with("POST", "/dashboard/session", &body).send().await {
                Ok(_) => app.identify().await,
                Err(super::transport::Failure::Unauthorized) => {
                    wrong.set(Some(Text::LoginWrong.of(language.get_untracked()).to_owned()));
                }
                Err(failure) => wrong.set(Some(failure.to_string())),
            }
        });
    };
    let before = app.user.with_untracked(Option::is_some);
    view! {
        <form class="dialog" role="dialog" aria-modal="true" aria-labelledby="login-title" on:submit=submit>
            <h1 id="login-title">"Mizzen"</h1>
            {before.then(|| view! { <p role="alert">{t(Text::LoginExpired)}</p> })}
            <p>{t(Text::LoginHint)}</p>
            <label for="token">{t(Text::Token)}</label>
            <input id="token" type="password" autocomplete="off" spellcheck="false" autofocus
                prop:value=token on:input=move |event| token.set(event_target_value(&event)) />
            <p class="wrong" role="alert">{move || wrong.get()}</p>
            <p class="buttons"><button type="submit" class="first">{t(Text::LogIn)}</button></p>
        </form>
    }
    .into_any()
}
