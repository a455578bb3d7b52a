//! Commands as they are typed, and how they are completed.

use super::*;
use crate::resource::builtin;

fn words(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Keep => "-".to_owned(),
        Namespaces::All => "ALL".to_owned(),
        Namespaces::These(names) => names.join(","),
    }
}

fn read(text: &str) -> String {
    match parse(text, builtin()) {
        Err(error) => format!("({error})"),
        Ok(Command::Namespace(namespaces)) => format!("to {}", words(&namespaces)),
        Ok(Command::Table {
            resource,
            namespaces,
            filter,
            context,
        }) => {
            let context = context.map(|c| format!(" @{c}")).unwrap_or_default();
            format!(
                "{} in {} [{filter}]{context}",
                resource.qualified_name(),
                words(&namespaces)
            )
        }
        Ok(Command::Special {
            special,
            resource,
            namespaces,
            argument,
            context,
        }) => {
            let kind = resource.map(|r| r.plural.to_string()).unwrap_or_default();
            let context = context.map(|c| format!(" @{c}")).unwrap_or_default();
            format!("{special:?} {kind} in {} [{argument}]{context}", words(&namespaces))
        }
    }
}

#[test]
fn commands_read_as_k9s_users_type_them() {
    let all = [
        "po",
        ":pods",
        "Pod",
        "deploy.apps",
        "dp shop",
        "svc a,b",
        "po all",
        "po /web.* x",
        "po shop /^a @prod",
        "po -f wb",
        "po app=web,tier!=x",
        "po 'app in (a, b)'",
        "po shop app in (a,b) @c",
        "ev @prod",
        "ns",
        "ns shop",
        "ns all",
        "ns /kube",
        "sec kube-system",
        "pulse",
        "xray dp shop",
        "x sts",
        "wk",
        "wk shop /web",
        "ctx",
        "ctx prod",
        "q!",
        "can s:default:x",
        "dir /tmp/x y",
        "crd",
        "hpa",
    ]
    .map(|text| format!("{text:26}{}", read(text)));
    insta::assert_snapshot!(all.join("\n"), @r"
    po                        pods in - []
    :pods                     pods in - []
    Pod                       pods in - []
    deploy.apps               deployments.apps in - []
    dp shop                   deployments.apps in shop []
    svc a,b                   services in a,b []
    po all                    pods in ALL []
    po /web.* x               pods in - [web.* x]
    po shop /^a @prod         pods in shop [^a] @prod
    po -f wb                  pods in - [-f wb]
    po app=web,tier!=x        pods in - [-l 'app=web,tier!=x']
    po 'app in (a, b)'        pods in - [-l 'app in (a, b)']
    po shop app in (a,b) @c   pods in shop [-l 'app in (a,b)'] @c
    ev @prod                  events in - [] @prod
    ns                        namespaces in - []
    ns shop                   to shop
    ns all                    to ALL
    ns /kube                  namespaces in - [kube]
    sec kube-system           secrets in kube-system []
    pulse                     Pulse  in - []
    xray dp shop              Xray deployments in shop []
    x sts                     Xray statefulsets in - []
    wk                        Workloads  in - []
    wk shop /web              Workloads  in shop [web]
    ctx                       Contexts  in - []
    ctx prod                  Contexts  in - [prod]
    q!                        Quit  in - []
    can s:default:x           Can  in - [s:default:x]
    dir /tmp/x y              Directory  in - [/tmp/x y]
    crd                       customresourcedefinitions.apiextensions.k8s.io in - []
    hpa                       horizontalpodautoscalers.autoscaling in - []
    ");
}

#[test]
fn mistakes_are_named() {
    let all = [
        "",
        "pdos",
        "frobnicate",
        "po a b",
        "xray",
        "xray foo",
        "pulse x",
        "deploymnet",
        "tokenreviews",
    ]
    .map(|text| format!("{text:14}{}", read(text)));
    insta::assert_snapshot!(all.join("\n"), @r"
                  (no command)
    pdos          (no kind or command pdos; did you mean pods)
    frobnicate    (no kind or command frobnicate)
    po a b        (b is too much: KIND [NS] [/filter | -f letters] [k=v,k2=v2] [@context])
    xray          (xray needs a kind)
    xray foo      (no kind or command foo)
    pulse x       (x is too much: pulse)
    deploymnet    (no kind or command deploymnet; did you mean deployments)
    tokenreviews  (no kind or command tokenreviews)
    ");
}

#[test]
fn words_are_completed_where_they_stand() {
    let namespaces = ["default", "kube-system", "shop"].map(str::to_owned);
    let contexts = ["prod", "dev"].map(str::to_owned);
    let known = Words {
        registry: builtin(),
        namespaces: &namespaces,
        contexts: &contexts,
    };
    let all = [
        "",
        "p",
        "po",
        "dep",
        "pu",
        "po ",
        "po k",
        "po shop,d",
        "po shop @p",
        "ctx d",
        "xray stat",
        "xray sts de",
        "po /we",
        "zzz",
        "po app=w",
        "can u:",
    ]
    .map(|text| {
        let mut candidates = candidates(text, known);
        candidates.truncate(4);
        format!("{text}·{} | {}", ghost(text, known), candidates.join(" "))
    });
    insta::assert_snapshot!(all.join("\n"), @r"
    · | 
    p·c | pc pf po pu
    po· | po pod pods podmetrics
    dep·loy | deploy deployment deployments
    pu· | pu pulse pulses
    po · | all shop default kube-system
    po k·ube-system | kube-system
    po shop,d·efault | shop,default
    po shop @p·rod | @prod
    ctx d·ev | dev
    xray stat·efulset | statefulset statefulsets
    xray sts de·fault | default
    po /we· | 
    zzz· | 
    po app=w· | 
    can u:· |
    ");
}

#[test]
fn no_special_name_stands_twice_or_hides_a_short_name() {
    let mut seen = std::collections::BTreeSet::new();
    for name in SPECIALS.iter().flat_map(|row| row.names) {
        assert!(seen.insert(name), "{name}");
        assert!(builtin().resolve(name).is_none(), "{name} is a kind");
    }
    for (alias, plural) in ALIASES {
        assert!(builtin().resolve(alias).is_none(), "{alias}");
        assert!(builtin().resolve(plural).is_some(), "{plural}");
    }
}
