//! A valve of one's own: the loop inside the process that writes.

use std::collections::HashMap;
use std::time::Duration;

use super::run::Agent;
use super::settings::{Mode, OnSignalLost, ProtectedGroup, Start, ValveSettings};
use crate::id::{Topic, ValveName};
use crate::kafka::{Connection, Observer};
use crate::lag::{ReadError, SourceError};
use crate::producer::Valve;
use crate::units::MessagesPerSecond;

/// Why a valve did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster cannot be reached, or refuses us. Trying again may help.
    #[error(transparent)]
    Cluster(#[from] SourceError),
    /// A topic cannot be described, or does not exist.
    #[error(transparent)]
    Topic(#[from] ReadError),
    /// What the builder was told cannot work.
    #[error("{what}")]
    Settings {
        /// One sentence.
        what: String,
    },
}

/// Settings of a valve that runs in this process; see [`Valve::builder`].
#[derive(Clone, Debug)]
pub struct ValveBuilder {
    connection: Connection,
    settings: ValveSettings,
    named: bool,
    invalid: Vec<String>,
}

impl Valve {
    /// A valve that runs in this process.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use lagvalve::{ProtectedGroup, Valve};
    /// let valve = Valve::builder()
    ///     .bootstrap_servers("localhost:9092")
    ///     .topic("orders")
    ///     .protect(ProtectedGroup::new("billing"))
    ///     .start()
    ///     .await?;
    /// valve.acquire(1).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn builder() -> ValveBuilder {
        ValveBuilder {
            connection: Connection::new("localhost:9092"),
            settings: ValveSettings::new("valve", Vec::new()),
            named: false,
            invalid: Vec::new(),
        }
    }
}

impl ValveBuilder {
    /// Addresses of brokers, `host:port`, with commas between. Default `localhost:9092`.
    #[must_use]
    pub fn bootstrap_servers(mut self, addresses: &str) -> Self {
        let properties = std::mem::take(&mut self.connection.properties);
        self.connection = Connection::new(addresses);
        self.connection.properties = properties;
        self
    }

    /// One connection setting under librdkafka's name, for instance `security.protocol`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.connection.set(name, value);
        self
    }

    /// The whole connection at once.
    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connection = connection;
        self
    }

    /// All settings at once; what was set before is forgotten.
    #[must_use]
    pub fn settings(mut self, settings: ValveSettings) -> Self {
        self.settings = settings;
        self.named = true;
        self
    }

    /// Its name in records and metrics. Default: the first topic's.
    #[must_use]
    pub fn name(mut self, name: impl Into<ValveName>) -> Self {
        self.settings.name = name.into();
        self.named = true;
        self
    }

    /// A topic that shares the rate.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Topic>) -> Self {
        self.settings.topics.push(topic.into());
        self
    }

    /// Topics that share the rate.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<Topic>>) -> Self {
        self.settings.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// A group that governs; the slowest rules.
    #[must_use]
    pub fn protect(mut self, group: ProtectedGroup) -> Self {
        self.settings.protect.push(group);
        self
    }

    /// Whether it acts. Default [`Mode::Enforce`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// How it begins. Default [`Start::Open`]; a file wants [`Start::Slow`].
    #[must_use]
    pub fn start_policy(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// Start limited at this rate, messages/s.
    #[must_use]
    pub fn initial_rate(mut self, rate: f64) -> Self {
        self.settings.initial_rate = self.rate("initial_rate", rate);
        self
    }

    /// Never below this rate, messages/s, above 0. Default 1.
    #[must_use]
    pub fn min_rate(mut self, rate: f64) -> Self {
        if let Some(rate) = self.rate("min_rate", rate) {
            self.settings.min_rate = rate;
        }
        self
    }

    /// Never above this rate, messages/s.
    #[must_use]
    pub fn max_rate(mut self, rate: f64) -> Self {
        self.settings.max_rate = self.rate("max_rate", rate);
        self
    }

    /// What happens when lag cannot be read for longer than the grace period. Default: the safe rate.
    #[must_use]
    pub fn on_signal_lost(mut self, policy: OnSignalLost) -> Self {
        self.settings.on_signal_lost = policy;
        self
    }

    /// Time between polls. Default 1 s; larger: cheaper, and a larger effective set-point.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Connects, checks the topics and watches the groups: for one poll, for two with [`Start::Slow`].
    ///
    /// Must be called inside a tokio runtime, which must keep running while the valve is used.
    ///
    /// # Errors
    /// [`StartError`]: settings that cannot work, a cluster that cannot be reached within 10 s, a topic that cannot be
    /// described. A group that does not exist is no error: the valve then keeps to its first rate.
    pub async fn start(mut self) -> Result<Valve, StartError> {
        self.check()?;
        let observer = Observer::connect(&self.connection).await?;
        for topic in &self.settings.topics {
            observer.topic_info(topic).await?;
        }
        let polls = if self.settings.start == Start::Slow { 2 } else { 1 };
        let off = self.settings.mode == Mode::Off;
        let agent = Agent::spawn(self.connection, vec![self.settings], Some(observer), &HashMap::new());
        let valve = agent.valves()[0].clone();
        if !off {
            let mut records = valve.subscribe();
            // The first record was made before the first poll.
            let watched = records.wait_for(|record| record.seq > polls);
            // A cluster that answered and now does not is the running agent's business.
            let _ = tokio::time::timeout(WATCH_PATIENCE, watched).await;
        }
        Ok(valve)
    }

    fn rate(&mut self, name: &str, rate: f64) -> Option<MessagesPerSecond> {
        let valid = MessagesPerSecond::new(rate).filter(|rate| rate.get() > 0.0);
        if valid.is_none() {
            self.invalid.push(format!("{name} = {rate} is not a rate: a number of messages/s above 0 is wanted"));
        }
        valid
    }

    fn check(&mut self) -> Result<(), StartError> {
        let settings = &mut self.settings;
        if settings.topics.is_empty() {
            self.invalid.push("a valve needs a topic: its lag is measured there".to_owned());
        }
        if settings.poll_interval.is_zero() {
            self.invalid.push("poll_interval must be above 0".to_owned());
        }
        for group in settings.protect.iter().filter(|group| group.target_lag.is_zero()) {
            self.invalid.push(format!("target_lag of group {} must be above 0", group.group));
        }
        if settings.max_rate.is_some_and(|max| max < settings.min_rate) {
            self.invalid.push("max_rate is below min_rate".to_owned());
        }
        if let (false, Some(topic)) = (self.named, settings.topics.first()) {
            settings.name = ValveName::new(topic.as_str());
        }
        if self.invalid.is_empty() {
            return Ok(());
        }
        Err(StartError::Settings { what: self.invalid.join("; ") })
    }
}

/// Two polls that both take their longest.
const WATCH_PATIENCE: Duration = Duration::from_secs(12);
