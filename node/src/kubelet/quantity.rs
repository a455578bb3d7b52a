//! Reading quantities into the two units the node needs; what is not one reads as 0.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

fn parse(quantity: &Quantity) -> Option<mizzen_api::quantity::Quantity> {
    quantity.0.parse().ok()
}

/// Thousandths, rounded up.
#[must_use]
pub fn milli(quantity: &Quantity) -> i64 {
    parse(quantity).map_or(0, mizzen_api::quantity::Quantity::millis)
}

/// Whole units, rounded up.
#[must_use]
pub fn value(quantity: &Quantity) -> i64 {
    parse(quantity).map_or(0, mizzen_api::quantity::Quantity::value)
}
