//! Filters: what they match, what they say of what they cannot read, and how they are written.

use super::*;
use crate::table::Severity;

const COLUMNS: [&str; 6] = ["Name", "Ready", "Status", "Restarts", "Age", "Node"];

struct Pod {
    namespace: &'static str,
    cells: Vec<Cell>,
    labels: Vec<(&'static str, &'static str)>,
}

impl Fields for Pod {
    fn namespace(&self) -> &str {
        self.namespace
    }
    fn name(&self) -> &str {
        match &self.cells[0].content {
            Content::Text(text) => text,
            _ => "",
        }
    }
    fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.get(column)
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }
}

fn pod(
    namespace: &'static str,
    name: &'static str,
    status: &'static str,
    restarts: i64,
    age: i64,
    node: &'static str,
) -> Pod {
    let app = name.split('-').next().unwrap_or_default();
    Pod {
        namespace,
        cells: vec![
            Cell::text(name),
            Cell::ratio(1, 1),
            Cell::text(status).severity(Severity::Ok),
            Cell::int(restarts),
            Cell::text(format!("{age}s")).sort(age),
            Cell::text(node),
        ],
        labels: vec![("app", app)],
    }
}

fn pods() -> Vec<Pod> {
    vec![
        pod("default", "web-1", "Running", 0, 50, "n1"),
        pod("default", "web-2", "CrashLoopBackOff", 12, 4000, "n2"),
        pod("kube-system", "dns-1", "Running", 1, 90000, "n1"),
        pod("shop", "api-Front", "Completed", 0, 7, "n3"),
    ]
}

fn kept(text: &str) -> String {
    match Filter::new(text, &COLUMNS) {
        Err(error) => format!("({error})"),
        Ok(filter) => {
            let mut names: Vec<_> = pods()
                .iter()
                .filter_map(|p| Some((-filter.rank(p)?, p.name().to_owned())))
                .collect();
            if filter.ranks() {
                names.sort_by_key(|(rank, _)| *rank);
            }
            names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn terms_keep_what_they_say() {
    let all = [
        "",
        "web",
        "WEB",
        "Front",
        "front",
        "^dns|^api",
        "!web",
        "! web",
        "crash",
        "status:crash",
        "stat:crash !node:n2",
        "!node:n2",
        "ns:default",
        "ns:=default|shop",
        "ns:=shop",
        "ns:shop|kube status:run",
        "namesp:shop",
        "name:web",
        "app=web",
        "app!=web",
        "!app=web",
        "-l app=web",
        "-l app in (web, dns) node:n1",
        "-l 'app notin (web)'",
        "-l !app",
        "restarts>0",
        "restarts>=12",
        "age<1m",
        "age>1h30m",
        "age<=7",
        "-f w2",
        "-f ap",
        "-f wb status:run",
        "50s",
        "age:50s",
        "\"web-1\"",
        "12",
        "node:\"n1\"",
        r"web\-1",
        "ready:1/1 web",
    ]
    .map(|text| format!("{text:34}{}", kept(text)));
    insta::assert_snapshot!(all.join("\n"), @r#"
                                      web-1 web-2 dns-1 api-Front
    web                               web-1 web-2
    WEB                               
    Front                             api-Front
    front                             api-Front
    ^dns|^api                         dns-1 api-Front
    !web                              dns-1 api-Front
    ! web                             web-1 web-2
    crash                             web-2
    status:crash                      web-2
    stat:crash !node:n2               
    !node:n2                          web-1 dns-1 api-Front
    ns:default                        web-1 web-2
    ns:=default|shop                  web-1 web-2 api-Front
    ns:=shop                          api-Front
    ns:shop|kube status:run           dns-1
    namesp:shop                       api-Front
    name:web                          web-1 web-2
    app=web                           web-1 web-2
    app!=web                          dns-1 api-Front
    !app=web                          dns-1 api-Front
    -l app=web                        web-1 web-2
    -l app in (web, dns) node:n1      web-1 dns-1
    -l 'app notin (web)'              dns-1 api-Front
    -l !app                           
    restarts>0                        web-2 dns-1
    restarts>=12                      web-2
    age<1m                            web-1 api-Front
    age>1h30m                         dns-1
    age<=7                            api-Front
    -f w2                             web-2
    -f ap                             api-Front
    -f wb status:run                  web-1
    50s                               
    age:50s                           web-1
    "web-1"                           web-1
    12                                web-2
    node:"n1"                         web-1 dns-1
    web\-1                            web-1
    ready:1/1 web                     web-1 web-2
    "#);
}

#[test]
fn mistakes_are_named() {
    let all = [
        "color:red",
        "r:1",
        "re:1",
        "web(",
        "-l",
        "-f",
        "-l a==",
        "-l a in",
        "\"web",
        "restarts>x",
        "nginx:1.25",
        "age<",
    ]
    .map(|text| format!("{text:14}{}", kept(text)));
    insta::assert_snapshot!(all.join("\n"), @r#"
    color:red     (no column color)
    r:1           (r may be ready or restarts)
    re:1          (re may be ready or restarts)
    web(          (bad pattern web(: unclosed group)
    -l            (-l needs labels)
    -f            (-f needs letters)
    -l a==        
    -l a in       (bad labels: found '' expected: '(')
    "web          (unclosed quote)
    restarts>x    (restarts>x needs a number or an age)
    nginx:1.25    (no column nginx)
    age<          (age< needs a number or an age)
    "#);
}

#[test]
fn matches_are_marked_where_they_stand() {
    let filter = Filter::new("we node:n1 !x", &COLUMNS).expect("a filter");
    assert_eq!(filter.marks(Some(0), "the-web").first(), Some(&(4..6)));
    assert_eq!(filter.marks(Some(5), "n1").first(), Some(&(0..2)));
    assert!(filter.marks(Some(4), "we").is_empty());
    assert_eq!(filter.marks(None, "we").first(), Some(&(0..2)));
}

#[test]
fn letters_that_sit_well_score_more() {
    let fuzzy = Fuzzy::new("wf");
    let mut names = ["swift", "web-front", "wafer-x", "wf", "nowhere-for"];
    names.sort_by_key(|name| std::cmp::Reverse(fuzzy.score(name)));
    assert_eq!(names.join(" "), "wf web-front wafer-x nowhere-for swift");
    assert_eq!(fuzzy.score("fw"), None);
}
