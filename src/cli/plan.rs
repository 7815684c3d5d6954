//! Flags or a file → which clusters, which valves.

use std::path::PathBuf;

use lagvalve::agent::{Mode, ValveSettings};
use lagvalve::config::{Config, HttpSettings};
use lagvalve::id::Topic;
use lagvalve::kafka::Connection;

use super::connect::ConnectArgs;
use super::exit::Failure;
use super::output::say;

/// What a command that runs valves works with.
#[derive(Debug)]
pub(crate) struct Plan {
    /// At least one, each with at least one valve.
    pub(crate) clusters: Vec<ClusterPlan>,
    /// The server of `run`.
    pub(crate) http: HttpSettings,
    /// Where state is kept.
    pub(crate) state_dir: Option<PathBuf>,
}

/// One cluster and its valves.
#[derive(Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) valves: Vec<ValveSettings>,
}

impl Plan {
    /// From `--config`, else from the flags alone, in `mode`. Warnings go to standard error.
    pub(crate) fn of(args: &ConnectArgs, mode: Mode) -> Result<Self, Failure> {
        let plan = match &args.config {
            Some(file) => {
                let config =
                    Config::load(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
                Self::of_config(args, config)?
            }
            None => Self::of_flags(args, mode)?,
        };
        for ClusterPlan { name, connection, .. } in &plan.clusters {
            connection.check().map_err(|error| match args.config {
                Some(_) => Failure::usage(format!("cluster {name}: {error}")),
                None => Failure::usage(error),
            })?;
        }
        Ok(plan)
    }

    /// Every valve, over all clusters.
    pub(crate) fn valves_mut(&mut self) -> impl Iterator<Item = &mut ValveSettings> {
        self.clusters.iter_mut().flat_map(|cluster| &mut cluster.valves)
    }

    fn of_flags(args: &ConnectArgs, mode: Mode) -> Result<Self, Failure> {
        args.require_flags()?;
        let topics: Vec<Topic> = args.topics.iter().map(|topic| Topic::from(topic.as_str())).collect();
        let mut valve = ValveSettings::new(args.topics[0].as_str(), topics);
        valve.mode = mode;
        valve.protect = args.protected_groups();
        let connection =
            Connection { bootstrap_servers: args.bootstrap_servers.clone(), properties: args.property_map() };
        let cluster = ClusterPlan { name: "main".to_owned(), connection, valves: vec![valve] };
        Ok(Self { clusters: vec![cluster], http: HttpSettings::default(), state_dir: None })
    }

    fn of_config(args: &ConnectArgs, config: Config) -> Result<Self, Failure> {
        if !args.topics.is_empty() || !args.protect.is_empty() {
            return Err(Failure::usage("-t and --protect stand in the file when there is --config: leave them out"));
        }
        if !args.bootstrap_servers.is_empty() && config.clusters.len() > 1 {
            return Err(Failure::usage("-b is ambiguous: the file has several clusters"));
        }
        for warning in &config.warnings {
            say(&format!("warning: {warning}"));
        }
        let mut clusters = Vec::new();
        for cluster in config.clusters {
            let of_this = config.valves.iter().filter(|valve| valve.cluster == cluster.name);
            let valves: Vec<ValveSettings> = of_this.map(|valve| valve.settings.clone()).collect();
            let mut connection = cluster.connection;
            connection.properties.extend(args.property_map());
            if !args.bootstrap_servers.is_empty() {
                connection.bootstrap_servers.clone_from(&args.bootstrap_servers);
            }
            if !valves.is_empty() {
                clusters.push(ClusterPlan { name: cluster.name.to_string(), connection, valves });
            }
        }
        Ok(Self { clusters, http: config.http, state_dir: config.state.dir })
    }
}
