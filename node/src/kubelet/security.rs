//! Security contexts, the Pod's and the container's, in the runtime's terms. Pure.

use std::collections::HashMap;

use k8s_cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, security_profile::ProfileType,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext};

use super::podinfo::PodInfo;
use super::runtime::LocalImage;

/// Paths that an unprivileged container must not see.
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Paths that an unprivileged container must not change.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn contexts(pod: &Pod, container: &Container) -> (PodSecurityContext, SecurityContext) {
    let pod = pod.spec().security_context.clone().unwrap_or_default();
    (pod, container.security_context.clone().unwrap_or_default())
}

fn boxed(value: Option<i64>) -> Option<Int64Value> {
    value.map(|value| Int64Value { value })
}

fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec();
    let node_or = |host: Option<bool>, other| if host == Some(true) { NamespaceMode::Node } else { other };
    let pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod) as i32,
        pid: node_or(spec.host_pid, pid) as i32,
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod) as i32,
        ..Default::default()
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> SecurityProfile {
    let kind = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile
        .and_then(|profile| profile.localhost_profile.clone())
        .unwrap_or_default();
    SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    }
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<SeLinuxOption> {
    options.cloned().map(|options| SeLinuxOption {
        user: options.user.unwrap_or_default(),
        role: options.role.unwrap_or_default(),
        r#type: options.type_.unwrap_or_default(),
        level: options.level.unwrap_or_default(),
    })
}

fn supplemental_groups(pod: &PodSecurityContext) -> Vec<i64> {
    pod.fs_group
        .into_iter()
        .chain(pod.supplemental_groups.iter().flatten().copied())
        .collect()
}

fn groups_policy(pod: &PodSecurityContext) -> i32 {
    match pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict as i32,
        _ => SupplementalGroupsPolicy::Merge as i32,
    }
}

/// The sandbox's security context.
#[must_use]
pub fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let context = pod.spec().security_context.clone().unwrap_or_default();
    let privileged =
        |container: &Container| container.security_context.as_ref().and_then(|c| c.privileged) == Some(true);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: selinux(context.se_linux_options.as_ref()),
        run_as_user: boxed(context.run_as_user),
        run_as_group: boxed(context.run_as_user.and(context.run_as_group)),
        readonly_rootfs: false,
        supplemental_groups: supplemental_groups(&context),
        supplemental_groups_policy: groups_policy(&context),
        privileged: pod.parts().any(|(_, container)| privileged(container)),
        seccomp: Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The kernel parameters of the Pod's namespaces.
#[must_use]
pub fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = pod.spec().security_context.clone().unwrap_or_default();
    // Both ways of writing a name are allowed; the runtime knows the one with dots.
    context
        .sysctls
        .into_iter()
        .flatten()
        .map(|s| (s.name.replace('/', "."), s.value))
        .collect()
}

/// The container's security context.
#[must_use]
pub fn container(
    pod: &Pod,
    container: &Container,
    image: &LocalImage,
    target: Option<String>,
) -> LinuxContainerSecurityContext {
    let mut namespace_options = namespaces(pod);
    if let Some(target) = target {
        namespace_options.pid = NamespaceMode::Target as i32;
        namespace_options.target_id = target;
    }
    let (of_pod, own) = contexts(pod, container);
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| {
        if unmasked {
            vec![]
        } else {
            list.iter().map(|&path| path.to_owned()).collect()
        }
    };
    let user = own.run_as_user.or(of_pod.run_as_user);
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let username = if user.is_none() && image.uid.is_none() {
        image.username.clone()
    } else {
        String::new()
    };
    LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: selinux(own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref())),
        run_as_user: boxed(user.or(if username.is_empty() { image.uid } else { None })),
        run_as_group: boxed(own.run_as_group.or(of_pod.run_as_group)),
        run_as_username: username,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(if privileged { seccomp(None) } else { seccomp(profile) }),
        ..Default::default()
    }
}

fn capabilities(context: &SecurityContext) -> Capability {
    let list = context.capabilities.clone().unwrap_or_default();
    Capability {
        add_capabilities: list.add.unwrap_or_default(),
        drop_capabilities: list.drop.unwrap_or_default(),
        ..Default::default()
    }
}

/// Refuses to run as root where the Pod forbids it.
///
/// # Errors
/// The status' message.
pub fn verify_non_root(pod: &Pod, container: &Container, image: &LocalImage) -> Result<(), String> {
    let (of_pod, own) = contexts(pod, container);
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.name(),
        pod.namespace(),
        pod.uid(),
        container.name
    );
    match (own.run_as_user.or(of_pod.run_as_user), image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, Some(_)) => Ok(()),
        (None, None) if image.username.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, None) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            image.username
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(pod_context: serde_json::Value, context: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "securityContext": pod_context, "containers": [{ "name": "c", "securityContext": context }] },
        }))
        .expect("a pod")
    }

    fn image(uid: Option<i64>, username: &str) -> LocalImage {
        LocalImage {
            id: String::new(),
            names: vec![],
            size: 0,
            uid,
            username: username.into(),
            pinned: false,
        }
    }

    #[test]
    fn non_root_is_verified_against_pod_container_and_image() {
        let non_root = serde_json::json!({ "runAsNonRoot": true });
        let cases = [
            (serde_json::json!({}), image(None, ""), true),
            (non_root.clone(), image(None, ""), false),
            (non_root.clone(), image(Some(0), ""), false),
            (non_root.clone(), image(Some(7), ""), true),
            (non_root.clone(), image(None, "www"), false),
            (
                serde_json::json!({ "runAsNonRoot": true, "runAsUser": 5 }),
                image(None, "www"),
                true,
            ),
            (
                serde_json::json!({ "runAsNonRoot": true, "runAsUser": 0 }),
                image(Some(7), ""),
                false,
            ),
        ];
        for (context, image, allowed) in cases {
            let pod = pod(context.clone(), serde_json::json!({}));
            let container = &pod.spec().containers[0];
            assert_eq!(
                verify_non_root(&pod, container, &image).is_ok(),
                allowed,
                "{context} {image:?}"
            );
        }
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let pod = pod(
            serde_json::json!({ "runAsUser": 1, "fsGroup": 9, "supplementalGroups": [4], "seccompProfile": { "type": "RuntimeDefault" } }),
            serde_json::json!({ "runAsUser": 2, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }),
        );
        let context = container(&pod, &pod.spec().containers[0], &image(None, "www"), None);
        assert_eq!(context.run_as_user, Some(Int64Value { value: 2 }));
        assert_eq!(context.run_as_username, "");
        assert_eq!(context.supplemental_groups, [9, 4]);
        assert!(context.no_new_privs && !context.masked_paths.is_empty());
        assert_eq!(context.capabilities.expect("capabilities").drop_capabilities, ["ALL"]);
        assert_eq!(
            context.seccomp.expect("a profile").profile_type,
            ProfileType::RuntimeDefault as i32
        );
    }
}
