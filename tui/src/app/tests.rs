//! The console as a whole, without a terminal and without a server: events in, screens out.

use std::sync::Arc;

use jiff::Timestamp;
use mizzen_api::resource::builtin;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::*;
use crate::bindings::parse;
use crate::data::{Batch, Row, headings, row_of};

const NOW: &str = "2026-03-01T12:00:00Z";

struct Console {
    app: App,
    effects: Vec<Effect>,
    now: Timestamp,
    width: u16,
    height: u16,
    record: Vec<String>,
}

impl Console {
    fn new() -> Self {
        Self::with(Setup::default())
    }

    fn with(setup: Setup) -> Self {
        let now = NOW.parse().unwrap();
        let (app, effects) = App::new(setup, Bindings::default(), now);
        let mut console = Self {
            app,
            effects,
            now,
            width: 100,
            height: 20,
            record: Vec::new(),
        };
        console.event(Event::Resize(100, 20));
        console
    }

    fn connected() -> Self {
        let mut console = Self::new();
        console.connect();
        console
    }

    fn connect(&mut self) {
        self.event(Event::Connected(Ok(Cluster {
            context: "demo".to_owned(),
            cluster: "demo-cluster".to_owned(),
            user: "admin".to_owned(),
            namespace: "default".to_owned(),
            ..Cluster::default()
        })));
    }

    fn event(&mut self, event: Event) {
        let stamped = Stamped { at: self.now, event };
        self.record.push(serde_json::to_string(&stamped).unwrap());
        self.effects.extend(self.app.update(stamped));
    }

    fn keys(&mut self, keys: &str) {
        for key in keys.split(' ') {
            self.event(Event::Key(parse(key).unwrap_or_else(|| panic!("{key}"))));
        }
    }

    fn line(&mut self, text: &str) {
        for c in text.chars() {
            let key = if c == ' ' { "space".to_owned() } else { c.to_string() };
            self.keys(&key);
        }
        self.keys("enter");
    }

    /// The watches that were asked for and not given up, as `plural namespace`.
    fn watches(&self) -> Vec<String> {
        let mut open: Vec<String> = Vec::new();
        for effect in &self.effects {
            let name = |s: &Source| format!("{} {}", s.plural, s.namespace).trim().to_owned();
            match effect {
                Effect::Watch(source) => open.push(name(source)),
                Effect::Unwatch(source) => open.retain(|o| *o != name(source)),
                _ => {}
            }
        }
        open
    }

    fn source(&self, plural: &str) -> Arc<Source> {
        self.watched(plural, false)
    }

    /// Where the latest view gets its objects from, or what is measured of them.
    fn watched(&self, plural: &str, measures: bool) -> Arc<Source> {
        let mut watched = self.effects.iter().filter_map(|effect| match effect {
            Effect::Watch(source) => Some(source.clone()),
            _ => None,
        });
        watched
            .rfind(|source| source.plural == plural && (source.group == "metrics.k8s.io") == measures)
            .unwrap_or_else(|| panic!("{plural} are not watched"))
    }

    fn rows(&self, plural: &str, objects: Vec<Value>) -> Vec<Arc<Row>> {
        let resource = builtin().resolve(plural).unwrap();
        let row = |object| Arc::new(row_of(resource, object, None, self.now));
        objects.into_iter().map(row).collect()
    }

    fn list(&mut self, plural: &str, objects: Vec<Value>) {
        let source = self.source(plural);
        let resource = builtin().resolve(plural).unwrap();
        let rows = self.rows(plural, objects);
        for batch in [
            Batch::Headings(headings(resource).into()),
            Batch::Begin,
            Batch::Rows(rows, None),
            Batch::End,
        ] {
            self.event(Event::Data(source.clone(), batch));
        }
    }

    fn news(&mut self, plural: &str, objects: Vec<Value>) {
        let (source, rows) = (self.source(plural), self.rows(plural, objects));
        self.event(Event::Data(source, Batch::News(rows, Vec::new())));
    }

    fn screen(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(self.width, self.height)).unwrap();
        terminal.draw(|frame| self.app.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..self.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let lines = (0..self.height).map(line).map(|l: String| l.trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The screen without the hints, which every new binding changes.
    fn body(&self) -> String {
        let screen = self.screen();
        screen
            .rsplit_once('\n')
            .map_or(String::new(), |(body, _)| body.to_owned())
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        let screen = self.screen();
        assert!(screen.contains(text), "{text:?} is not on screen:\n{screen}");
    }

    #[track_caller]
    fn sees_not(&self, text: &str) {
        let screen = self.screen();
        assert!(!screen.contains(text), "{text:?} is on screen:\n{screen}");
    }
}

fn pod(name: &str, phase: &str, restarts: i64) -> Value {
    let ready = phase == "Running";
    let state = match phase {
        "Running" => json!({"running": {"startedAt": "2026-03-01T11:58:00Z"}}),
        _ => json!({"waiting": {"reason": phase}}),
    };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-03-01T11:58:00Z",
            "labels": {"app": name.split('-').next()},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "web:1"}]},
        "status": {"phase": if ready { "Running" } else { "Pending" },
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "main", "ready": ready, "restartCount": restarts, "state": state}]}})
}

fn some_pods() -> Vec<Value> {
    vec![
        pod("web-a", "Running", 0),
        pod("web-b", "CrashLoopBackOff", 7),
        pod("db-a", "Running", 2),
    ]
}

fn with_pods() -> Console {
    let mut console = Console::connected();
    console.list("pods", some_pods());
    console
}

#[test]
fn the_first_frame_says_what_it_waits_for() {
    let console = Console::new();
    console.sees("connecting to the current context");
    assert!(matches!(&console.effects[..], [Effect::Connect(None)]));
}

#[test]
fn pods_come_up_with_their_severity_beside_them() {
    insta::assert_snapshot!(with_pods().body());
}

#[test]
fn emptiness_is_told_apart() {
    let mut console = Console::connected();
    console.sees("synchronizing pods in default");
    let source = console.source("pods");
    let trouble = |code| {
        Batch::Trouble(crate::data::Trouble {
            message: "pods is forbidden".to_owned(),
            code,
        })
    };
    console.event(Event::Data(source.clone(), trouble(403)));
    console.sees("the verb list is missing on pods in default");
    console.list("pods", Vec::new());
    console.sees("there are no pods in default");
    console.list("pods", some_pods());
    console.keys("/ z z z enter");
    console.sees("none of 3 pods match /zzz");
    console.event(Event::Data(source, trouble(0)));
    console.sees("trying again");
}

#[test]
fn the_filter_follows_the_typing_and_escape_takes_it_back() {
    let mut console = with_pods();
    console.keys("/ w e b");
    console.sees("pods(default)[2/3]");
    console.sees_not("db-a");
    console.keys("esc");
    console.sees("db-a");
    console.keys("/ s t a t u s : c r a s h enter");
    console.sees("[1/3]");
    console.keys("esc");
    console.sees("pods(default)[3]");
}

#[test]
fn columns_sort_and_turn_round() {
    let mut console = with_pods();
    let order = |console: &Console| {
        let screen = console.screen();
        let mut names: Vec<_> = ["web-a", "web-b", "db-a"].map(|n| (screen.find(n).unwrap(), n)).into();
        names.sort_unstable();
        names.iter().map(|(_, n)| *n).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order(&console), "db-a web-a web-b");
    // Those that restart most are looked for.
    console.keys("T");
    assert_eq!(order(&console), "web-b db-a web-a");
    console.sees("RESTARTS↓");
    console.keys("T");
    assert_eq!(order(&console), "web-a db-a web-b");
    console.keys("shift-right O");
    console.sees("NAME↑");
}

#[test]
fn back_restores_filter_and_selection() {
    let mut console = with_pods();
    console.keys("/ w e b enter j");
    let before = console.app.state();
    console.keys(":");
    console.line("deploy");
    console.sees("deployments(default)");
    console.keys("[");
    assert_eq!(console.app.state(), before);
    console.sees("[2/3]");
    console.keys("]");
    console.sees("deployments(default)");
    console.keys("-");
    assert_eq!(console.app.state(), before);
}

#[test]
fn watches_follow_the_views_and_linger_a_while() {
    let mut console = with_pods();
    assert_eq!(console.watches(), ["pods default"]);
    console.keys(":");
    console.line("svc kube-system,default");
    assert_eq!(
        console.watches(),
        ["pods default", "namespaces", "services default", "services kube-system"]
    );
    console.now += SignedDuration::from_secs(31);
    console.event(Event::Tick);
    assert_eq!(console.watches(), ["services default", "services kube-system"]);
    // The digits lead to the namespaces in use.
    console.keys("0");
    assert!(console.app.due().is_some());
    console.sees("services(all)");
}

#[test]
fn changes_are_marked_and_the_mark_fades() {
    let mut console = with_pods();
    console.news("pods", vec![pod("db-a", "Running", 3)]);
    console.sees("3↑");
    console.now += SignedDuration::from_secs(6);
    console.event(Event::Tick);
    console.sees_not("3↑");
}

#[test]
fn a_key_that_does_nothing_says_so() {
    let mut console = with_pods();
    console.keys("~");
    console.sees("~ does nothing here");
    console.keys("[");
    console.sees("no other view in this direction");
}

#[test]
fn marks_are_counted_and_cleared() {
    let mut console = with_pods();
    console.keys("space space");
    console.sees("2 marked");
    console.keys("ctrl-\\");
    console.sees_not("marked");
    console.keys("g space G ctrl-space");
    console.sees("3 marked");
}

#[test]
fn the_prompt_offers_an_end() {
    let mut console = with_pods();
    console.keys(": d e p l o y m e n");
    console.sees(":deployment");
    console.keys("tab enter");
    console.sees("deployments(default)");
    console.keys(":");
    console.line("frobs");
    console.sees("frobs");
}

#[test]
fn text_is_searched_and_shown_anew() {
    let mut console = with_pods();
    console.keys("d");
    let id = console.app.tabs.top().unwrap().id;
    assert!(matches!(console.effects.last(), Some(Effect::Watch(_))));
    console.event(Event::Reply(
        id,
        Reply::Text("Name:  db-a\nNode:  n1\nIP:\nNode-Selectors:  none".to_owned()),
    ));
    console.keys("/ n o d e enter");
    console.sees("Describe(default/db-a) /node 1/2");
    console.keys("n");
    console.sees("/node 2/2");
    console.keys("esc esc");
    console.sees("pods(default)[3]");
}

#[test]
fn a_small_terminal_says_what_it_needs() {
    let mut console = with_pods();
    (console.width, console.height) = (20, 4);
    console.event(Event::Resize(20, 4));
    console.sees("20×4, need 40×8");
    for size in [(1, 1), (40, 8), (300, 100)] {
        (console.width, console.height) = size;
        console.event(Event::Resize(size.0, size.1));
        console.screen();
    }
}

#[test]
fn lost_connections_dim_the_rows_and_say_so() {
    let mut console = with_pods();
    let source = console.source("pods");
    let trouble = crate::data::Trouble {
        message: "cannot reach the server: connection refused".to_owned(),
        code: 0,
    };
    console.event(Event::Data(source.clone(), Batch::Trouble(trouble)));
    console.sees("▲ cannot reach the server: connection refused, trying again");
    console.sees("web-a");
    console.event(Event::Data(source, Batch::Well));
    console.sees("● live");
}

#[test]
fn recorded_events_replay_to_the_same_screen() {
    let mut console = with_pods();
    console.keys("/ w e b enter T j :");
    console.line("no");
    console.keys("[");
    let (mut app, _) = App::new(Setup::default(), Bindings::default(), NOW.parse().unwrap());
    for line in &console.record {
        app.update(serde_json::from_str(line).unwrap());
    }
    let mut replayed = Console::new();
    replayed.app = app;
    assert_eq!(replayed.screen(), console.screen());
}

#[test]
fn help_lists_every_binding() {
    let mut console = with_pods();
    (console.width, console.height) = (200, 400);
    console.event(Event::Resize(200, 400));
    console.keys("?");
    let screen = console.screen();
    for binding in bindings::BINDINGS {
        assert!(screen.contains(binding.name), "{}", binding.name);
    }
}

#[test]
fn skins_draw_without_colour_too() {
    for skin in crate::theme::SKINS {
        let mut console = Console::with(Setup {
            theme: *skin,
            ..Setup::default()
        });
        console.connect();
        console.list("pods", some_pods());
        console.sees("✖ web-b");
    }
}

#[test]
fn a_text_is_read_again_when_its_object_changes() {
    let mut console = with_pods();
    console.keys("y");
    let reads = |console: &Console| {
        let started = console.effects.iter().filter(|e| matches!(e, Effect::Start(..)));
        started.count()
    };
    assert_eq!(reads(&console), 1);
    console.list("pods", vec![pod("db-a", "Running", 2)]);
    assert_eq!(reads(&console), 1);
    console.news("pods", vec![pod("db-a", "Running", 3)]);
    assert_eq!(reads(&console), 2);
    let source = console.source("pods");
    console.event(Event::Data(
        source,
        Batch::News(Vec::new(), vec![("default".into(), "db-a".into())]),
    ));
    console.sees("YAML(default/db-a) deleted");
}

#[test]
fn a_dialog_keeps_the_focus_on_cancel_and_asks_for_the_name() {
    let setup = Setup {
        protected: vec!["demo".to_owned()],
        ..Setup::default()
    };
    let mut console = Console::with(setup);
    console.connect();
    console.list("pods", some_pods());
    let id = console.app.tabs.top().unwrap().id;
    let dialog = crate::view::Dialog {
        name: "delete".to_owned(),
        title: "Delete".to_owned(),
        lines: vec!["pod db-a".to_owned()],
        buttons: vec!["Cancel".to_owned(), "Delete".to_owned()],
        dangerous: true,
        ..crate::view::Dialog::default()
    };
    let mut effects = Vec::new();
    console.app.carry_out(id, vec![Do::Ask(dialog.clone())], &mut effects);
    console.sees("Type to confirm demo");
    console.keys("enter");
    console.sees_not("Type to confirm");
    console.app.carry_out(id, vec![Do::Ask(dialog)], &mut effects);
    console.keys("right enter");
    console.sees("what was typed is not the name");
    console.keys("d e m o tab right enter");
    console.sees_not("Type to confirm");
}

mod features;
mod screens;
