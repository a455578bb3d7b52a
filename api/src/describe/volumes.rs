//! Volumes of Pods. Kinds of volumes that this system cannot mount are shown field by field.

use serde_json::Value;

use super::generic;
use super::writer::Writer;
use crate::quantity::Quantity;
use crate::view::{self, flag, has, int, list, text, text_or};

pub(super) fn all(volumes: &[Value], space: &str, out: &mut Writer) {
    if volumes.is_empty() {
        out.line(0, format!("{space}Volumes:\t<none>"));
        return;
    }
    out.line(0, format!("{space}Volumes:"));
    let indent = if space.is_empty() { "" } else { " " };
    for volume in volumes {
        out.line(1, format!("{indent}{}:", text(volume, "/name")));
        one(volume, out);
    }
}

fn one(volume: &Value, out: &mut Writer) {
    let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
    let Some((kind, source)) = source else {
        out.line(1, "<unknown>");
        return;
    };
    let optional = flag(source, "/optional");
    let mut lines = |kind: &str, fields: &[(&str, String)]| {
        out.line(2, format!("Type:\t{kind}"));
        for (name, value) in fields {
            out.line(2, format!("{name}:\t{value}"));
        }
    };
    let field = |path: &str| text(source, path).to_owned();
    match kind.as_str() {
        "hostPath" => lines(
            "HostPath (bare host directory volume)",
            &[
                ("Path", field("/path")),
                ("HostPathType", source["type"].as_str().unwrap_or("<none>").to_owned()),
            ],
        ),
        "emptyDir" => {
            let limit = view::quantity(source, "/sizeLimit");
            let limit = if limit > Quantity::ZERO {
                limit.to_string()
            } else {
                "<unset>".to_owned()
            };
            lines(
                "EmptyDir (a temporary directory that shares a pod's lifetime)",
                &[("Medium", field("/medium")), ("SizeLimit", limit)],
            );
        }
        "secret" => lines(
            "Secret (a volume populated by a Secret)",
            &[("SecretName", field("/secretName")), ("Optional", optional.to_string())],
        ),
        "configMap" => lines(
            "ConfigMap (a volume populated by a ConfigMap)",
            &[("Name", field("/name")), ("Optional", optional.to_string())],
        ),
        "persistentVolumeClaim" => lines(
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
            &[
                ("ClaimName", field("/claimName")),
                ("ReadOnly", flag(source, "/readOnly").to_string()),
            ],
        ),
        "projected" => projected(source, out),
        "downwardAPI" => downward(source, out),
        other => {
            out.line(2, format!("Type:\t{other}"));
            generic::fields(source, 2, out);
        }
    }
}

fn projected(source: &Value, out: &mut Writer) {
    out.line(
        2,
        "Type:\tProjected (a volume that contains injected data from multiple sources)",
    );
    for part in list(source, "/sources") {
        let named = |title: &str, of: &Value, out: &mut Writer| {
            out.line(2, format!("{title}:\t{}", text(of, "/name")));
            out.line(2, format!("Optional:\t{}", flag(of, "/optional")));
        };
        if let Some(secret) = part.get("secret") {
            named("SecretName", secret, out);
        } else if has(part, "/downwardAPI") {
            out.line(2, "DownwardAPI:\ttrue");
        } else if let Some(config_map) = part.get("configMap") {
            named("ConfigMapName", config_map, out);
        } else if let Some(token) = part.get("serviceAccountToken") {
            out.line(
                2,
                format!("TokenExpirationSeconds:\t{}", int(token, "/expirationSeconds")),
            );
        }
    }
}

fn downward(source: &Value, out: &mut Writer) {
    out.line(
        2,
        "Type:\tDownwardAPI (a volume populated by information about the pod)",
    );
    out.line(2, "Items:");
    for item in list(source, "/items") {
        let from = text_or(item, "/fieldRef/fieldPath", text(item, "/resourceFieldRef/resource"));
        out.line(3, format!("{from} -> {}", text(item, "/path")));
    }
}
