//! The file as a whole: what every part of it means, and what the parts must agree on.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

use super::cluster::{self, Cluster};
use super::problem::{ConfigError, closest};
use super::raw::{Report, Section};
use super::server::{self, HttpSettings, StateSettings};
use super::valve;
use crate::agent::{Mode, ValveSettings};
use crate::id::ClusterName;

/// A whole configuration, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Clusters by name; at least one.
    pub clusters: Vec<Cluster>,
    /// Valves in the order of the file; at least one.
    pub valves: Vec<ConfiguredValve>,
    /// The server of `lagvalve run`.
    pub http: HttpSettings,
    /// What outlives the process.
    pub state: StateSettings,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// A valve and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfiguredValve {
    /// Its cluster: one of [`Config::clusters`].
    pub cluster: ClusterName,
    /// Everything it is told.
    pub settings: ValveSettings,
}

/// What a file may refer to.
pub struct Surroundings<'a> {
    /// The folder that relative file names start from: the file's own.
    pub dir: &'a Path,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Config {
    /// Reads and checks a file, with the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let dir = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &Surroundings { dir, env: &environment })
    }

    /// Checks a text.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is wrong.
    pub fn parse(text: &str, surroundings: &Surroundings<'_>) -> Result<Self, ConfigError> {
        read(text, surroundings).0
    }

    /// The cluster called `name`.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == *name)
    }
}

impl Surroundings<'_> {
    /// A secret by file or by environment; both, or one that cannot be read, is a problem. Its value is never shown.
    pub(super) fn secret(
        &self,
        section: &Section<'_, '_>,
        file_key: &'static str,
        env_key: &'static str,
    ) -> Option<String> {
        let file = section.text(file_key);
        let variable = section.text(env_key);
        if let (Some(_), Some(_)) = (&file, &variable) {
            section.bad(env_key, &format!("stands beside {file_key}: keep one of them"));
        }
        if let Some(file) = file {
            return match std::fs::read_to_string(self.dir.join(file)) {
                Ok(text) if text.trim().is_empty() => {
                    section.bad(file_key, "is an empty file");
                    None
                }
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    section.bad(file_key, &format!("cannot be read ({error})"));
                    None
                }
            };
        }
        let variable = variable?;
        let value = (self.env)(&variable).filter(|value| !value.is_empty());
        if value.is_none() {
            section.bad(env_key, "is not set in the environment");
        }
        value
    }
}

/// Every option there is, as `valves[].min_rate`, in alphabetical order; made by reading a file that has every section.
#[must_use]
pub fn known_options() -> BTreeSet<String> {
    let everywhere =
        "[clusters.a.tls]\n[clusters.a.sasl]\n[[valves]]\n[valves.pid]\n[[valves.protect]]\n[http]\n[state]";
    read(everywhere, &Surroundings { dir: Path::new("."), env: &|_| None }).1
}

fn read(text: &str, surroundings: &Surroundings<'_>) -> (Result<Config, ConfigError>, BTreeSet<String>) {
    let report = Report::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            // The parser's own form quotes the line, which may hold a secret.
            report.problem(error.span().map_or(0, |span| span.start), "", format!("not TOML: {}", error.message()));
        }
        let (problems, _, options) = report.finish();
        return (Err(ConfigError::Invalid { problems }), options);
    }
    let mut config = read_root(&Section::root(&report, table.get_ref()), surroundings);
    let (problems, warnings, options) = report.finish();
    config.warnings = warnings;
    if problems.is_empty() { (Ok(config), options) } else { (Err(ConfigError::Invalid { problems }), options) }
}

fn read_root(root: &Section<'_, '_>, surroundings: &Surroundings<'_>) -> Config {
    let clusters: Vec<Cluster> = root
        .named_sections("clusters")
        .iter()
        .map(|(name, section)| cluster::read(name, section, surroundings))
        .collect();
    if clusters.is_empty() {
        root.bad("clusters", "no cluster: add [clusters.main] with bootstrap_servers");
    }
    let mut valves: Vec<ConfiguredValve> = Vec::new();
    for section in root.sections("valves", "name") {
        let cluster = read_cluster_of(&section, &clusters);
        let settings = valve::read(&section);
        check_against(&section, &cluster, &settings, &valves);
        valves.push(ConfiguredValve { cluster, settings });
    }
    if valves.is_empty() {
        root.bad("valves", "no valve: add [[valves]] with name, topics and [[valves.protect]]");
    }
    let http = root.section("http").map(|http| server::read_http(&http, surroundings)).unwrap_or_default();
    let state = root.section("state").map(|state| server::read_state(&state, surroundings)).unwrap_or_default();
    root.finish();
    Config { clusters, valves, http, state, warnings: Vec::new() }
}

fn read_cluster_of(section: &Section<'_, '_>, clusters: &[Cluster]) -> ClusterName {
    let names = || clusters.iter().map(|cluster| cluster.name.as_str());
    let listed = || names().collect::<Vec<_>>().join(", ");
    match (section.text("cluster"), clusters) {
        (Some(name), _) => {
            if !names().any(|known| known == name) {
                let meant = closest(&name, names()).map_or(String::new(), |meant| format!("; did you mean {meant}?"));
                section.bad("cluster", &format!("no such cluster; there are: {}{meant}", listed()));
            }
            ClusterName::from(name)
        }
        (None, [only]) => only.name.clone(),
        (None, []) => ClusterName::new(""),
        (None, _) => {
            if !section.has("cluster") {
                section.bad("cluster", &format!("is needed with several clusters; there are: {}", listed()));
            }
            ClusterName::new("")
        }
    }
}

fn check_against(
    section: &Section<'_, '_>,
    cluster: &ClusterName,
    settings: &ValveSettings,
    before: &[ConfiguredValve],
) {
    if before.iter().any(|other| other.settings.name == settings.name) {
        section.bad("name", "stands twice: every valve has a name of its own");
    }
    if settings.mode != Mode::Enforce {
        return;
    }
    for other in before.iter().filter(|other| other.cluster == *cluster && other.settings.mode == Mode::Enforce) {
        for topic in settings.topics.iter().filter(|topic| other.settings.topics.contains(topic)) {
            let name = &other.settings.name;
            section
                .bad("topics", &format!("\"{topic}\" is governed by valve \"{name}\" already: one controller a topic"));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "secrets may stand in the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
