//! The scheduling cycle: which nodes can take a Pod, and which of them is best.
//!
//! The search looks at nodes in [`Cluster::order`], beginning where the last one ended, and stops when
//! it has found enough to compare: both as upstream, so that the same nodes come into question.

use std::sync::Arc;

use super::failure::{Failure, Verdict};
use super::{Cycle, Event, Filter, MAX_SCORE, Plugin, Prepared, Rejection, Score, Scored};
use crate::scheduler::cluster::{Cluster, NodeInfo, PodChange};
use crate::scheduler::pod::Pod;

/// Below this many feasible nodes the search goes on (upstream's minimum).
const MIN_FEASIBLE: usize = 100;

/// What searches remember from Pod to Pod.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Where the next search starts, so that all nodes get their turn.
    start: usize,
    /// State of the generator that chooses among equals.
    random: u64,
}

impl Search {
    /// A search that decides by this seed among equally good nodes.
    pub fn new(seed: u64) -> Self {
        Self {
            start: 0,
            random: seed | 1,
        }
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % bound as u64).unwrap_or(0)
    }
}

/// A plugin in a profile.
pub struct Row {
    /// The plugin.
    pub plugin: Box<dyn Plugin>,
    /// How much its scores count.
    pub weight: i64,
    /// Points at which it takes part.
    pub at: Points,
}

impl Row {
    /// A plugin that takes part wherever it has a say.
    pub fn new(plugin: Box<dyn Plugin>) -> Self {
        let weight = plugin.weight();
        Self {
            plugin,
            weight,
            at: Points::default(),
        }
    }
}

/// At which of the points that can be switched a plugin takes part.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// PreEnqueue.
    pub pre_enqueue: bool,
    /// PreFilter and Filter.
    pub filter: bool,
    /// PostFilter.
    pub post_filter: bool,
    /// PreScore and Score.
    pub score: bool,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            pre_enqueue: true,
            filter: true,
            post_filter: true,
            score: true,
        }
    }
}

/// A profile: plugins in order.
pub struct Framework {
    /// The name by which Pods choose it.
    pub scheduler_name: Box<str>,
    rows: Box<[Row]>,
    /// How many of the nodes are worth comparing, in percent; upstream's rule of thumb without.
    percentage: Option<usize>,
}

impl std::fmt::Debug for Framework {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.plugins().map(Plugin::name).collect();
        f.debug_struct("Framework")
            .field("scheduler_name", &self.scheduler_name)
            .field("plugins", &names)
            .finish_non_exhaustive()
    }
}

impl Framework {
    /// A profile of these plugins.
    pub fn new(scheduler_name: &str, rows: Vec<Row>, percentage: Option<usize>) -> Self {
        Self {
            scheduler_name: scheduler_name.into(),
            rows: rows.into(),
            percentage,
        }
    }

    /// All plugins in order.
    pub fn plugins(&self) -> impl DoubleEndedIterator<Item = &dyn Plugin> {
        self.rows.iter().map(|row| &*row.plugin)
    }

    /// The first plugin that holds the Pod back, if any.
    pub fn held_back(&self, pod: &Pod) -> Option<&'static str> {
        let mut rows = self.rows.iter().filter(|row| row.at.pre_enqueue);
        let row = rows.find(|row| row.plugin.pre_enqueue(pod).is_err());
        row.map(|row| row.plugin.name())
    }

    /// What the queue sorts by.
    pub fn queue_key(&self, pod: &Pod) -> i64 {
        self.plugins().find_map(|plugin| plugin.queue_key(pod)).unwrap_or(0)
    }

    /// Which kinds of events may change a rejection by any of these plugins.
    pub fn events(&self, rejected_by: &[&'static str]) -> u16 {
        let concerned = self.plugins().filter(|p| rejected_by.contains(&p.name()));
        match rejected_by.is_empty() {
            true => u16::MAX,
            false => concerned.fold(0, |bits, plugin| bits | plugin.events()),
        }
    }

    /// Whether an event may change the rejection by any of these plugins.
    pub fn may_help(&self, rejected_by: &[&'static str], pod: &Pod, event: &Event<'_>) -> bool {
        let mut concerned = self.plugins().filter(|p| rejected_by.contains(&p.name()));
        rejected_by.is_empty() || concerned.any(|p| p.events() & event.bit() != 0 && p.may_help(pod, event))
    }

    /// Chooses a node for the Pod: its slot.
    pub fn schedule(&self, pod: &Pod, cluster: &Cluster, search: &mut Search) -> Result<usize, Box<Failure>> {
        let nodes = cluster.order().len();
        if nodes == 0 {
            return Err(Box::default());
        }
        let cycle = Cycle { pod, cluster };
        let attempt = match Attempt::new(self, cycle) {
            Ok(attempt) => attempt,
            Err((attempt, plugin, rejection)) => {
                let failure = Failure::of(plugin, rejection, nodes);
                return Err(self.after(&attempt, failure));
            }
        };
        match self.feasible(&attempt, search)?.as_slice() {
            [only] => Ok(*only),
            several => Ok(self.best(cycle, several, search)),
        }
    }

    /// Has every plugin take what the Pod needs on the node; all or nothing.
    pub fn reserve(&self, pod: &Pod, cluster: &Cluster, slot: usize) -> Result<(), (&'static str, Rejection)> {
        let (cycle, info) = (Cycle { pod, cluster }, cluster.info(slot));
        for plugin in self.plugins() {
            if let Err(rejection) = plugin.reserve(cycle, info) {
                self.unreserve(pod, &info.name);
                return Err((plugin.name(), rejection));
            }
        }
        Ok(())
    }

    /// Gives back what was reserved, in reverse order.
    pub fn unreserve(&self, pod: &Pod, node: &str) {
        self.plugins().rev().for_each(|plugin| plugin.unreserve(pod, node));
    }

    /// Slots of nodes that pass all filters, up to as many as are worth comparing.
    fn feasible(&self, attempt: &Attempt<'_>, search: &mut Search) -> Result<Vec<usize>, Box<Failure>> {
        let cluster = attempt.cycle.cluster;
        let nodes = cluster.order().len();
        let mut failure = Failure {
            nodes,
            ..Failure::default()
        };
        // Where room was made for the Pod comes first.
        if let Some(slot) = cluster.nomination(&attempt.cycle.pod.metadata.uid)
            && attempt.filter(slot).is_ok()
        {
            return Ok(vec![slot]);
        }
        let narrowed = self.narrow(attempt, &mut failure);
        let candidates = narrowed.as_deref().unwrap_or(cluster.order());
        let enough = self.enough(candidates.len());
        let mut feasible = Vec::new();
        let mut seen = 0;
        while seen < candidates.len() && feasible.len() < enough {
            let slot = candidates[(search.start + seen) % candidates.len()];
            seen += 1;
            match attempt.filter(slot) {
                Ok(()) => feasible.push(slot),
                Err((plugin, rejection)) => failure.verdicts.push(Verdict {
                    slot,
                    plugin,
                    rejection,
                }),
            }
        }
        search.start = (search.start + seen) % nodes;
        if !feasible.is_empty() {
            return Ok(feasible);
        }
        let plugins: Vec<_> = failure.verdicts.iter().map(|verdict| verdict.plugin).collect();
        plugins.into_iter().for_each(|plugin| failure.blame(plugin));
        Err(self.after(attempt, failure))
    }

    /// The only nodes worth looking at, when plugins know them.
    fn narrow(&self, attempt: &Attempt<'_>, failure: &mut Failure) -> Option<Vec<usize>> {
        let mut narrowed: Option<Vec<usize>> = None;
        let mut by = Vec::new();
        for row in attempt.checks.iter().map(|(row, _)| row) {
            let Some(mut slots) = row.plugin.narrow(attempt.cycle) else {
                continue;
            };
            by.push(row.plugin.name());
            if let Some(before) = narrowed {
                slots.retain(|slot| before.contains(slot));
            }
            narrowed = Some(slots);
        }
        if narrowed.is_some() {
            by.sort_unstable();
            by.iter().for_each(|plugin| failure.blame(plugin));
            let words = format!("node(s) didn't satisfy plugin(s) [{}]", by.join(" "));
            failure.others = Some(Rejection::unresolvable(words));
        }
        narrowed
    }

    fn after(&self, attempt: &Attempt<'_>, mut failure: Failure) -> Box<Failure> {
        let rows = self.rows.iter().filter(|row| row.at.post_filter);
        let after: Vec<_> = rows
            .filter_map(|row| row.plugin.post_filter(attempt, &failure))
            .collect();
        for after in after {
            if !after.words.is_empty() {
                failure.after = match failure.after.is_empty() {
                    true => after.words,
                    false => format!("{}, {}", failure.after, after.words),
                };
            }
            failure.nomination = failure.nomination.or(after.nomination);
            failure.keep_nomination |= after.keep_nomination;
        }
        Box::new(failure)
    }

    fn best(&self, cycle: Cycle<'_>, feasible: &[usize], search: &mut Search) -> usize {
        let mut totals = vec![0; feasible.len()];
        let mut scores = vec![0; feasible.len()];
        for row in self.rows.iter().filter(|row| row.at.score && row.weight != 0) {
            let infos = feasible.iter().map(|slot| cycle.cluster.info(*slot));
            let plugin = &*row.plugin;
            match plugin.prepare_scores(cycle, feasible) {
                Scored::Skip => continue,
                Scored::Plain => {
                    scores
                        .iter_mut()
                        .zip(infos)
                        .for_each(|(score, info)| *score = plugin.score(cycle, info));
                    plugin.normalize(&mut scores);
                }
                Scored::State(state) => {
                    let state: &dyn Score = &*state;
                    scores
                        .iter_mut()
                        .zip(infos)
                        .for_each(|(score, info)| *score = state.score(info));
                    state.normalize(feasible, &mut scores);
                }
            }
            for (total, score) in totals.iter_mut().zip(&scores) {
                debug_assert!((0..=MAX_SCORE).contains(score), "{} scored {score}", plugin.name());
                *total += score * row.weight;
            }
        }
        choose(feasible, &totals, search)
    }

    /// How many feasible nodes are worth comparing: fewer, relatively, the more there are.
    fn enough(&self, nodes: usize) -> usize {
        if nodes < MIN_FEASIBLE {
            return nodes;
        }
        let thumb = 50usize.saturating_sub(nodes / 125).max(5);
        (nodes * self.percentage.unwrap_or(thumb) / 100).max(MIN_FEASIBLE)
    }
}

/// One of the best at random: otherwise ties would pile Pods on the first node.
fn choose(feasible: &[usize], totals: &[i64], search: &mut Search) -> usize {
    let top = totals.iter().max().copied().unwrap_or(0);
    let ties: Vec<usize> = (0..totals.len()).filter(|at| totals[*at] == top).collect();
    feasible[ties[search.below(ties.len())]]
}

/// One Pod's way through the filters.
pub struct Attempt<'a> {
    /// What it is about.
    pub cycle: Cycle<'a>,
    checks: Vec<(&'a Row, Check<'a>)>,
}

enum Check<'a> {
    Plain,
    State(Box<dyn Filter<'a> + 'a>),
}

type Refused<'a> = (Attempt<'a>, &'static str, Rejection);

impl<'a> Attempt<'a> {
    /// Has all plugins prepare; the error holds what was prepared so far.
    fn new(framework: &'a Framework, cycle: Cycle<'a>) -> Result<Self, Refused<'a>> {
        let mut checks = Vec::with_capacity(framework.rows.len());
        for row in framework.rows.iter().filter(|row| row.at.filter) {
            match row.plugin.prepare(cycle) {
                Ok(Prepared::Skip) => {}
                Ok(Prepared::Plain) => checks.push((row, Check::Plain)),
                Ok(Prepared::State(state)) => checks.push((row, Check::State(state))),
                Err(rejection) => return Err((Self { cycle, checks }, row.plugin.name(), rejection)),
            }
        }
        Ok(Self { cycle, checks })
    }

    /// Whether the Pod can run on a node, even when those for which room is being made there have come.
    pub fn filter(&self, slot: usize) -> Result<(), (&'static str, Rejection)> {
        let info = self.cycle.cluster.info(slot);
        let expected = self.expected(slot);
        if !expected.is_empty() {
            let (mut supposed, mut info) = (self.fork(), info.clone());
            expected.into_iter().for_each(|pod| supposed.add(&mut info, pod));
            supposed.check(&info)?;
        }
        self.check(info)
    }

    /// Pods at least as important for which room is being made on a node.
    fn expected(&self, slot: usize) -> Vec<&'a Arc<Pod>> {
        let pod = self.cycle.pod;
        let nominated = self.cycle.cluster.nominated(slot).iter();
        nominated
            .filter(|other| other.priority >= pod.priority && other.metadata.uid != pod.metadata.uid)
            .collect()
    }

    /// The same for a node as it would be, with everyone who is expected.
    pub fn check_expecting(&self, info: &NodeInfo) -> Result<(), (&'static str, Rejection)> {
        let expected = self.expected(info.slot);
        if !expected.is_empty() {
            let (mut supposed, mut info) = (self.fork(), info.clone());
            expected.into_iter().for_each(|pod| supposed.add(&mut info, pod));
            supposed.check(&info)?;
        }
        self.check(info)
    }

    /// Whether the Pod can run on a node that is, or would be, like this.
    fn check(&self, info: &NodeInfo) -> Result<(), (&'static str, Rejection)> {
        for (row, check) in &self.checks {
            let passed = match check {
                Check::Plain => row.plugin.filter(self.cycle, info),
                Check::State(state) => state.check(self.cycle, info),
            };
            passed.map_err(|rejection| (row.plugin.name(), rejection))?;
        }
        Ok(())
    }

    /// A copy in which to suppose.
    pub fn fork(&self) -> Self {
        let fork = |check: &Check<'a>| match check {
            Check::Plain => Check::Plain,
            Check::State(state) => Check::State(state.fork()),
        };
        Self {
            cycle: self.cycle,
            checks: self.checks.iter().map(|(row, check)| (*row, fork(check))).collect(),
        }
    }

    /// Suppose a Pod came to the node.
    pub fn add(&mut self, info: &mut NodeInfo, pod: &Arc<Pod>) {
        info.add(pod.clone());
        self.suppose(info.slot, pod, true);
    }

    /// Suppose a Pod left the node.
    pub fn remove(&mut self, info: &mut NodeInfo, pod: &Arc<Pod>) {
        info.remove(&pod.metadata.uid);
        self.suppose(info.slot, pod, false);
    }

    fn suppose(&mut self, slot: usize, pod: &Arc<Pod>, added: bool) {
        let change = PodChange {
            slot,
            pod: pod.clone(),
            added,
        };
        for (_, check) in &mut self.checks {
            if let Check::State(state) = check {
                state.suppose(self.cycle.cluster, &change);
            }
        }
    }
}
