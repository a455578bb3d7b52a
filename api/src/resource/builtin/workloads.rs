//! Rows of `batch`, `autoscaling`, `policy` and `scheduling.k8s.io`.

use super::Rows;

pub(super) fn rows(r: &mut Rows) {
    r.group("batch", "v1");
    r.namespaced("CronJob", "cronjobs").short(&["cj"]).all().status();
    r.namespaced("Job", "jobs")
        .all()
        .status()
        .selectable(&[("status.successful", "status.succeeded", "0")]);

    r.group("autoscaling", "v2");
    r.namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .all()
        .status();
    r.group("autoscaling", "v1");
    r.namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .all()
        .stored_as("autoscaling", "v2")
        .status();

    r.group("policy", "v1");
    r.namespaced("PodDisruptionBudget", "poddisruptionbudgets")
        .short(&["pdb"])
        .status();

    r.group("scheduling.k8s.io", "v1");
    r.cluster("PriorityClass", "priorityclasses").short(&["pc"]);
}
