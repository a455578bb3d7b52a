//! A `KubeSchedulerConfiguration`: profiles, plugins switched on, off or weighed, and their arguments.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::arguments::Arguments;
use super::framework::Framework;
use super::framework::cycle::{Points, Row};
use super::plugins;
use super::profiles::{DEFAULT, Profiles};
use super::queue::{BACKOFF, LONGEST_BACKOFF};

/// How a scheduler decides.
#[derive(Debug)]
pub struct Configuration {
    /// Profiles.
    pub profiles: Profiles,
    /// Shortest and longest pause between attempts to schedule a Pod.
    pub backoff: (Duration, Duration),
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            profiles: Profiles::default(),
            backoff: (BACKOFF, LONGEST_BACKOFF),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    api_version: String,
    kind: String,
    profiles: Vec<ProfileForm>,
    percentage_of_nodes_to_score: Option<usize>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProfileForm {
    scheduler_name: Option<Box<str>>,
    percentage_of_nodes_to_score: Option<usize>,
    plugins: PluginsForm,
    plugin_config: Vec<PluginConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PluginConfig {
    name: String,
    args: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PluginsForm {
    multi_point: PluginSet,
    pre_enqueue: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginSet {
    enabled: Vec<PluginForm>,
    disabled: Vec<PluginForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginForm {
    name: String,
    weight: Option<i64>,
}

impl PluginSet {
    fn disables(&self, name: &str) -> bool {
        let off = self.disabled.iter().any(|p| p.name == name || p.name == "*");
        off && !self.enabled.iter().any(|p| p.name == name)
    }

    fn weight(&self, name: &str) -> Option<i64> {
        self.enabled.iter().find(|p| p.name == name)?.weight
    }
}

impl Configuration {
    /// Reads a file in YAML or JSON.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a scheduler configuration", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = serde_saphyr::from_str(text)?;
        if file.kind != "KubeSchedulerConfiguration" || !file.api_version.starts_with("kubescheduler.config.k8s.io/") {
            bail!(
                "expected a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1, found {:?} of {:?}",
                file.kind,
                file.api_version
            );
        }
        let mut profiles = Vec::new();
        let forms = match file.profiles.is_empty() {
            true => vec![ProfileForm::default()],
            false => file.profiles,
        };
        for form in forms {
            let profile = form.framework(file.percentage_of_nodes_to_score)?;
            let taken = |other: &Framework| other.scheduler_name == profile.scheduler_name;
            if profiles.iter().any(taken) {
                bail!("two profiles are named {:?}", profile.scheduler_name);
            }
            profiles.push(profile);
        }
        let seconds = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        Ok(Self {
            profiles: Profiles::new(profiles),
            backoff: (
                seconds(file.pod_initial_backoff_seconds, BACKOFF),
                seconds(file.pod_max_backoff_seconds, LONGEST_BACKOFF),
            ),
        })
    }
}

impl ProfileForm {
    fn framework(self, percentage: Option<usize>) -> Result<Framework> {
        let mut arguments = Arguments::default();
        for config in self.plugin_config {
            let known = arguments.set(&config.name, config.args);
            if !known.with_context(|| format!("arguments of {}", config.name))? {
                // Arguments of plugins without any only carry their kind upstream.
                tracing::warn!(plugin = config.name, "a plugin that takes no arguments was given some");
            }
        }
        let mut rows = plugins::all(&arguments);
        self.plugins.check(&rows)?;
        rows.retain(|row| !self.plugins.multi_point.disables(row.plugin.name()));
        rows.iter_mut().for_each(|row| self.plugins.adjust(row));
        let percentage = self
            .percentage_of_nodes_to_score
            .or(percentage)
            .filter(|percent| *percent > 0);
        let name = self.scheduler_name.as_deref().unwrap_or(DEFAULT);
        Ok(Framework::new(name, rows, percentage))
    }
}

impl PluginsForm {
    fn check(&self, rows: &[Row]) -> Result<()> {
        let sets = [
            &self.multi_point,
            &self.pre_enqueue,
            &self.pre_filter,
            &self.filter,
            &self.post_filter,
            &self.pre_score,
            &self.score,
        ];
        for plugin in sets.into_iter().flat_map(|set| &set.enabled) {
            if !rows.iter().any(|row| row.plugin.name() == plugin.name) {
                bail!("there is no plugin named {:?}", plugin.name);
            }
        }
        Ok(())
    }

    fn adjust(&self, row: &mut Row) {
        let name = row.plugin.name();
        let weight = self.score.weight(name).or(self.multi_point.weight(name));
        row.weight = weight.filter(|weight| *weight > 0).unwrap_or(row.weight);
        row.at = Points {
            pre_enqueue: !self.pre_enqueue.disables(name),
            filter: !self.filter.disables(name) && !self.pre_filter.disables(name),
            post_filter: !self.post_filter.disables(name),
            score: !self.score.disables(name) && !self.pre_score.disables(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_upstream_writes_them() {
        let configuration = Configuration::parse(
            "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podMaxBackoffSeconds: 30
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  percentageOfNodesToScore: 100
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit, weight: 7}]
    multiPoint:
      disabled: [{name: ImageLocality}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}
",
        )
        .expect("a configuration");
        assert_eq!(configuration.backoff, (BACKOFF, Duration::from_secs(30)));
        let names: Vec<_> = configuration.profiles.iter().map(|p| &*p.scheduler_name).collect();
        assert_eq!(names, ["default-scheduler", "packer"]);
        let packer = configuration.profiles.iter().nth(1).expect("the second");
        assert!(packer.plugins().all(|plugin| plugin.name() != "ImageLocality"));
    }

    #[test]
    fn mistakes_are_told() {
        let check = |text: &str, expect: &str| {
            let error = Configuration::parse(text).expect_err("refused");
            assert!(format!("{error:#}").contains(expect), "{error:#}");
        };
        check("kind: Pod", "expected a KubeSchedulerConfiguration");
        let head = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, profiles: ";
        check(
            &format!("{head}[{{}}, {{}}]}}"),
            "two profiles are named \"default-scheduler\"",
        );
        check(
            &format!("{head}[{{plugins: {{score: {{enabled: [{{name: Magic}}]}}}}}}]}}"),
            "there is no plugin named \"Magic\"",
        );
    }
}
