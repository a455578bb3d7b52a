//! A Job's accounting against everything that may happen to Pods, caches and the controller itself.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::account;
use super::backoff::Backoff;
use super::facts::{FINALIZER, Facts, View, has_finalizer};
use super::plan::{self, Plan};
use super::{Done, conclude};
use crate::controllers::kinds::batch::{Job, JobStatus};
use crate::controllers::kinds::{JobMarks, Pod};

fn job(spec: Value) -> Job {
    let mut full = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed"});
    json_patch::merge(&mut full, &spec);
    serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "n", "uid": "job"}, "spec": full})).unwrap()
}

/// A Pod: uid, phase, and more of it.
fn pod(uid: &str, phase: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "finalizers": [FINALIZER]},
        "status": {"phase": phase}});
    json_patch::merge(&mut pod, &more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn indexed(uid: &str, phase: &str, index: i64, failures: i64) -> Arc<Pod> {
    let marks = json!({"batch.kubernetes.io/job-completion-index": index.to_string(),
        "batch.kubernetes.io/job-index-failure-count": failures.to_string()});
    pod(uid, phase, json!({"metadata": {"annotations": marks}}))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// One look at a Job, in a line.
fn look(job: &Job, pods: &[Arc<Pod>]) -> String {
    let none = HashSet::new();
    let view = View {
        job,
        pods,
        stripped: &none,
        settled: true,
        backoff: Backoff::default(),
        now: at(1000),
    };
    let facts = Facts::of(&view);
    let plan = plan::plan(&view, &facts);
    let created: Vec<_> = plan.create.iter().map(|marks| (marks.index, marks.failures)).collect();
    let deleted: Vec<_> = plan.delete.iter().map(|pod| &*pod.metadata.uid).collect();
    let done = Done {
        created: super::count(&plan.create),
        deleted: plan.delete.clone(),
        error: None,
    };
    let mut line = String::new();
    if !created.is_empty() {
        line += &format!("create {created:?} ");
    }
    if !deleted.is_empty() {
        line += &format!("delete {deleted:?} ");
    }
    if let Some(next) = plan.next {
        line += &format!("wait {next:?} ");
    }
    let (status, finish) = conclude(&view, &facts, plan, &done);
    let account = account::account(&view, &facts, status, finish.as_ref());
    if let Some(finish) = &finish {
        line += &format!("{}: {} {} ", finish.last.kind, finish.last.reason, finish.last.message);
    }
    let strip: Vec<_> = account.strip.iter().map(|pod| &*pod.metadata.uid).collect();
    let status = account.status;
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    line + &format!(
        "strip {strip:?} active {} succeeded {} failed {} uncounted {:?}/{:?}",
        status.active, status.succeeded, status.failed, uncounted.succeeded, uncounted.failed
    )
}

#[test]
fn pods_are_made_replaced_and_counted() {
    let two = || job(json!({"parallelism": 2, "completions": 3}));
    insta::assert_snapshot!(look(&two(), &[]), @r#"create [(None, 0), (None, 0)] strip [] active 2 succeeded 0 failed 0 uncounted []/[]"#);
    let pods = [pod("a", "Running", json!({})), pod("b", "Succeeded", json!({}))];
    insta::assert_snapshot!(look(&two(), &pods), @r#"create [(None, 0)] strip ["b"] active 2 succeeded 0 failed 0 uncounted ["b"]/[]"#);
    let mut done = two();
    done.status.succeeded = 3;
    insta::assert_snapshot!(look(&done, &[]), @r#"Complete: CompletionsReached Reached expected number of succeeded pods strip [] active 0 succeeded 3 failed 0 uncounted []/[]"#);
    // A failure is waited for.
    let failed = pod(
        "f",
        "Failed",
        json!({"status": {"containerStatuses": [{"state": {"terminated": {"finishedAt": at(995)}}}]}}),
    );
    insta::assert_snapshot!(look(&two(), std::slice::from_ref(&failed)), @r#"wait 5s strip ["f"] active 0 succeeded 0 failed 0 uncounted []/["f"]"#);
    let strict = job(json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}));
    insta::assert_snapshot!(look(&strict, &[failed, pod("a", "Running", json!({}))]), @r#"delete ["a"] Failed: BackoffLimitExceeded Job has reached the specified backoff limit strip ["a", "f"] active 0 succeeded 0 failed 0 uncounted []/["a", "f"]"#);
    let work_queue = job(json!({"parallelism": 3, "completions": null}));
    insta::assert_snapshot!(look(&work_queue, &[pod("a", "Running", json!({})), pod("b", "Succeeded", json!({}))]), @r#"strip ["b"] active 1 succeeded 0 failed 0 uncounted ["b"]/[]"#);
    let held = job(json!({"suspend": true}));
    insta::assert_snapshot!(look(&held, &[pod("a", "Running", json!({}))]), @r#"delete ["a"] strip [] active 0 succeeded 0 failed 0 uncounted []/[]"#);
    let less = job(json!({"parallelism": 1, "completions": 5}));
    insta::assert_snapshot!(look(&less, &[pod("a", "Pending", json!({})), pod("b", "Running", json!({"spec": {"nodeName": "n"}}))]), @r#"delete ["a"] strip [] active 1 succeeded 0 failed 0 uncounted []/[]"#);
    let mut late = job(json!({"activeDeadlineSeconds": 60}));
    late.status.start_time = Some(at(960));
    insta::assert_snapshot!(look(&late, &[pod("a", "Running", json!({}))]), @r#"wait 20s strip [] active 1 succeeded 0 failed 0 uncounted []/[]"#);
    late.status.start_time = Some(at(900));
    insta::assert_snapshot!(look(&late, &[pod("a", "Running", json!({}))]), @r#"delete ["a"] Failed: DeadlineExceeded Job was active longer than specified deadline strip ["a"] active 0 succeeded 0 failed 0 uncounted []/["a"]"#);
}

#[test]
fn a_pod_on_its_way_out_is_replaced_when_the_policy_says() {
    let leaving = pod("a", "Running", json!({"metadata": {"deletionTimestamp": at(0)}}));
    let pods = std::slice::from_ref(&leaving);
    insta::assert_snapshot!(look(&job(json!({})), pods), @r#"create [(None, 0)] strip ["a"] active 1 succeeded 0 failed 0 uncounted []/["a"]"#);
    insta::assert_snapshot!(look(&job(json!({"podReplacementPolicy": "Failed"})), pods), @"strip [] active 0 succeeded 0 failed 0 uncounted []/[]");
}

#[test]
fn indexes_are_worked_for_one_by_one() {
    let three = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "parallelism": 3, "completions": 4});
        json_patch::merge(&mut spec, &more);
        job(spec)
    };
    let pods = [
        indexed("a", "Succeeded", 1, 0),
        indexed("b", "Running", 2, 0),
        indexed("c", "Running", 2, 0),
    ];
    insta::assert_snapshot!(look(&three(json!({})), &pods), @r#"delete ["b"] strip ["a"] active 1 succeeded 1 failed 0 uncounted []/[]"#);
    insta::assert_snapshot!(look(&three(json!({})), &pods[..2]), @r#"create [(Some(0), 0), (Some(3), 0)] strip ["a"] active 3 succeeded 1 failed 0 uncounted []/[]"#);
    let ended = |pod: Arc<Pod>| {
        let mut pod = (*pod).clone();
        pod.metadata.deletion_timestamp = Some(at(0));
        Arc::new(pod)
    };
    // An index that fails is tried again on its own; its last Pod stays till then.
    let per_index = || three(json!({"backoffLimitPerIndex": 1, "backoffLimit": i32::MAX}));
    let pods = [
        ended(indexed("a", "Failed", 0, 0)),
        indexed("b", "Running", 1, 0),
        indexed("c", "Running", 2, 0),
    ];
    insta::assert_snapshot!(look(&per_index(), &pods), @r#"create [(Some(0), 1)] strip [] active 3 succeeded 0 failed 0 uncounted []/[]"#);
    let pods = [
        ended(indexed("a", "Failed", 0, 1)),
        indexed("b", "Succeeded", 1, 0),
        indexed("c", "Succeeded", 2, 0),
        indexed("d", "Succeeded", 3, 0),
    ];
    insta::assert_snapshot!(look(&per_index(), &pods), @r#"Failed: FailedIndexes Job has failed indexes strip ["a", "b", "c", "d"] active 0 succeeded 3 failed 0 uncounted []/["a"]"#);
    let few = three(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0, "backoffLimit": i32::MAX}));
    insta::assert_snapshot!(look(&few, &[indexed("a", "Failed", 0, 0)]), @r#"Failed: MaxFailedIndexesExceeded Job has exceeded the specified maximal number of failed indexes strip ["a"] active 0 succeeded 0 failed 0 uncounted []/["a"]"#);
    let enough = three(json!({"successPolicy": {"rules": [{"succeededCount": 1}]}}));
    insta::assert_snapshot!(look(&enough, &[indexed("a", "Succeeded", 0, 0), indexed("b", "Running", 1, 0)]), @r#"delete ["b"] Complete: SuccessPolicy Matched rules at index 0 strip ["a", "b"] active 0 succeeded 1 failed 0 uncounted []/[]"#);
}

// --- accounting under random events -------------------------------------------------------------------

/// The API server: the truth.
#[derive(Clone, Default)]
struct Cluster {
    status: JobStatus,
    revision: u64,
    pods: BTreeMap<u64, PodState>,
    created: u64,
    /// Pods that ended well and badly, by uid: what the counters must come to.
    succeeded: HashSet<u64>,
    failed: HashSet<u64>,
    indexes: HashSet<i64>,
}

#[derive(Clone, Debug)]
struct PodState {
    phase: &'static str,
    finalizer: bool,
    index: Option<i64>,
    failures: i64,
    /// Asked to go, but held by its finalizer.
    deleting: bool,
}

impl PodState {
    fn pod(&self, uid: u64) -> Arc<Pod> {
        let finalizers = if self.finalizer { json!([FINALIZER]) } else { json!([]) };
        let mut metadata = json!({"finalizers": finalizers});
        if self.deleting {
            metadata["deletionTimestamp"] = json!(at(0));
        }
        if let Some(index) = self.index {
            metadata["annotations"] = json!({"batch.kubernetes.io/job-completion-index": index.to_string(),
                "batch.kubernetes.io/job-index-failure-count": self.failures.to_string()});
        }
        let ended = json!({"containerStatuses": [{"state": {"terminated": {"finishedAt": at(0)}}}]});
        pod(
            &uid.to_string(),
            self.phase,
            json!({"metadata": metadata, "status": ended}),
        )
    }
}

/// What may happen between two looks of the controller.
#[derive(Clone, Debug)]
enum Happening {
    Succeeds(prop::sample::Index),
    Fails(prop::sample::Index),
    /// Somebody deletes a Pod; one that runs fails by it.
    Deleted(prop::sample::Index),
    /// The controller looks, with Pods as they were that many happenings ago, and dies after that many writes.
    Looks {
        pods_behind: usize,
        job_behind: usize,
        writes: usize,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => any::<prop::sample::Index>().prop_map(Happening::Succeeds),
        2 => any::<prop::sample::Index>().prop_map(Happening::Fails),
        1 => any::<prop::sample::Index>().prop_map(Happening::Deleted),
        8 => (0usize..3, 0usize..2, prop_oneof![1 => 0usize..6, 3 => Just(usize::MAX)])
            .prop_map(|(pods_behind, job_behind, writes)| Happening::Looks { pods_behind, job_behind, writes }),
    ]
}

/// The controller's memory; it dies with it.
#[derive(Default)]
struct Brain {
    stripped: HashSet<Box<str>>,
    backoff: Backoff,
    written: u64,
    /// Pods that it created or deleted and has to see before it acts again.
    expected: u64,
}

impl Cluster {
    fn pick(&self, at: &prop::sample::Index, is: impl Fn(&PodState) -> bool) -> Option<u64> {
        let fitting: Vec<u64> = self
            .pods
            .iter()
            .filter(|(_, pod)| is(pod))
            .map(|(uid, _)| *uid)
            .collect();
        (!fitting.is_empty()).then(|| fitting[at.index(fitting.len())])
    }

    fn end(&mut self, uid: u64, phase: &'static str) {
        let pod = self.pods.get_mut(&uid).expect("exists");
        if !pod.finalizer {
            // Given up before: it does not count any more.
            self.pods.remove(&uid);
            return;
        }
        pod.phase = phase;
        if phase == "Succeeded" {
            self.succeeded.insert(uid);
            self.indexes.extend(pod.index);
        } else {
            self.failed.insert(uid);
        }
    }

    fn delete(&mut self, uid: u64) {
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        if pod.phase == "Running" && pod.finalizer {
            pod.deleting = true;
            self.end(uid, "Failed");
        } else if !pod.finalizer {
            self.pods.remove(&uid);
        } else {
            pod.deleting = true;
        }
    }

    fn strip(&mut self, uid: u64) {
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        pod.finalizer = false;
        if pod.deleting {
            self.pods.remove(&uid);
        }
    }
}

/// The controller looks once; `None` when it died.
fn reconcile(
    spec: &Job,
    brain: &mut Brain,
    cluster: &mut Cluster,
    seen: &Cluster,
    seen_job: (&JobStatus, u64),
    mut writes: usize,
) -> Option<()> {
    let mut write = || {
        writes = writes.checked_sub(1)?;
        Some(())
    };
    if seen_job.1 < brain.written || seen_job.0.finished().is_some() {
        return Some(());
    }
    let mut job = spec.clone();
    job.status = seen_job.0.clone();
    let pods: Vec<_> = seen.pods.iter().map(|(uid, pod)| pod.pod(*uid)).collect();
    brain
        .stripped
        .retain(|uid| pods.iter().any(|pod| pod.metadata.uid == *uid && has_finalizer(pod)));
    let view = View {
        job: &job,
        pods: &pods,
        stripped: &brain.stripped.clone(),
        settled: seen.created >= brain.expected,
        backoff: brain.backoff,
        now: at(1_000_000) + SignedDuration::from_hours(24),
    };
    let facts = Facts::of(&view);
    let plan: Plan = plan::plan(&view, &facts);
    let uid_of = |pod: &Arc<Pod>| pod.metadata.uid.parse::<u64>().expect("a number");
    let mut done = Done::default();
    for pod in &plan.delete {
        write()?;
        cluster.delete(uid_of(pod));
        done.deleted.push(pod.clone());
    }
    for JobMarks { index, failures, .. } in &plan.create {
        write()?;
        cluster.created += 1;
        brain.expected = cluster.created;
        let state = PodState {
            phase: "Running",
            finalizer: true,
            index: *index,
            failures: *failures,
            deleting: false,
        };
        cluster.pods.insert(cluster.created, state);
        done.created += 1;
    }
    let (status, finish) = conclude(&view, &facts, plan, &done);
    let first = account::account(&view, &facts, status, finish.as_ref());
    let mut status = first.status;
    let mut revision = seen_job.1;
    let put = |status: &JobStatus, revision: &mut u64, brain: &mut Brain, cluster: &mut Cluster| {
        if *revision != cluster.revision {
            return false;
        }
        cluster.revision += 1;
        *revision = cluster.revision;
        brain.written = cluster.revision;
        cluster.status = status.clone();
        true
    };
    if status != job.status {
        write()?;
        if !put(&status, &mut revision, brain, cluster) {
            return Some(());
        }
    }
    brain.backoff = facts.backoff;
    let mut tracked = account::tracked(&view);
    for pod in &first.strip {
        write()?;
        cluster.strip(uid_of(pod));
        brain.stripped.insert(pod.metadata.uid.clone());
        tracked.remove(&pod.metadata.uid);
    }
    let before = status.clone();
    account::fold(&mut status, &tracked);
    if !first.more
        && let Some(finish) = &finish
    {
        account::end(&mut status, finish);
    }
    if status != before {
        write()?;
        put(&status, &mut revision, brain, cluster);
    }
    Some(())
}

fn run(spec: &Job, happenings: Vec<Happening>) -> Cluster {
    let mut cluster = Cluster {
        revision: 1,
        ..Cluster::default()
    };
    let mut brain = Brain::default();
    let mut history = vec![cluster.clone()];
    // A cache never goes back.
    let (mut seen_pods, mut seen_job) = (0, 0);
    let settle = (0..400).map(|_| Happening::Looks {
        pods_behind: 0,
        job_behind: 0,
        writes: usize::MAX,
    });
    let happenings: Vec<_> = happenings.into_iter().collect();
    let random = happenings.len();
    for (step, happening) in happenings.into_iter().chain(settle).enumerate() {
        match happening {
            Happening::Succeeds(at) => {
                if let Some(uid) = cluster.pick(&at, |pod| pod.phase == "Running") {
                    cluster.end(uid, "Succeeded");
                }
            }
            Happening::Fails(at) => {
                if let Some(uid) = cluster.pick(&at, |pod| pod.phase == "Running") {
                    cluster.end(uid, "Failed");
                }
            }
            Happening::Deleted(at) => {
                if let Some(uid) = cluster.pick(&at, |_| true) {
                    cluster.delete(uid);
                }
            }
            Happening::Looks {
                pods_behind,
                job_behind,
                writes,
            } => {
                if step >= random {
                    // Towards the end all that runs succeeds, so that the Job can end.
                    let running: Vec<u64> = cluster
                        .pods
                        .iter()
                        .filter(|(_, p)| p.phase == "Running")
                        .map(|(uid, _)| *uid)
                        .collect();
                    running.into_iter().for_each(|uid| cluster.end(uid, "Succeeded"));
                    history.push(cluster.clone());
                }
                let last = history.len() - 1;
                seen_pods = seen_pods.max(last.saturating_sub(pods_behind));
                seen_job = seen_job.max(last.saturating_sub(job_behind));
                let (pods, job) = (history[seen_pods].clone(), history[seen_job].clone());
                let outcome = reconcile(
                    spec,
                    &mut brain,
                    &mut cluster,
                    &pods,
                    (&job.status, job.revision),
                    writes,
                );
                if outcome.is_none() {
                    // It died: a new one lists everything before it acts.
                    brain = Brain::default();
                    (seen_pods, seen_job) = (history.len(), history.len());
                }
            }
        }
        history.push(cluster.clone());
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_pod_is_counted_twice_or_missed(
        happenings in prop::collection::vec(happening(), 0..60),
        parallelism in 1i64..5, completions in 1i64..8, limit in 0i64..20, ended_only in any::<bool>(),
    ) {
        let policy = if ended_only { "Failed" } else { "TerminatingOrFailed" };
        let spec = job(json!({"parallelism": parallelism, "completions": completions, "backoffLimit": limit,
            "podReplacementPolicy": policy}));
        let cluster = run(&spec, happenings);
        let finished = cluster.status.finished();
        prop_assert!(finished.is_some(), "{:?} {:?}", cluster.status, cluster.pods);
        let failed = &finished.expect("finished").kind == "Failed";
        let (good, bad) = (super::count(&cluster.succeeded), super::count(&cluster.failed));
        prop_assert_eq!(cluster.status.succeeded + cluster.status.failed, good + bad, "{:?}", cluster.status);
        // A Job that fails takes for failed what it has not seen end, even if it ended well a moment ago.
        if !failed {
            prop_assert_eq!(cluster.status.succeeded, good, "{:?}", cluster.status);
        }
        prop_assert_eq!(failed, cluster.status.failed > limit);
        if !failed {
            prop_assert!(cluster.status.succeeded >= completions);
        }
        prop_assert!(cluster.pods.values().all(|pod| !pod.finalizer));
    }

    #[test]
    fn every_index_succeeds_once(
        happenings in prop::collection::vec(happening(), 0..60),
        parallelism in 1i64..5, completions in 1i64..8,
    ) {
        let spec = job(json!({"completionMode": "Indexed", "parallelism": parallelism, "completions": completions,
            "backoffLimit": 1000}));
        let cluster = run(&spec, happenings);
        prop_assert!(cluster.status.condition("Complete").is_some(), "{:?} {:?}", cluster.status, cluster.pods);
        prop_assert_eq!(cluster.status.succeeded, completions);
        prop_assert_eq!(super::count(&cluster.indexes), completions);
        prop_assert_eq!(cluster.status.failed, super::count(&cluster.failed));
    }
}
