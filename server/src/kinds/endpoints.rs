//! Endpoints and EndpointSlice: addresses behind a Service.

use mizzen_api::object::Object;
use mizzen_api::status::FieldError;
use mizzen_api::validation::{self, dns_label, port_name, port_number};

use super::check::{Check, default, each};
use super::{Context, Strategy};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20000;
const MAX_ADDRESSES: usize = 100;

/// Strategy of Endpoints.
pub(super) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        for subset in each(object, "subsets") {
            each(subset, "ports").for_each(|port| default(port, "protocol", "TCP"));
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        for subset in check.field("subsets").items() {
            let (ready, waiting) = (subset.field("addresses"), subset.field("notReadyAddresses"));
            if ready.is_empty() && waiting.is_empty() {
                subset.required("must specify `addresses` or `notReadyAddresses`");
            }
            for address in ready.items().chain(waiting.items()) {
                check_address(&address.field("ip"));
                address.field("hostname").obeys(dns_label);
            }
            let several = subset.field("ports").items().count() > 1;
            for port in subset.field("ports").items() {
                if several {
                    port.field("name").must_exist("");
                }
                port.field("name").obeys(dns_label);
                port.field("port")
                    .problems(port_number(port.field("port").int().unwrap_or_default()));
                port.field("protocol").must_be_one_of(PROTOCOLS);
            }
        }
        check.finish()
    }
}

/// Strategy of EndpointSlice.
pub(super) struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        for port in each(object, "ports") {
            default(port, "name", "");
            default(port, "protocol", "TCP");
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        let kind = check.field("addressType");
        kind.must_be_one_of(&["FQDN", "IPv4", "IPv6"]);
        for (list, most) in [("endpoints", MAX_ENDPOINTS), ("ports", MAX_PORTS)] {
            let count = check.field(list).items().count();
            if count > most {
                check.report(FieldError::too_many(list, count, most));
            }
        }
        for endpoint in check.field("endpoints").items() {
            let addresses = endpoint.field("addresses");
            match addresses.items().count() {
                0 => addresses.required("must contain at least 1 address"),
                n if n > MAX_ADDRESSES => check.report(FieldError::too_many(addresses.path(), n, MAX_ADDRESSES)),
                _ => {}
            }
            if kind.str().starts_with("IP") {
                addresses.items().for_each(|address| check_address(&address));
            }
            endpoint.field("hostname").obeys(dns_label);
        }
        for port in check.field("ports").items() {
            port.field("name").obeys(port_name);
            port.field("protocol").one_of(PROTOCOLS);
            if let Some(number) = port.field("port").int() {
                port.field("port").problems(port_number(number));
            }
        }
        check.field("ports").unique("name");
        check.finish()
    }

    fn validate_update(&self, _: &Context<'_>, object: &Object, old: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        check
            .field("addressType")
            .immutable(&check.beside(old).field("addressType"));
        check.finish()
    }
}

/// An address that traffic may be sent to: nobody may point a Service at the node itself.
fn check_address(address: &Check<'_>) {
    address.must_obey(validation::ip);
    let Ok(ip) = address.str().parse::<std::net::IpAddr>() else {
        return;
    };
    if ip.is_unspecified() {
        address.invalid(format!("may not be unspecified ({ip})"));
    } else if ip.is_loopback() {
        address.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    } else if matches!(ip, std::net::IpAddr::V4(v4) if v4.is_link_local()) {
        address.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    } else if ip.is_multicast() {
        address.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}
