//! Jobs and CronJobs against a real API server.

use super::*;

const JOBS: Gvr<'static> = Gvr::new("batch", "v1", "jobs");
const CRONS: Gvr<'static> = Gvr::new("batch", "v1", "cronjobs");

fn job(name: &str, image: &str, spec: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}},
    });
    json_patch::merge(&mut job["spec"], &spec);
    job
}

fn condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = job["status"]["conditions"].as_array()?.iter();
    conditions.find(|c| c["type"] == kind && c["status"] == "True")
}

fn is(jobs: &[Value], name: &str, kind: &str) -> bool {
    jobs.iter()
        .any(|job| job["metadata"]["name"] == name && condition(job, kind).is_some())
}

/// Ends Pods that run: well, or as their image says.
fn end_pods(world: &World) {
    let (rest, stop) = (world.rest.clone(), world.stop.clone());
    tokio::spawn(async move {
        let request = kube::core::Request::new("/api/v1/pods")
            .watch(&kube::core::params::WatchParams::default(), "0")
            .expect("a request");
        let events = rest.client().request_events::<Value>(request).await.expect("a watch");
        let mut events = std::pin::pin!(events);
        while let Some(event) = tokio::select! {
            event = events.try_next() => event.expect("an event"),
            () = stop.cancelled() => None,
        } {
            let (kube::core::WatchEvent::Added(pod) | kube::core::WatchEvent::Modified(pod)) = event else {
                continue;
            };
            let target = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            let image = text(&pod["spec"]["containers"][0]["image"]);
            let index = text(&pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]);
            let code = match image {
                "sleep" => continue,
                "fail" => 1,
                "fail-odd" if matches!(index, "1" | "3") => 42,
                _ => 0,
            };
            if pod["status"]["phase"] != "Running" || pod["metadata"].get("deletionTimestamp").is_some() {
                continue;
            }
            let ended = json!({"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}});
            let status = json!({"status": {"phase": if code == 0 { "Succeeded" } else { "Failed" },
                "containerStatuses": [{"name": "c", "image": image, "imageID": "", "ready": false, "restartCount": 0, "state": ended}]}});
            // The Pod may have gone meanwhile.
            let _ = rest
                .patch::<Value>(&PODS, target, "status", &PatchParams::default(), &Patch::Merge(status))
                .await;
        }
    });
}

/// Waits for an Event that begins so: they are written behind what they tell of.
async fn tells(world: &World, event: &str) {
    for _ in 0..500 {
        if world.events("default").await.iter().any(|e| e.starts_with(event)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {event} in {:#?}", world.events("default").await);
}

#[tokio::test]
async fn jobs_run_to_their_end() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    end_pods(&world);
    let wide = json!({"completions": 7, "parallelism": 3});
    world.create(&JOBS, "default", &job("wide", "ok", wide)).await;
    let strict = json!({"backoffLimit": 0});
    world.create(&JOBS, "default", &job("strict", "fail", strict)).await;
    let by_index = json!({"completions": 5, "parallelism": 5, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]}});
    world.create(&JOBS, "default", &job("odd", "fail-odd", by_index)).await;
    let jobs = world
        .until("ends", &JOBS, "default", |all| {
            is(all, "wide", "Complete") && is(all, "strict", "Failed") && is(all, "odd", "Failed")
        })
        .await;
    let find = |name: &str| jobs.iter().find(|job| job["metadata"]["name"] == name).expect("a Job");
    assert_eq!(find("wide")["status"]["succeeded"], 7);
    assert_eq!(find("wide")["status"]["uncountedTerminatedPods"], json!({}));
    assert_eq!(find("strict")["status"]["failed"], 1);
    assert_eq!(
        condition(find("strict"), "Failed").expect("failed")["reason"],
        "BackoffLimitExceeded"
    );
    let odd = &find("odd")["status"];
    assert_eq!(
        (text(&odd["completedIndexes"]), text(&odd["failedIndexes"])),
        ("0,2,4", "1,3")
    );
    assert_eq!(
        condition(find("odd"), "Failed").expect("failed")["reason"],
        "FailedIndexes"
    );
    let pods = world
        .until("no finalizers", &PODS, "default", |all| {
            all.iter().all(|pod| pod["metadata"].get("finalizers").is_none())
        })
        .await;
    assert_eq!(pods.len(), 7 + 1 + 5);
    tells(&world, "Job Completed: Job completed").await;
    tells(
        &world,
        "Job BackoffLimitExceeded: Job has reached the specified backoff limit",
    )
    .await;
    // Deleted, a Job takes its Pods along, finalizers or not.
    world.create(&JOBS, "default", &job("gone", "sleep", json!({}))).await;
    world
        .until("a running pod", &JOBS, "default", |all| {
            all.iter()
                .any(|job| job["metadata"]["name"] == "gone" && job["status"]["ready"] == 1)
        })
        .await;
    for name in ["gone", "wide"] {
        let deleted = world
            .rest
            .delete(&JOBS, "default", name, &DeleteParams::background())
            .await;
        deleted.expect("deleted");
    }
    world.until("their end", &PODS, "default", |all| all.len() == 6).await;
}

#[tokio::test]
async fn jobs_are_held_resumed_and_forgotten() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    end_pods(&world);
    let held = json!({"suspend": true, "completions": 2, "parallelism": 2, "ttlSecondsAfterFinished": 0});
    world.create(&JOBS, "default", &job("held", "ok", held)).await;
    let jobs = world
        .until("a held job", &JOBS, "default", |all| is(all, "held", "Suspended"))
        .await;
    assert!(jobs[0]["status"].get("startTime").is_none());
    assert_eq!(world.list(&PODS, "default").await.len(), 0);
    world
        .patch(&JOBS, "held", "", json!({"spec": {"suspend": false}}))
        .await;
    world.until("its end", &JOBS, "default", <[Value]>::is_empty).await;
    world
        .until("its pods' end", &PODS, "default", <[Value]>::is_empty)
        .await;
    tells(&world, "Job Suspended: Job suspended").await;
    tells(&world, "Job Resumed: Job resumed").await;
}

#[tokio::test]
async fn a_cron_job_makes_up_for_the_last_time() {
    let world = World::new().await;
    world.add_node("n1", "64").await;
    world.play_kubelet();
    end_pods(&world);
    let template = json!({"spec": job("x", "ok", json!({}))["spec"]});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"},
        "spec": {"schedule": "@every 1s", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1, "jobTemplate": template}});
    world.create(&CRONS, "default", &cron).await;
    let crons = world
        .until("a success", &CRONS, "default", |all| {
            all[0]["status"].get("lastSuccessfulTime").is_some() && all[0]["status"].get("active").is_none()
        })
        .await;
    assert!(crons[0]["status"].get("lastScheduleTime").is_some());
    let jobs = world.list(&JOBS, "default").await;
    assert_eq!(jobs.len(), 1, "one a minute, since its name says the minute");
    assert_eq!(jobs[0]["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    world.patch(&CRONS, "c", "", json!({"spec": {"suspend": true}})).await;
    tells(&world, "CronJob SawCompletedJob: Saw completed job: c-").await;
}
