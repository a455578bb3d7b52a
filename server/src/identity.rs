//! Who a request comes from, as authentication found it.

use std::collections::BTreeMap;

/// Group of everybody who authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group and user of those who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// User name of those who did not authenticate.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that may do everything.
pub const MASTERS: &str = "system:masters";

/// An authenticated (or anonymous) user.
///
/// Travels as a request extension: only our own listeners and in-process clients set it, so it cannot
/// be forged over the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User name, such as `system:node:n1`.
    pub name: String,
    /// Opaque id that tells apart users who had the same name; may be empty.
    pub uid: String,
    /// Groups, [`AUTHENTICATED`] included.
    pub groups: Vec<String>,
    /// Extra facts, such as `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// An authenticated user in these groups.
    pub fn new<const N: usize>(name: impl Into<String>, groups: [&str; N]) -> Self {
        let groups = groups.into_iter().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self {
            name: name.into(),
            groups,
            ..Self::default()
        }
    }

    /// Whoever sent no credentials.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// Whether the user is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// Prefix of the user names of ServiceAccounts.
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Group of all ServiceAccounts; with `:NAMESPACE` appended, of those in a namespace.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// The user name of a ServiceAccount.
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the ServiceAccount with that user name.
pub fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// The groups of a ServiceAccount, [`AUTHENTICATED`] not among them.
pub fn service_account_groups(namespace: &str) -> [String; 2] {
    [SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")]
}
