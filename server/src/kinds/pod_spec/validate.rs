//! What is wrong with a Pod spec: upstream's rules in upstream's order.

use mizzen_api::quantity::Quantity;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{
    self, Problems, dns_label, dns_subdomain, env_name, label_value, port_name, port_number, qualified_name,
};
use serde_json::Value;

use super::super::check::Check;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
/// Fields of a Pod that environment variables may show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a Pod that files may show.
const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const MAX_ID: i64 = (1 << 31) - 1;

/// Checks a Pod spec.
pub(in crate::kinds) fn validate(spec: &Check<'_>) {
    let volumes = check_volumes(&spec.field("volumes"));
    let context = Context {
        volumes: &volumes,
        host_network: spec.field("hostNetwork").bool(),
    };
    let containers = spec.field("containers");
    if containers.is_empty() {
        containers.required("");
    }
    let mut names = Vec::new();
    for container in containers.items() {
        check_container(&container, &context, &mut names, Role::Main);
    }
    for container in spec.field("initContainers").items() {
        check_container(&container, &context, &mut names, Role::Init);
    }
    for container in spec.field("ephemeralContainers").items() {
        check_container(&container, &context, &mut names, Role::Ephemeral);
    }
    check_host_ports(spec);
    spec.field("restartPolicy")
        .must_be_one_of(&["Always", "Never", "OnFailure"]);
    check_dns(spec);
    spec.field("terminationGracePeriodSeconds").not_negative();
    spec.field("activeDeadlineSeconds").between(1, MAX_ID);
    check_labels(&spec.field("nodeSelector"));
    for (name, rule) in [
        ("nodeName", dns_subdomain as fn(&str) -> Problems),
        ("serviceAccountName", dns_subdomain),
        ("hostname", dns_label),
        ("subdomain", dns_label),
        ("priorityClassName", dns_subdomain),
        ("runtimeClassName", dns_subdomain),
    ] {
        spec.field(name).obeys(rule);
    }
    check_pod_security(spec);
    for secret in spec.field("imagePullSecrets").items() {
        secret.field("name").must_exist("");
    }
    check_affinity(&spec.field("affinity"));
    spec.field("tolerations").items().for_each(|t| check_toleration(&t));
    for alias in spec.field("hostAliases").items() {
        alias.field("ip").must_obey(validation::ip);
        alias
            .field("hostnames")
            .items()
            .for_each(|name| name.obeys(dns_subdomain));
    }
    for gate in spec.field("readinessGates").items() {
        gate.field("conditionType").must_obey(qualified_name);
    }
    for gate in spec.field("schedulingGates").items() {
        gate.field("name").must_obey(qualified_name);
    }
    spec.field("schedulingGates").unique("name");
    spec.field("preemptionPolicy")
        .one_of(&["Never", "PreemptLowerPriority"]);
    spec.field("os").field("name").one_of(&["linux", "windows"]);
    for constraint in spec.field("topologySpreadConstraints").items() {
        constraint.field("maxSkew").positive();
        constraint.field("topologyKey").must_obey(qualified_name);
        constraint
            .field("whenUnsatisfiable")
            .must_be_one_of(&["DoNotSchedule", "ScheduleAnyway"]);
        check_label_selector(&constraint.field("labelSelector"));
    }
    check_quantities(&spec.field("overhead"));
}

struct Context<'a> {
    volumes: &'a [&'a str],
    host_network: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Main,
    Init,
    Ephemeral,
}

// --- containers -----------------------------------------------------------------------------------------

fn check_container<'a>(container: &Check<'a>, context: &Context<'_>, names: &mut Vec<&'a str>, role: Role) {
    let name = container.field("name");
    name.must_obey(dns_label);
    if names.contains(&name.str()) && !name.is_empty() {
        name.duplicate();
    }
    names.push(name.str());
    let image = container.field("image");
    if image.must_exist("") && image.str().trim() != image.str() {
        image.invalid("must not have leading or trailing whitespace");
    }
    container.field("imagePullPolicy").must_be_one_of(PULL_POLICIES);
    container
        .field("terminationMessagePolicy")
        .one_of(&["FallbackToLogsOnError", "File"]);
    check_ports(&container.field("ports"), context);
    check_env(container);
    check_mounts(&container.field("volumeMounts"), context);
    check_resources(&container.field("resources"));
    check_security(&container.field("securityContext"));
    let sidecar = container.field("restartPolicy").exists();
    if role == Role::Init {
        container.field("restartPolicy").one_of(&["Always"]);
    }
    let probed = role == Role::Main || role == Role::Init && sidecar;
    for (name, once) in [
        ("livenessProbe", true),
        ("readinessProbe", false),
        ("startupProbe", true),
    ] {
        let probe = container.field(name);
        match probed {
            true => check_probe(&probe, once),
            false if probe.exists() => {
                probe.forbidden("must not be set for init containers without restartPolicy=Always");
            }
            false => {}
        }
    }
    let lifecycle = container.field("lifecycle");
    if !probed && lifecycle.exists() {
        lifecycle.forbidden("must not be set for init containers without restartPolicy=Always");
    }
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.field(hook);
        if hook.exists() {
            check_handler(&hook);
        }
    }
}

fn check_ports(ports: &Check<'_>, context: &Context<'_>) {
    for port in ports.items() {
        port.field("name").obeys(port_name);
        let number = port.field("containerPort");
        match number.int() {
            None | Some(0) => number.required(""),
            Some(n) => number.problems(port_number(n)),
        }
        let host = port.field("hostPort");
        if let Some(n) = host.int().filter(|n| *n != 0) {
            host.problems(port_number(n));
            if context.host_network && number.int() != Some(n) {
                host.invalid("must match `containerPort` when `hostNetwork` is true");
            }
        }
        port.field("protocol").must_be_one_of(PROTOCOLS);
    }
    ports.unique("name");
}

/// No two containers of a Pod may take the same port of the host.
fn check_host_ports(spec: &Check<'_>) {
    let mut taken = Vec::new();
    for port in spec.field("containers").items().flat_map(|c| c.field("ports").items()) {
        let host = port.field("hostPort");
        if host.int().is_none_or(|n| n == 0) {
            continue;
        }
        let key = (host.int(), port.field("protocol").str(), port.field("hostIP").str());
        if taken.contains(&key) {
            host.duplicate();
        }
        taken.push(key);
    }
}

fn check_env(container: &Check<'_>) {
    for variable in container.field("env").items() {
        variable.field("name").must_obey(env_name);
        let source = variable.field("valueFrom");
        if !source.exists() {
            continue;
        }
        let kinds = [
            "fieldRef",
            "resourceFieldRef",
            "configMapKeyRef",
            "secretKeyRef",
            "fileKeyRef",
        ];
        let given = kinds.iter().filter(|kind| source.field(kind).exists()).count();
        if given == 0 {
            source.invalid(
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            );
        } else if !variable.field("value").is_empty() {
            source.invalid("may not be specified when `value` is not empty");
        } else if given > 1 {
            source.invalid("may not have more than one field specified at a time");
        }
        check_field_ref(&source.field("fieldRef"), ENV_FIELDS);
        check_resource_ref(&source.field("resourceFieldRef"));
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            let reference = source.field(kind);
            if reference.exists() {
                reference.field("name").must_exist("");
                reference.field("key").must_obey(validation::config_key);
            }
        }
    }
    for source in container.field("envFrom").items() {
        source.field("prefix").obeys(env_name);
        let (map, secret) = (source.field("configMapRef"), source.field("secretRef"));
        match (map.exists(), secret.exists()) {
            (false, false) => source.invalid("must specify one of: `configMapRef` or `secretRef`"),
            (true, true) => source.invalid("may not have more than one field specified at a time"),
            (true, false) => drop(map.field("name").must_exist("")),
            (false, true) => drop(secret.field("name").must_exist("")),
        }
    }
}

fn check_field_ref(reference: &Check<'_>, supported: &[&str]) {
    if !reference.exists() {
        return;
    }
    let path = reference.field("fieldPath");
    if !path.must_exist("") {
        return;
    }
    let subscript = path
        .str()
        .strip_suffix(']')
        .and_then(|p| p.split_once("['").or_else(|| p.split_once('[')));
    match subscript {
        Some(("metadata.annotations" | "metadata.labels", key)) => {
            path.problems(qualified_name(key.trim_matches('\'')));
        }
        Some((path_head, _)) => path.invalid(format!(
            "error converting fieldPath: field label does not support subscript: {path_head}"
        )),
        None => path.one_of(supported),
    }
}

fn check_resource_ref(reference: &Check<'_>) {
    if reference.exists() {
        let supported = [
            "limits.cpu",
            "limits.ephemeral-storage",
            "limits.memory",
            "requests.cpu",
            "requests.ephemeral-storage",
            "requests.memory",
        ];
        let resource = reference.field("resource");
        if resource.must_exist("") && !resource.str().contains("hugepages-") {
            resource.one_of(&supported);
        }
    }
}

fn check_mounts(mounts: &Check<'_>, context: &Context<'_>) {
    let mut paths = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.field("name"), mount.field("mountPath"));
        if name.must_exist("") && !context.volumes.contains(&name.str()) {
            name.report(FieldError::not_found(name.path(), name.str()));
        }
        path.must_exist("");
        if paths.contains(&path.str()) {
            path.invalid("must be unique");
        }
        paths.push(path.str());
        for sub in ["subPath", "subPathExpr"] {
            mount.field(sub).obeys(local_path);
        }
        if !mount.field("subPath").is_empty() && !mount.field("subPathExpr").is_empty() {
            mount
                .field("subPathExpr")
                .invalid("subPathExpr and subPath are mutually exclusive");
        }
        mount
            .field("mountPropagation")
            .one_of(&["Bidirectional", "HostToContainer", "None"]);
    }
}

/// A relative path that stays inside.
fn local_path(path: &str) -> Problems {
    let mut problems = Problems::new();
    if path.starts_with('/') {
        problems.push("must be a relative path".into());
    }
    if path.split('/').any(|part| part == "..") {
        problems.push("must not contain '..'".into());
    }
    problems
}

fn check_resources(resources: &Check<'_>) {
    let (limits, requests) = (resources.field("limits"), resources.field("requests"));
    check_quantities(&limits);
    check_quantities(&requests);
    for (name, request) in requests.entries() {
        let limit = limits
            .entries()
            .find(|(other, _)| *other == name)
            .map(|(_, limit)| limit);
        match limit {
            Some(limit) => {
                if let (Some(wanted), Some(most)) = (quantity(&request), quantity(&limit))
                    && wanted > most
                {
                    let detail = format!("must be less than or equal to {name} limit of {}", limit.str());
                    requests.report(FieldError::invalid(requests.path(), request.str(), detail));
                }
            }
            None if name.contains('/') => {
                limits.report(FieldError::required(
                    format!("{}[{name}]", limits.path()),
                    "Limit must be set for non overcommitable resources",
                ));
            }
            None => {}
        }
    }
}

fn quantity(place: &Check<'_>) -> Option<Quantity> {
    match place.value()? {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    }
}

fn check_quantities(amounts: &Check<'_>) {
    for (name, amount) in amounts.entries() {
        for problem in qualified_name(name) {
            amount.report(FieldError::invalid(amount.path(), name, problem));
        }
        if !name.contains('/')
            && !["cpu", "memory", "ephemeral-storage"].contains(&name)
            && !name.starts_with("hugepages-")
        {
            amount.report(FieldError::invalid(
                amount.path(),
                name,
                "must be a standard resource type or fully qualified",
            ));
        }
        match quantity(&amount) {
            None => amount.invalid("must be a valid quantity"),
            Some(value) if value.is_negative() => amount.invalid("must be greater than or equal to 0"),
            Some(_) => {}
        }
    }
}

fn check_security(security: &Check<'_>) {
    for id in ["runAsUser", "runAsGroup"] {
        security.field(id).between(0, MAX_ID);
    }
    let escalation = security.field("allowPrivilegeEscalation");
    if escalation.exists() && !escalation.bool() {
        if security.field("privileged").bool() {
            security.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if security
            .field("capabilities")
            .field("add")
            .items()
            .any(|c| c.str() == "CAP_SYS_ADMIN")
        {
            security.invalid("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    security.field("procMount").one_of(&["Default", "Unmasked"]);
    check_seccomp(&security.field("seccompProfile"));
}

fn check_seccomp(profile: &Check<'_>) {
    if !profile.exists() {
        return;
    }
    profile
        .field("type")
        .must_be_one_of(&["Localhost", "RuntimeDefault", "Unconfined"]);
    let (local, path) = (
        profile.field("type").str() == "Localhost",
        profile.field("localhostProfile"),
    );
    if local && path.is_empty() {
        path.required("must be set when seccomp type is Localhost");
    } else if !local && path.exists() {
        path.invalid("can only be set when seccomp type is Localhost");
    }
}

fn check_pod_security(spec: &Check<'_>) {
    let security = spec.field("securityContext");
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        security.field(id).between(0, MAX_ID);
    }
    security
        .field("supplementalGroups")
        .items()
        .for_each(|group| group.between(0, MAX_ID));
    security
        .field("fsGroupChangePolicy")
        .one_of(&["Always", "OnRootMismatch"]);
    check_seccomp(&security.field("seccompProfile"));
    for sysctl in security.field("sysctls").items() {
        sysctl.field("name").must_obey(sysctl_name);
    }
    security.field("sysctls").unique("name");
    if spec.field("shareProcessNamespace").bool() && spec.field("hostPID").bool() {
        spec.field("shareProcessNamespace")
            .invalid("ShareProcessNamespace and HostPID cannot both be enabled");
    }
}

/// Parts divided by dots or slashes, as the kernel names its parameters.
fn sysctl_name(name: &str) -> Problems {
    let part = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let fits = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(inner) && part.ends_with(inner) && part.chars().all(|c| inner(c) || "-_".contains(c))
    };
    if name.len() <= 253 && name.split(['.', '/']).all(fits) {
        return Problems::new();
    }
    vec![format!(
        "must have at most 253 characters and match regex ^({part}[\\./])*{part}$"
    )]
}

// --- probes and hooks -----------------------------------------------------------------------------------

fn check_probe(probe: &Check<'_>, succeeds_once: bool) {
    if !probe.exists() {
        return;
    }
    check_handler(probe);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        probe.field(field).not_negative();
    }
    probe.field("terminationGracePeriodSeconds").positive();
    let threshold = probe.field("successThreshold");
    if succeeds_once && threshold.int().is_some_and(|n| n != 1) {
        threshold.invalid("must be 1");
    }
}

fn check_handler(handler: &Check<'_>) {
    const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<_> = HANDLERS
        .into_iter()
        .filter(|name| handler.field(name).exists())
        .collect();
    if given.is_empty() {
        handler.required("must specify a handler type");
    }
    for extra in given.iter().skip(1) {
        handler
            .field(extra)
            .forbidden("may not specify more than 1 handler type");
    }
    let Some(first) = given.first() else { return };
    let chosen = handler.field(first);
    match *first {
        "exec" => drop(chosen.field("command").must_exist("")),
        "httpGet" => {
            chosen.field("path").must_exist("");
            check_port_or_name(&chosen.field("port"));
            chosen.field("scheme").one_of(&["HTTP", "HTTPS"]);
            for header in chosen.field("httpHeaders").items() {
                header.field("name").must_exist("");
            }
        }
        "tcpSocket" => check_port_or_name(&chosen.field("port")),
        "grpc" => check_port_or_name(&chosen.field("port")),
        _ => chosen.field("seconds").not_negative(),
    }
}

fn check_port_or_name(port: &Check<'_>) {
    match port.value() {
        Some(Value::String(name)) => port.problems(port_name(name)),
        other => port.problems(port_number(other.and_then(Value::as_i64).unwrap_or_default())),
    }
}

// --- volumes ------------------------------------------------------------------------------------------------

fn check_volumes<'a>(volumes: &Check<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for volume in volumes.items() {
        let name = volume.field("name");
        name.must_obey(dns_label);
        if names.contains(&name.str()) {
            name.duplicate();
        }
        names.push(name.str());
        check_volume(&volume);
    }
    names
}

fn check_volume(volume: &Check<'_>) {
    let sources: Vec<_> = volume
        .value()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(k, v)| *k != "name" && !v.is_null())
        .collect();
    if sources.is_empty() {
        volume.required("must specify a volume type");
    }
    for (kind, _) in sources.iter().skip(1) {
        volume.field(kind).forbidden("may not specify more than 1 volume type");
    }
    let Some((kind, _)) = sources.first() else { return };
    let source = volume.field(kind);
    match kind.as_str() {
        "hostPath" => {
            let path = source.field("path");
            if path.must_exist("") && path.str().split('/').any(|part| part == "..") {
                path.invalid("must not contain '..'");
            }
            source.field("type").one_of(HOST_PATH_TYPES);
        }
        "secret" => {
            source.field("secretName").must_exist("");
            check_files(&source, true);
        }
        "configMap" => {
            source.field("name").must_exist("");
            check_files(&source, true);
        }
        "downwardAPI" => check_downward(&source),
        "projected" => check_projected(&source),
        "persistentVolumeClaim" => drop(source.field("claimName").must_exist("")),
        "emptyDir" if quantity(&source.field("sizeLimit")).is_some_and(Quantity::is_negative) => {
            source
                .field("sizeLimit")
                .forbidden("SizeLimit field must be a valid resource quantity");
        }
        _ => {}
    }
}

fn check_mode(mode: &Check<'_>) {
    if mode.int().is_some_and(|n| !(0..=0o777).contains(&n)) {
        mode.invalid("must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn check_files(source: &Check<'_>, has_keys: bool) {
    check_mode(&source.field("defaultMode"));
    for item in source.field("items").items() {
        if has_keys {
            item.field("key").must_exist("");
        }
        item.field("path").must_obey(local_path);
        check_mode(&item.field("mode"));
    }
}

fn check_downward(source: &Check<'_>) {
    check_files(source, false);
    for item in source.field("items").items() {
        let (field, resource) = (item.field("fieldRef"), item.field("resourceFieldRef"));
        match (field.exists(), resource.exists()) {
            (false, false) => item.required("one of fieldRef and resourceFieldRef is required"),
            (true, true) => item.invalid("fieldRef and resourceFieldRef can not be specified simultaneously"),
            _ => {}
        }
        check_field_ref(&field, VOLUME_FIELDS);
        check_resource_ref(&resource);
    }
}

fn check_projected(source: &Check<'_>) {
    check_mode(&source.field("defaultMode"));
    for part in source.field("sources").items() {
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        let given: Vec<_> = kinds.into_iter().filter(|kind| part.field(kind).exists()).collect();
        if given.is_empty() {
            part.required("must specify one of: `secret`, `configMap`, `downwardAPI`, `serviceAccountToken`");
        }
        for extra in given.iter().skip(1) {
            part.field(extra)
                .forbidden("may not specify more than 1 volume type per source");
        }
        match given.first() {
            Some(&"serviceAccountToken") => {
                let token = part.field("serviceAccountToken");
                token.field("path").must_obey(local_path);
                let seconds = token.field("expirationSeconds");
                if seconds.int().is_some_and(|n| n < 600) {
                    seconds.invalid("may not specify a duration less than 10 minutes");
                }
            }
            Some(&"downwardAPI") => check_downward(&part.field("downwardAPI")),
            Some(kind @ (&"secret" | &"configMap")) => {
                part.field(kind).field("name").must_exist("");
                check_files(&part.field(kind), true);
            }
            _ => {}
        }
    }
}

// --- placement ----------------------------------------------------------------------------------------------

fn check_toleration(toleration: &Check<'_>) {
    let (key, operator) = (toleration.field("key"), toleration.field("operator"));
    key.obeys(qualified_name);
    if key.is_empty() && operator.str() != "Exists" {
        operator.invalid("operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    }
    if toleration.field("tolerationSeconds").exists() && toleration.field("effect").str() != "NoExecute" {
        toleration
            .field("effect")
            .invalid("effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator.str() {
        "" | "Equal" => toleration.field("value").obeys(label_value),
        "Exists" if !toleration.field("value").is_empty() => {
            operator.invalid("value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        _ => operator.one_of(&["Equal", "Exists"]),
    }
    if !toleration.field("effect").is_empty() {
        toleration.field("effect").one_of(TAINT_EFFECTS);
    }
}

fn check_affinity(affinity: &Check<'_>) {
    let node = affinity.field("nodeAffinity");
    let required = node.field("requiredDuringSchedulingIgnoredDuringExecution");
    if required.exists() {
        let terms = required.field("nodeSelectorTerms");
        if terms.must_exist("must have at least one node selector term") {
            terms.items().for_each(|term| check_node_term(&term));
        }
    }
    for preferred in node.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
        check_weight(&preferred);
        check_node_term(&preferred.field("preference"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            check_pod_term(&term);
        }
        for preferred in kind.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            check_weight(&preferred);
            check_pod_term(&preferred.field("podAffinityTerm"));
        }
    }
}

fn check_weight(preferred: &Check<'_>) {
    let weight = preferred.field("weight");
    if !(1..=100).contains(&weight.int().unwrap_or_default()) {
        weight.invalid("must be in the range 1-100");
    }
}

fn check_pod_term(term: &Check<'_>) {
    term.field("topologyKey").must_obey(qualified_name);
    check_label_selector(&term.field("labelSelector"));
    check_label_selector(&term.field("namespaceSelector"));
}

fn check_node_term(term: &Check<'_>) {
    for requirement in term.field("matchExpressions").items() {
        requirement.field("key").must_obey(qualified_name);
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.str() {
            "In" | "NotIn" => drop(values.must_exist("must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Exists" | "DoesNotExist" => {}
            "Gt" | "Lt" if values.items().count() != 1 => {
                values.required("must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "Gt" | "Lt" => {}
            _ => operator.invalid("not a valid selector operator"),
        }
    }
}

// --- shared with other kinds ----------------------------------------------------------------------------------

/// Checks a map of labels.
pub(in crate::kinds) fn check_labels(labels: &Check<'_>) {
    for (key, value) in labels.entries() {
        for problem in qualified_name(key) {
            labels.report(FieldError::invalid(labels.path(), key, problem));
        }
        for problem in label_value(value.str()) {
            labels.report(FieldError::invalid(labels.path(), value.str(), problem));
        }
    }
}

/// Checks a selector of `matchLabels` and `matchExpressions`.
pub(in crate::kinds) fn check_label_selector(selector: &Check<'_>) {
    check_labels(&selector.field("matchLabels"));
    for requirement in selector.field("matchExpressions").items() {
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.str() {
            "In" | "NotIn" => drop(values.must_exist("must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Exists" | "DoesNotExist" => {}
            _ => operator.invalid("not a valid selector operator"),
        }
        requirement.field("key").must_obey(qualified_name);
    }
}

fn check_dns(spec: &Check<'_>) {
    let policy = spec.field("dnsPolicy");
    policy.must_be_one_of(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
    let config = spec.field("dnsConfig");
    let servers = config.field("nameservers");
    let count = servers.items().count();
    if policy.str() == "None" && count == 0 {
        servers.required("must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if count > 3 {
        servers.invalid("must not have more than 3 nameservers");
    }
    servers.items().for_each(|server| server.obeys(validation::ip));
    for search in config.field("searches").items() {
        search.obeys(|name| dns_subdomain(name.strip_suffix('.').unwrap_or(name)));
    }
    for option in config.field("options").items() {
        option.field("name").must_exist("must not be empty");
    }
}
