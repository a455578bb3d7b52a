//! A workload's rollout: how far it has come, its revisions, and what differs between any two.

use std::sync::Arc;

use leptos::prelude::*;
use mizzen_api::console::action::{Answers, Deed};
use mizzen_api::console::diff;
use mizzen_api::console::locator::Place;
use mizzen_api::console::rollout::{self, Revision};
use mizzen_api::resource::{Resource, builtin};
use mizzen_api::yaml;
use serde_json::Value;

use super::act::{Act, side_by_side};
use super::change::Dialog;
use super::live::{self, Change, Health, Source};
use super::state::{app, t};
use crate::text::Text;

/// The tab.
#[component]
pub fn Rollout(resource: Arc<Resource>, object: RwSignal<Option<Value>>, place: Place) -> impl IntoView {
    let app = app();
    let kept = RwSignal::new(Vec::<Value>::new());
    let health = RwSignal::new(Health::Loading);
    let keeper = object.with_untracked(|object| object.as_ref().map(rollout::kept_in));
    if let Some(kind) = keeper.and_then(|name| builtin().resolve(name)) {
        let source = Source {
            path: kind.path(&place.namespace, ""),
            ..Source::default()
        };
        live::follow(app, source, health, move |change| {
            let _ = kept.try_update(|kept| match change {
                Change::Put(objects) => {
                    for object in objects {
                        let name = mizzen_api::view::name(&object).to_owned();
                        kept.retain(|other| mizzen_api::view::name(other) != name);
                        kept.push(object);
                    }
                }
                Change::Rows(_) => {}
                Change::Remove(_, name) => kept.retain(|other| mizzen_api::view::name(other) != name),
            });
        });
    }
    let revisions = Memo::new(move |_| {
        object
            .with(|object| {
                let object = object.as_ref()?;
                Some(kept.with(|kept| rollout::revisions(object, kept)))
            })
            .unwrap_or_default()
    });
    // Chosen by number; the last two at first.
    let chosen = RwSignal::new((0_i64, 0_i64));
    let pair = Memo::new(move |_| {
        let (from, to) = chosen.get();
        revisions.with(|all| {
            let last = all.len().saturating_sub(1);
            let find =
                |number: i64, or: usize| all.iter().find(|r| r.number == number).or_else(|| all.get(or)).cloned();
            (find(from, last.saturating_sub(1)), find(to, last))
        })
    });
    let difference = move || {
        let (Some(from), Some(to)) = pair.get() else {
            return ().into_any();
        };
        let text = |revision: &Revision| yaml::to_string(&revision.restored());
        side_by_side(&diff::texts(&text(&from), &text(&to)))
    };
    let back = {
        let (resource, place) = (resource.clone(), place.clone());
        move |number: i64| {
            app.dialog.set(Some(Dialog::Act(Act {
                what: Deed::Rollback,
                resource: resource.clone(),
                places: vec![place.clone()],
                answers: Answers::from([("revision".to_owned(), number.to_string())]),
            })));
        }
    };
    let needs = resource;
    let namespace = place.namespace;
    let missing = Memo::new(move |_| {
        let rights = app.rights(&namespace)?;
        let action = mizzen_api::console::action::action(Deed::Rollback);
        rights.missing(action, &needs).map(|right| right.to_string())
    });
    let line = move |revision: Revision| {
        let number = revision.number;
        let current = object.with(|object| object.as_ref().is_some_and(|object| revision.is_current(object)));
        let back = back.clone();
        view! {
            <tr>
                <th scope="row">{number}</th><td>{revision.name}</td><td>{revision.cause}</td>
                <td><input type="radio" name="from" aria-label=move || format!("{} {number}", t(Text::Before)()) prop:checked=move || pair.with(|(from, _)| from.as_ref().is_some_and(|r| r.number == number))
                    on:change=move |_| chosen.update(|chosen| chosen.0 = number) /></td>
                <td><input type="radio" name="to" aria-label=move || format!("{} {number}", t(Text::After)()) prop:checked=move || pair.with(|(_, to)| to.as_ref().is_some_and(|r| r.number == number))
                    on:change=move |_| chosen.update(|chosen| chosen.1 = number) /></td>
                <td>{if current { view! { <strong class="sev-ok">{t(Text::Current)}</strong> }.into_any() } else {
                    view! { <button disabled=move || missing.with(Option::is_some) title=move || missing.get() on:click=move |_| back(number)>{t(Text::Rollback)}</button> }.into_any()
                }}</td>
            </tr>
        }
        .into_any()
    };
    view! {
        {move || object.with(|object| object.as_ref().map(|object| match rollout::progress(object) {
            Ok(progress) => {
                let share = 100 * progress.available.min(progress.wanted) / progress.wanted.max(1);
                view! { <p role="status" id="progress" class=if progress.done { "sev-ok" } else { "sev-progress" }>{progress.message}</p>
                    <div class="bar" aria-hidden="true"><span style:width=format!("{share}%")></span></div> }.into_any()
            }
            Err(refusal) => view! { <p role="alert" class="sev-failure">{refusal.0}</p> }.into_any(),
        }))}
        <h2>{t(Text::Revisions)}</h2>
        <table class="plain" id="revisions"><thead><tr><th scope="col">{t(Text::Revision)}</th><th scope="col">{t(Text::Name)}</th><th scope="col">{t(Text::Cause)}</th>
            <th scope="col">{t(Text::Before)}</th><th scope="col">{t(Text::After)}</th><td></td></tr></thead>
            <tbody>{move || revisions.get().into_iter().rev().map(line.clone()).collect::<Vec<_>>()}</tbody></table>
        {difference}
    }
    .into_any()
}
