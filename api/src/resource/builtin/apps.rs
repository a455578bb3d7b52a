//! Rows of `apps`.

use super::Rows;

pub(super) fn rows(r: &mut Rows) {
    r.group("apps", "v1");
    r.namespaced("ControllerRevision", "controllerrevisions");
    r.namespaced("DaemonSet", "daemonsets").short(&["ds"]).all().status();
    r.namespaced("Deployment", "deployments")
        .short(&["deploy"])
        .all()
        .scale()
        .status();
    r.namespaced("ReplicaSet", "replicasets")
        .short(&["rs"])
        .all()
        .scale()
        .status()
        .selectable(&[("status.replicas", "status.replicas", "0")]);
    r.namespaced("StatefulSet", "statefulsets")
        .short(&["sts"])
        .all()
        .scale()
        .status();
}
