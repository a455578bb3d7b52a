//! Actions driven by keys, with the server's part played by the test.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use mizzen_api::resource::{Resource, builtin};
use serde_json::{Value, json};

use crate::app::{App, Setup};
use crate::bindings::Bindings;
use crate::data::{Batch, Source, headings, row_of};
use crate::effect::Effect;
use crate::event::{Cluster, Event, Reply, Stamped, ViewId};

struct Console {
    app: App,
    /// What the last events wanted done.
    effects: Vec<Effect>,
}

impl Console {
    fn new(view: &str, objects: &[Value]) -> Self {
        let setup = Setup {
            view: view.to_owned(),
            ..Setup::default()
        };
        let (app, effects) = App::new(setup, Bindings::default(), now());
        let mut console = Self { app, effects };
        let cluster = Cluster {
            namespace: "shop".to_owned(),
            ..Cluster::default()
        };
        console.event(Event::Connected(Ok(cluster)));
        let watched = console.effects.iter().find_map(|effect| match effect {
            Effect::Watch(source) => Some(source.clone()),
            _ => None,
        });
        let source = watched.expect("a watch");
        let resource = resource_of(&source);
        let rows = objects
            .iter()
            .map(|o| row_of(resource, o.clone(), None, now()).into())
            .collect();
        for batch in [
            Batch::Headings(headings(resource).into()),
            Batch::Begin,
            Batch::Rows(rows, None),
            Batch::End,
        ] {
            console.event(Event::Data(source.clone(), batch));
        }
        console
    }

    fn event(&mut self, event: Event) {
        self.effects = self.app.update(Stamped { at: now(), event });
    }

    fn keys(&mut self, keys: &[KeyCode]) {
        for key in keys {
            self.event(Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)));
        }
    }

    fn ctrl(&mut self, key: char) {
        self.event(Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL)));
    }

    /// The job that was started, as text, and the view it is for.
    fn job(&self) -> (ViewId, String) {
        let found = self.effects.iter().find_map(|effect| match effect {
            Effect::Start(to, job) => Some((*to, format!("{job:?}"))),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("a job among {:?}", self.effects))
    }

    fn answer(&mut self, reply: Reply) {
        let (to, _) = self.job();
        self.event(Event::Reply(to, reply));
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn resource_of(source: &Source) -> &'static Resource {
    builtin()
        .by_path(&source.group, &source.version, &source.plural)
        .expect("a kind")
}

fn deployment(replicas: i64) -> Value {
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

use KeyCode::{Backspace, Char, Enter, Tab};

#[test]
fn scaling_reads_asks_and_sends() {
    let mut console = Console::new("deployments", &[deployment(2)]);
    console.keys(&[Char('s')]);
    assert!(console.job().1.starts_with("Read"), "{}", console.job().1);
    console.answer(Reply::Each(vec![Ok(deployment(2))]));
    // The button Cancel has the focus: back to the field, another number, and on to the second button.
    console.keys(&[KeyCode::Up, Backspace, Char('5'), Tab, Tab, Enter]);
    let (to, job) = console.job();
    assert!(
        job.contains("deployments/web/scale") && job.contains("\"replicas\": Number(5)"),
        "{job}"
    );
    assert!(
        job.contains("kubectl scale deployment/web --replicas=5 -n shop"),
        "{job}"
    );
    console.event(Event::Reply(to, Reply::Each(vec![Ok(Value::Null)])));
    assert!(console.app.state().get("wide").is_some(), "back in the table");
}

#[test]
fn deleting_needs_more_than_enter() {
    let mut console = Console::new("deployments", &[deployment(2)]);
    console.ctrl('d');
    console.answer(Reply::Each(vec![Ok(deployment(2))]));
    console.keys(&[Enter]);
    assert!(
        console.effects.iter().all(|e| !matches!(e, Effect::Start(..))),
        "cancel has the focus"
    );
    assert!(console.app.state().get("wide").is_some(), "back in the table");
}

#[test]
fn images_are_tried_before_they_are_set() {
    let mut console = Console::new("deployments", &[deployment(2)]);
    console.keys(&[Char('i')]);
    console.answer(Reply::Each(vec![Ok(deployment(2))]));
    console.keys(&[KeyCode::Up, Backspace, Char('2'), Tab, Tab, Enter]);
    assert!(console.job().1.starts_with("Try"), "{}", console.job().1);
    let mut after = deployment(2);
    after["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    console.answer(Reply::Each(vec![Ok(after)]));
    console.keys(&[Tab, Enter]);
    assert!(console.job().1.starts_with("Send"), "{}", console.job().1);
}

#[test]
fn edits_come_back_with_the_reason() {
    let mut console = Console::new("deployments", &[deployment(2)]);
    console.keys(&[Char('e')]);
    console.answer(Reply::Each(vec![Ok(deployment(2))]));
    let edit = |console: &Console| {
        let found = console.effects.iter().find_map(|effect| match effect {
            Effect::Edit(to, text) => Some((*to, text.clone())),
            _ => None,
        });
        found.expect("an editor")
    };
    let (to, text) = edit(&console);
    console.event(Event::Reply(
        to,
        Reply::Text(text.replace("name: web\n  namespace", "name: other\n  namespace")),
    ));
    let (to, text) = edit(&console);
    assert!(text.contains("# metadata.name may not change"), "{text}");
    let fixed = text
        .replace("name: other\n", "name: web\n")
        .replace("replicas: 2", "replicas: 3");
    console.event(Event::Reply(to, Reply::Text(fixed)));
    assert!(console.job().1.starts_with("Try"), "{}", console.job().1);
    let conflict = "Operation cannot be fulfilled: the object has been modified; please apply your changes".to_owned();
    console.answer(Reply::Each(vec![Err(conflict)]));
    assert!(console.job().1.starts_with("Read"), "{}", console.job().1);
    let mut newest = deployment(2);
    newest["metadata"]["labels"] = json!({"new": "label"});
    console.answer(Reply::Each(vec![Ok(newest)]));
    let job = console.job().1;
    assert!(job.contains("Number(3)") && job.contains("\"new\""), "{job}");

    // Agreed to; then only the status moves, and nobody is asked again.
    let mut after = deployment(3);
    after["metadata"]["labels"] = json!({"new": "label"});
    console.answer(Reply::Each(vec![Ok(after)]));
    console.keys(&[Tab, Enter]);
    assert!(console.job().1.starts_with("Send"), "{}", console.job().1);
    let conflict = "Operation cannot be fulfilled: the object has been modified; please apply your changes".to_owned();
    console.answer(Reply::Each(vec![Err(conflict)]));
    assert!(console.job().1.starts_with("Read"), "{}", console.job().1);
    let mut newest = deployment(2);
    newest["metadata"]["labels"] = json!({"new": "label"});
    newest["metadata"]["resourceVersion"] = json!("99");
    newest["status"]["observedGeneration"] = json!(7);
    console.answer(Reply::Each(vec![Ok(newest)]));
    let job = console.job().1;
    assert!(
        job.starts_with("Send") && job.contains("\"99\"") && job.contains("Number(3)"),
        "{job}"
    );
}
