//! Amounts of resources, and what a Pod's requests add up to.

use std::collections::BTreeMap;

use mizzen_api::quantity::Quantity;

/// What a container without a request is taken to use when nodes are scored.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of node-local storage.
    pub ephemeral_storage: i64,
    /// Anything else, sorted by name.
    pub extended: Vec<(Box<str>, i64)>,
}

impl Resources {
    pub(super) fn read(quantities: &BTreeMap<Box<str>, Box<str>>) -> Self {
        let mut resources = Self::default();
        for (name, text) in quantities {
            let Ok(quantity) = text.parse::<Quantity>() else {
                continue;
            };
            match &**name {
                "cpu" => resources.milli_cpu = quantity.millis(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => {}
                _ => resources.extended.push((name.clone(), quantity.value())),
            }
        }
        resources
    }

    /// Amount of any resource.
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            name => self.extended(name),
        }
    }

    /// Amount of an extended resource.
    pub fn extended(&self, name: &str) -> i64 {
        match self.extended.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(at) => self.extended[at].1,
            Err(_) => 0,
        }
    }

    fn merge(&mut self, other: &Self, combine: fn(i64, i64) -> i64) {
        self.milli_cpu = combine(self.milli_cpu, other.milli_cpu);
        self.memory = combine(self.memory, other.memory);
        self.ephemeral_storage = combine(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.extended {
            match self.extended.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => self.extended[at].1 = combine(self.extended[at].1, *amount),
                Err(at) => self.extended.insert(at, (name.clone(), combine(0, *amount))),
            }
        }
    }

    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.merge(other, |a, b| a + b);
    }

    /// Takes away.
    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, |a, b| a - b);
    }

    /// Raises every amount to at least the other's.
    pub(super) fn raise(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    /// The same with defaults where nothing is asked of processor or memory.
    pub(super) fn or_default(&self) -> Self {
        let or = |amount, default| if amount == 0 { default } else { amount };
        Self {
            milli_cpu: or(self.milli_cpu, DEFAULT_MILLI_CPU),
            memory: or(self.memory, DEFAULT_MEMORY),
            ..self.clone()
        }
    }
}
