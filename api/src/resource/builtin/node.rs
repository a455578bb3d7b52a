//! Rows of what runs on and belongs to nodes: leases, runtime classes, storage, devices, events.

use super::Rows;

pub(super) fn rows(r: &mut Rows) {
    r.group("coordination.k8s.io", "v1");
    r.namespaced("Lease", "leases");

    r.group("node.k8s.io", "v1");
    r.cluster("RuntimeClass", "runtimeclasses");

    r.group("events.k8s.io", "v1");
    r.namespaced("Event", "events")
        .short(&["ev"])
        .stored_as("", "v1")
        .selectable(&[
            ("regarding.kind", "involvedObject.kind", ""),
            ("regarding.namespace", "involvedObject.namespace", ""),
            ("regarding.name", "involvedObject.name", ""),
            ("regarding.uid", "involvedObject.uid", ""),
            ("regarding.apiVersion", "involvedObject.apiVersion", ""),
            ("regarding.resourceVersion", "involvedObject.resourceVersion", ""),
            ("regarding.fieldPath", "involvedObject.fieldPath", ""),
            ("reason", "reason", ""),
            ("reportingController", "reportingComponent", ""),
            ("type", "type", ""),
        ]);

    r.group("storage.k8s.io", "v1");
    r.cluster("CSIDriver", "csidrivers");
    r.cluster("CSINode", "csinodes");
    r.namespaced("CSIStorageCapacity", "csistoragecapacities");
    r.cluster("StorageClass", "storageclasses").short(&["sc"]);
    r.cluster("VolumeAttachment", "volumeattachments").status();
    r.cluster("VolumeAttributesClass", "volumeattributesclasses")
        .short(&["vac"]);

    r.group("resource.k8s.io", "v1");
    r.cluster("DeviceClass", "deviceclasses");
    r.cluster("DeviceTaintRule", "devicetaintrules").status();
    r.namespaced("ResourceClaim", "resourceclaims").status();
    r.namespaced("ResourceClaimTemplate", "resourceclaimtemplates");
    r.cluster("ResourceSlice", "resourceslices").selectable(&[
        ("spec.nodeName", "spec.nodeName", ""),
        ("spec.driver", "spec.driver", ""),
    ]);
}
