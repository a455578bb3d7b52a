//! ResourceQuota: hard limits on what a namespace may use, perhaps of some Pods only.

use mizzen_api::object::Object;
use mizzen_api::quantity::Quantity;
use mizzen_api::status::FieldError;
use mizzen_api::validation::qualified_name;
use serde_json::{Value, json};

use super::check::Check;
use super::{Context, Strategy};

/// Names without a domain that a quota may limit.
const STANDARD: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Those that are counted and so are whole numbers.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that are there or not, without values to compare.
const EXISTENCE_ONLY: [&str; 5] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "Terminating",
];

/// Strategy of ResourceQuota.
pub(super) struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            let spec = check.field("spec");
            check_amounts(&spec.field("hard"));
            check_scopes(&spec);
            check_scope_selector(&spec.field("scopeSelector"));
        } else {
            check_amounts(&check.field("status").field("hard"));
            check_amounts(&check.field("status").field("used"));
        }
        check.finish()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if context.subresource.is_empty() {
            let sorted = |scopes: &Check<'_>| {
                let mut scopes: Vec<_> = scopes.items().map(|scope| scope.str()).collect();
                scopes.sort_unstable();
                scopes.join(",")
            };
            let (new, old) = (
                check.field("spec").field("scopes"),
                check.beside(old).field("spec").field("scopes"),
            );
            if sorted(&new) != sorted(&old) {
                new.invalid("field is immutable");
            }
        }
        check.finish()
    }
}

fn check_amounts(amounts: &Check<'_>) {
    for (name, amount) in amounts.entries() {
        for problem in qualified_name(name) {
            amount.report(FieldError::invalid(amount.path(), name, problem));
        }
        let standard =
            STANDARD.contains(&name) || name.starts_with("requests.hugepages-") || name.starts_with("hugepages-");
        if !name.contains('/') && !standard {
            amount.report(FieldError::invalid(
                amount.path(),
                name,
                "must be a standard resource for quota",
            ));
        }
        let Some(quantity) = quantity(&amount) else { continue };
        if quantity.is_negative() {
            amount.invalid("must be greater than or equal to 0");
        } else if (COUNTED.contains(&name) || name.starts_with("count/")) && !quantity.is_whole() {
            amount.invalid("must be an integer");
        }
    }
}

/// The quantity at a place.
pub(super) fn quantity(place: &Check<'_>) -> Option<Quantity> {
    match place.value()? {
        Value::String(text) => text.parse().ok(),
        number => number.to_string().parse().ok(),
    }
}

fn check_scopes(spec: &Check<'_>) {
    let scopes = spec.field("scopes");
    if scopes.is_empty() {
        return;
    }
    let names: Vec<_> = scopes.items().map(|scope| scope.str()).collect();
    for scope in &names {
        if !SCOPES.contains(scope) {
            scopes.invalid("unsupported scope");
        }
        for (resource, _) in spec.field("hard").entries() {
            if STANDARD.contains(&resource) && !applies(scope, resource) {
                scopes.invalid("unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if names.contains(&one) && names.contains(&other) {
            scopes.invalid("conflicting scopes");
        }
    }
}

/// Whether a scope can narrow down what is counted of a resource.
fn applies(scope: &str, resource: &str) -> bool {
    let of_pods = matches!(
        resource,
        "pods" | "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
    );
    match scope {
        "BestEffort" | "CrossNamespacePodAffinity" => resource == "pods",
        "NotBestEffort" | "NotTerminating" | "PriorityClass" | "Terminating" => of_pods,
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn check_scope_selector(selector: &Check<'_>) {
    for requirement in selector.field("matchExpressions").items() {
        let (scope, operator, values) = (
            requirement.field("scopeName"),
            requirement.field("operator"),
            requirement.field("values"),
        );
        if !SCOPES.contains(&scope.str()) {
            scope.invalid("unsupported scope");
        }
        if EXISTENCE_ONLY.contains(&scope.str()) && operator.str() != "Exists" {
            operator.invalid("must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required("must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.invalid("must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid("not a valid selector operator"),
        }
    }
}
