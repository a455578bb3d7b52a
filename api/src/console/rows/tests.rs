//! The table of rows against a model that sorts and filters from the start each time.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::console::filter::Filter;
use crate::resource::builtin;

fn pods() -> (&'static Arc<Resource>, Vec<&'static str>) {
    let resource = builtin().resolve("pods").expect("pods");
    (resource, table::columns(resource).iter().map(|c| c.name).collect())
}

fn pod(name: &str, phase: &str, restarts: i64, age: i64) -> Row {
    let now = Timestamp::from_second(1_000_000).expect("a time");
    let created = Timestamp::from_second(1_000_000 - age).expect("a time").to_string();
    let object = json!({"metadata": {"name": name, "namespace": &name[..1], "uid": name, "creationTimestamp": created},
        "spec": {"containers": [{}]}, "status": {"phase": phase,
        "containerStatuses": [{"ready": true, "restartCount": restarts, "state": {"running": {}}}]}});
    Row::new(pods().0, &object, now)
}

fn sorted(column: &str, descending: bool) -> Order {
    let sort = Sort {
        column: column.to_owned(),
        descending,
    };
    Order::new(Some(&sort), &pods().1)
}

fn names(index: &Index) -> String {
    index
        .shown()
        .iter()
        .map(|id| &*index.row(*id).expect("a row").name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn rows_come_in_order_and_stay_in_it() {
    let mut index = Index::default();
    index.extend([
        pod("b1", "Running", 2, 10),
        pod("a2", "Running", 11, 30),
        pod("a1", "Failed", 2, 20),
    ]);
    assert_eq!(names(&index), "a1 a2 b1");
    index.set_order(sorted("restarts", false));
    assert_eq!(names(&index), "a1 b1 a2");
    index.set_order(sorted("Restarts", true));
    assert_eq!(names(&index), "a2 a1 b1");
    index.set_order(sorted("age", false));
    assert_eq!(names(&index), "b1 a1 a2");
    index.put(pod("b1", "Running", 2, 40));
    assert_eq!(names(&index), "a1 a2 b1");
    index.set_keep(Keep {
        faults_only: true,
        ..Keep::default()
    });
    assert_eq!(names(&index), "a1");
    let filter = Filter::new("-f 1", &pods().1).expect("a filter");
    index.set_keep(Keep {
        filter,
        ..Keep::default()
    });
    assert_eq!(names(&index), "a1 b1");
    index.remove("a", "a1");
    assert_eq!((names(&index).as_str(), index.len()), ("b1", 2));
}

#[test]
fn typing_on_shows_what_typing_at_once_shows() {
    let rows = || {
        let phases = ["Running", "Failed", "Pending"];
        (0..30).map(move |n| pod(&format!("{}{n}", ["a", "b"][n % 2]), phases[n % 3], n as i64 % 4, 5))
    };
    let keep = |text: &str| Keep {
        filter: Filter::new(text, &pods().1).expect("a filter"),
        ..Keep::default()
    };
    for text in ["run", "a1", "B1", "!a", "status:fail", "^a|b2", "-f b1", "a b"] {
        let (mut typed, mut whole) = (Index::default(), Index::default());
        for index in [&mut typed, &mut whole] {
            index.set_order(sorted("restarts", true));
            index.extend(rows());
        }
        for end in 1..=text.len() {
            // What is no filter yet leaves the one before.
            if let Ok(filter) = Filter::new(&text[..end], &pods().1) {
                typed.set_keep(Keep {
                    filter,
                    ..Keep::default()
                });
            }
        }
        whole.set_keep(keep(text));
        assert_eq!(names(&typed), names(&whole), "{text}");
        typed.set_keep(keep(""));
        assert_eq!(typed.shown().len(), 30, "{text}");
    }
}

#[test]
fn ages_go_on_by_themselves() {
    let row = pod("a", "Running", 0, 10);
    let later = Timestamp::from_second(1_000_050).expect("a time");
    let columns = pods().1;
    let at = columns.iter().position(|c| *c == "Age").expect("a column");
    assert_eq!(row.text(at, "Age", later), "60s");
    assert_eq!(row.text(0, "Name", later), "a");
}

proptest! {
    #[test]
    fn changes_one_by_one_come_to_what_sorting_gives(
        changes in proptest::collection::vec((0..12u8, 0..4u8, 0..4i64, any::<bool>()), 0..60),
        column in 0..4usize, descending: bool, text in 0..4usize,
    ) {
        let column = ["name", "restarts", "age", "status"][column];
        let filter = Filter::new(["", "status:run", "-f a", "!a1"][text], &pods().1).expect("a filter");
        let mut index = Index::default();
        index.set_order(sorted(column, descending));
        index.set_keep(Keep { filter: filter.clone(), ..Keep::default() });
        let mut rows = std::collections::BTreeMap::new();
        for (name, phase, number, gone) in changes {
            let name = format!("{}{}", ['a', 'b', 'c'][usize::from(name % 3)], name / 3);
            if gone {
                index.remove(&name[..1], &name);
                rows.remove(&name);
            } else {
                let row = pod(&name, ["Running", "Failed", "Pending", "Succeeded"][usize::from(phase)], number, number * 7);
                index.put(row.clone());
                rows.insert(name, row);
            }
        }
        let mut whole = Index::default();
        whole.set_order(sorted(column, descending));
        whole.set_keep(Keep { filter, ..Keep::default() });
        let rows: Vec<_> = rows.into_values().rev().collect();
        rows.chunks(3).for_each(|page| whole.extend(page.iter().cloned()));
        prop_assert_eq!(names(&index), names(&whole));
        prop_assert_eq!(index.len(), whole.len());
        for (at, id) in index.shown().iter().enumerate() {
            prop_assert_eq!(index.position(*id), Some(at));
        }
    }
}

const FILTERS: [&str; 11] = [
    "", "r", "run", "-f a", "-f a1", "-f A", "!a1", "a1|b", "^a", "B", "pend 1",
];

proptest! {
    #[test]
    fn what_changes_while_a_filter_is_on_its_way_counts(
        steps in proptest::collection::vec((0..8u8, 0..30u8, 0..4usize, 0..4i64), 0..80),
    ) {
        let phases = ["Running", "Failed", "Pending", "Succeeded"];
        let mut index = Index::default();
        let mut rows = std::collections::BTreeMap::new();
        let (mut order, mut text) = (Order::default(), "");
        let named = |name: u8| format!("{}{}", ['a', 'b', 'c'][usize::from(name % 3)], name / 3);
        for (step, name, choice, number) in steps {
            match step {
                0 => {
                    text = FILTERS[(usize::from(name) + choice) % FILTERS.len()];
                    let filter = Filter::new(text, &pods().1).expect("a filter");
                    index.begin_keep(Keep { filter, ..Keep::default() });
                }
                1 => drop(index.advance()),
                2 => {
                    order = sorted(["name", "restarts", "age", "status"][choice], number > 1);
                    index.set_order(order);
                }
                3 => {
                    index.remove(&named(name)[..1], &named(name));
                    rows.remove(&named(name));
                }
                4 => {
                    let page: Vec<_> = (name..name + 12)
                        .map(|n| pod(&named(n % 30), phases[choice], number, number * 7))
                        .collect();
                    rows.extend(page.iter().map(|row| (row.name.to_string(), row.clone())));
                    index.begin_extend(page);
                }
                5 => index.prepare(),
                _ => {
                    let row = pod(&named(name), phases[choice], number, number * 7);
                    rows.insert(named(name), row.clone());
                    index.put(row);
                }
            }
            for id in index.shown() {
                prop_assert!(index.row(*id).is_some());
            }
            prop_assert_eq!(index.len(), rows.len());
        }
        index.finish();
        let filter = Filter::new(text, &pods().1).expect("a filter");
        let mut kept: Vec<_> = rows.values().filter_map(|row| Some((filter.rank(row)?, row))).collect();
        kept.sort_by(|(x, a), (y, b)| match filter.ranks() {
            true => y.cmp(x).then_with(|| order.compare(a, b)),
            false => order.compare(a, b),
        });
        let kept: Vec<_> = kept.into_iter().map(|(_, row)| &*row.name).collect();
        prop_assert_eq!(names(&index), kept.join(" "));
        for (at, id) in index.shown().iter().enumerate() {
            prop_assert_eq!(index.position(*id), Some(at));
        }
    }
}
