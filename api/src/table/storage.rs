//! Volumes, claims and classes; devices.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Severity};
use crate::view::{self, has, list, scalar, text, text_or};

pub(super) fn columns(group: &str, plural: &str) -> Option<&'static [Column]> {
    match (group, plural) {
        ("", "persistentvolumes") => Some(VOLUMES),
        ("", "persistentvolumeclaims") => Some(CLAIMS),
        ("storage.k8s.io", "storageclasses") => Some(CLASSES),
        ("storage.k8s.io", "volumeattributesclasses") => Some(ATTRIBUTES_CLASSES),
        ("storage.k8s.io", "volumeattachments") => Some(ATTACHMENTS),
        ("storage.k8s.io", "csinodes") => Some(CSI_NODES),
        ("storage.k8s.io", "csidrivers") => Some(CSI_DRIVERS),
        ("storage.k8s.io", "csistoragecapacities") => Some(CSI_CAPACITIES),
        ("resource.k8s.io", "resourceclaims") => Some(RESOURCE_CLAIMS),
        ("resource.k8s.io", "resourceslices") => Some(RESOURCE_SLICES),
        ("resource.k8s.io", "deviceclasses" | "resourceclaimtemplates") => Some(&[NAME, AGE]),
        _ => None,
    }
}

const VOLUMES: &[Column] = &[
    NAME,
    Column::new("Capacity", "Size.", |o, _| size(o, "/spec/capacity/storage")),
    Column::new("Access Modes", "How it may be mounted.", |o, _| {
        Cell::text(access_modes(o, "/spec/accessModes"))
    }),
    Column::new("Reclaim Policy", "What becomes of it once released.", |o, _| {
        Cell::text(text(o, "/spec/persistentVolumeReclaimPolicy").to_owned())
    }),
    Column::new("Status", "Whether it is free, bound or released.", |o, _| phase(o)),
    Column::new("Claim", "Claim that it is bound to.", |o, _| {
        let claim = &o["spec"]["claimRef"];
        if claim.is_null() {
            return Cell::text("");
        }
        Cell::text(format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")))
    }),
    Column::new("StorageClass", "Class.", |o, _| Cell::text(storage_class(o))),
    Column::new("VolumeAttributesClass", "Attributes class.", |o, _| {
        or_unset(o, "/spec/volumeAttributesClassName")
    }),
    Column::new("Reason", "Why it failed.", |o, _| {
        Cell::text(text(o, "/status/reason").to_owned())
    }),
    AGE,
    Column::new("VolumeMode", "Filesystem or block device.", |o, _| {
        or_unset(o, "/spec/volumeMode")
    })
    .wide(),
];

const CLAIMS: &[Column] = &[
    NAME,
    Column::new("Status", "Whether it is bound.", |o, _| phase(o)),
    Column::new("Volume", "Volume that it is bound to.", |o, _| {
        Cell::text(text(o, "/spec/volumeName").to_owned())
    }),
    Column::new("Capacity", "Size of the volume.", |o, _| {
        if text(o, "/spec/volumeName").is_empty() {
            return Cell::text("");
        }
        size(o, "/status/capacity/storage")
    }),
    Column::new("Access Modes", "How the volume may be mounted.", |o, _| {
        if text(o, "/spec/volumeName").is_empty() {
            return Cell::text("");
        }
        Cell::text(access_modes(o, "/status/accessModes"))
    }),
    Column::new("StorageClass", "Class.", |o, _| Cell::text(storage_class(o))),
    Column::new("VolumeAttributesClass", "Attributes class.", |o, _| {
        or_unset(o, "/spec/volumeAttributesClassName")
    }),
    AGE,
    Column::new("VolumeMode", "Filesystem or block device.", |o, _| {
        or_unset(o, "/spec/volumeMode")
    })
    .wide(),
];

const CLASSES: &[Column] = &[
    Column {
        format: "name",
        ..Column::new("Name", "Name of the class.", |o, _| {
            named_default(o, &["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"])
        })
    },
    Column::new("Provisioner", "Who makes the volumes.", |o, _| {
        Cell::text(text(o, "/provisioner").to_owned())
    }),
    Column::new("ReclaimPolicy", "What becomes of volumes once released.", |o, _| {
        Cell::text(text_or(o, "/reclaimPolicy", "Delete").to_owned())
    }),
    Column::new("VolumeBindingMode", "When volumes are made.", |o, _| {
        Cell::text(text_or(o, "/volumeBindingMode", "Immediate").to_owned())
    }),
    Column::new("AllowVolumeExpansion", "Whether volumes may grow.", |o, _| {
        Cell::flag(view::flag(o, "/allowVolumeExpansion"))
    }),
    AGE,
];

const ATTRIBUTES_CLASSES: &[Column] = &[
    Column {
        format: "name",
        ..Column::new("Name", "Name of the class.", |o, _| {
            named_default(o, &["volumeattributesclass.alpha.kubernetes.io"])
        })
    },
    Column::new("DriverName", "Driver of the volumes.", |o, _| {
        Cell::text(text(o, "/driverName").to_owned())
    }),
    AGE,
];

const ATTACHMENTS: &[Column] = &[
    NAME,
    Column {
        format: "name",
        ..Column::new("Attacher", "Driver that attaches it.", |o, _| {
            Cell::text(text(o, "/spec/attacher").to_owned())
        })
    },
    Column::new("PV", "Volume.", |o, _| {
        Cell::text(text(o, "/spec/source/persistentVolumeName").to_owned())
    }),
    Column::new("Node", "Node.", |o, _| Cell::text(text(o, "/spec/nodeName").to_owned())),
    Column::new("Attached", "Whether it is attached.", |o, _| {
        Cell::flag(view::flag(o, "/status/attached"))
    })
    .boolean(),
    AGE,
];

const CSI_NODES: &[Column] = &[
    NAME,
    Column::new("Drivers", "Number of drivers on the node.", |o, _| {
        Cell::int(list(o, "/spec/drivers").len() as i64)
    })
    .int(),
    AGE,
];

const CSI_DRIVERS: &[Column] = &[
    NAME,
    Column::new(
        "AttachRequired",
        "Whether volumes are attached before they are mounted.",
        |o, _| {
            Cell::flag(
                o.pointer("/spec/attachRequired")
                    .and_then(Value::as_bool)
                    .unwrap_or(true),
            )
        },
    )
    .boolean(),
    Column::new("PodInfoOnMount", "Whether it is told of the Pod.", |o, _| {
        Cell::flag(view::flag(o, "/spec/podInfoOnMount"))
    })
    .boolean(),
    Column::new("StorageCapacity", "Whether it tells the room that is left.", |o, _| {
        Cell::flag(view::flag(o, "/spec/storageCapacity"))
    })
    .boolean(),
    Column::new("TokenRequests", "Audiences of the tokens it is given.", |o, _| {
        if !has(o, "/spec/tokenRequests") {
            return Cell::text("<unset>");
        }
        let audiences: Vec<_> = list(o, "/spec/tokenRequests")
            .iter()
            .map(|t| text(t, "/audience"))
            .collect();
        Cell::text(audiences.join(","))
    }),
    Column::new(
        "RequiresRepublish",
        "Whether it is called again from time to time.",
        |o, _| Cell::flag(view::flag(o, "/spec/requiresRepublish")),
    )
    .boolean(),
    Column::new("Modes", "Lifecycles of volumes that it knows.", |o, _| {
        Cell::or_none(&view::join(o, "/spec/volumeLifecycleModes", ","))
    }),
    AGE,
];

const CSI_CAPACITIES: &[Column] = &[
    NAME,
    Column::new("StorageClassName", "Class.", |o, _| {
        Cell::text(text(o, "/storageClassName").to_owned())
    }),
    Column::new("Capacity", "Room that is left.", |o, _| or_unset(o, "/capacity")),
];

const RESOURCE_CLAIMS: &[Column] = &[
    NAME,
    Column::new("State", "Whether devices are allocated and reserved.", |o, _| {
        let (gone, allocated) = (view::terminating(o), has(o, "/status/allocation"));
        let mut states = Vec::new();
        states.extend(gone.then_some("deleted"));
        states.extend((!gone && !allocated).then_some("pending"));
        states.extend(allocated.then_some("allocated"));
        states.extend((allocated && !list(o, "/status/reservedFor").is_empty()).then_some("reserved"));
        Cell::text(states.join(","))
    }),
    AGE,
];

const RESOURCE_SLICES: &[Column] = &[
    NAME,
    Column::new("Node", "Node of the devices.", |o, _| {
        Cell::text(text(o, "/spec/nodeName").to_owned())
    }),
    Column::new("Driver", "Driver of the devices.", |o, _| {
        Cell::text(text(o, "/spec/driver").to_owned())
    }),
    Column::new("Pool", "Pool of the devices.", |o, _| {
        Cell::text(text(o, "/spec/pool/name").to_owned())
    }),
    AGE,
];

fn size(o: &Value, path: &str) -> Cell {
    let size = view::quantity(o, path);
    Cell::text(size.to_string()).sort(size.value())
}

fn phase(o: &Value) -> Cell {
    if view::terminating(o) {
        return Cell::text("Terminating").severity(Severity::Progress);
    }
    let phase = text(o, "/status/phase");
    let severity = match phase {
        "Bound" => Severity::Ok,
        "Available" => Severity::Plain,
        "Pending" => Severity::Progress,
        "Released" => Severity::Warning,
        "Failed" | "Lost" => Severity::Failure,
        _ => Severity::Plain,
    };
    Cell::text(phase.to_owned()).severity(severity)
}

fn or_unset(o: &Value, path: &str) -> Cell {
    match o.pointer(path) {
        None | Some(Value::Null) => Cell::text("<unset>").severity(Severity::Muted),
        Some(value) => Cell::text(scalar(value)),
    }
}

fn storage_class(o: &Value) -> String {
    let annotation = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
    text_or(o, annotation, text(o, "/spec/storageClassName")).to_owned()
}

/// Access modes in their short form, in upstream's order, without repetition.
pub(crate) fn access_modes(o: &Value, path: &str) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes = list(o, path);
    let fitting = SHORT.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode));
    fitting.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The name of a class, marked when it is the default.
fn named_default(o: &Value, prefixes: &[&str]) -> Cell {
    let default = prefixes
        .iter()
        .any(|p| text(o, &format!("/metadata/annotations/{p}~1is-default-class")) == "true");
    let suffix = if default { " (default)" } else { "" };
    Cell::text(format!("{}{suffix}", view::name(o)))
}
