//! Scenarios: a file → a checked story.

mod catalogue;
mod check;
mod fault;
mod plans;
mod shape;
mod story;

pub use catalogue::catalogue;
pub use fault::{Fault, FaultKind};
pub use plans::{CommitView, GapPlan, RetryPlan, ScalerPlan, TransactionPlan, ValvePlan, ValveTopics};
pub use shape::Shape;
pub use story::{Expectation, GroupPlan, Load, ObservationPlan, Pauses, Range, Scenario, Yardstick};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is no scenario: not TOML, an unknown option, or a value of the wrong kind.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// It reads well and means nothing: everything that is wrong, in the order of the file.
    #[error("{}", problems.join("\n"))]
    Invalid {
        /// At least one, each with the path of its option.
        problems: Vec<String>,
    },
}

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError`]: the place of a mistake in writing, or all mistakes in meaning.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        let problems = check::problems(&scenario);
        if problems.is_empty() { Ok(scenario) } else { Err(ScenarioError::Invalid { problems }) }
    }

    /// The number in its id, which is mixed into every seed; 0 without one.
    #[must_use]
    pub fn number(&self) -> u64 {
        let digits = self.id.chars().skip_while(|letter| !letter.is_ascii_digit());
        digits
            .map_while(|letter| letter.to_digit(10))
            .fold(0, |sum, digit| (sum * 10 + u64::from(digit)) % 1_000_000_007)
    }

    /// Share of the traffic a partition; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        shares(self.weights.as_deref(), self.partitions)
    }

    /// Valves that act on the plant.
    #[must_use]
    pub fn valves(&self) -> usize {
        self.load.valves.map_or(1, |plan| plan.count)
    }

    /// Partitions that `valve` writes to, in ascending order.
    pub fn partitions_of(&self, valve: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, step) = if self.has_own_topics() { (valve, self.valves()) } else { (0, 1) };
        (first..self.partitions).step_by(step)
    }

    /// Whether each valve writes to a topic of its own.
    #[must_use]
    pub fn has_own_topics(&self) -> bool {
        self.load.valves.is_some_and(|plan| plan.topics == ValveTopics::Own)
    }

    /// What the slowest group takes at the start, messages/s: what an operator would call its capacity.
    #[must_use]
    pub fn nominal_capacity(&self) -> f64 {
        self.groups.iter().map(|group| group.capacity.at(0.0)).fold(f64::INFINITY, f64::min)
    }
}

/// Given shares or equal ones, scaled to a sum of 1.
pub(super) fn shares(given: Option<&[f64]>, count: usize) -> Vec<f64> {
    let raw = given.map_or_else(|| vec![1.0; count], <[f64]>::to_vec);
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|share| share / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "id = \"S01\"\ntitle = \"x\"\nduration_seconds = 60\n[load]\ndemand = { constant = 10 }\n\
                         [[groups]]\ncapacity = { constant = 2.5 }\n";

    #[test]
    fn a_short_file_has_the_defaults_of_the_reference() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!((scenario.partitions, scenario.load.producers, scenario.groups[0].members), (6, 3, 3));
        assert_eq!((scenario.number(), scenario.nominal_capacity()), (1, 2.5));
        assert_eq!(scenario.marks_seconds, [0.0]);
        assert!((scenario.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_unknown_option_is_named_with_its_place() {
        let error = Scenario::parse(&SMALL.replace("[load]", "[load]\nproducer = 3")).unwrap_err().to_string();
        assert!(error.contains("producer") && error.contains("line 5"), "{error}");
        let fault = format!("{SMALL}[[faults]]\nkind = \"stuck\"\nat_seconds = 1\nseconds = 2\nmember = 1\n");
        assert!(Scenario::parse(&fault).unwrap_err().to_string().contains("needs its `partition`"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = SMALL.replace("60", "5").replace("2.5", "-1").replace("[load]", "weights = [1]\n[load]\nlive = -4");
        let error = Scenario::parse(&text).unwrap_err().to_string();
        for path in ["duration_seconds", "weights", "load.live", "groups[0].capacity"] {
            assert!(error.contains(path), "{path} in {error}");
        }
    }

    #[test]
    fn plans_must_fit_the_plant() {
        for (place, plan, path) in [
            ("[load]", "transactions = { seconds = 0 }", "load.transactions.seconds"),
            ("[load]", "gaps = { head_share = 1 }", "load.gaps.head_share"),
            ("[load]", "retries = { times = 0 }", "load.retries.times"),
            ("[load]", "valves = { count = 4 }", "load.valves.count"),
            ("[load]", "producers = 4\nvalves = { count = 4, topics = \"own\" }", "load.valves.count"),
            ("[[groups]]", "commit_behind_seconds = -1", "groups[0].commit_behind_seconds"),
            ("[[groups]]", "scaler = { lag_threshold = 10, most = 7 }", "groups[0].scaler"),
            ("[[groups]]", "scaler = { lag_threshold = 10, most = 2 }", "groups[0].scaler"),
        ] {
            let text = SMALL.replace(place, &format!("{place}\n{plan}"));
            let error = Scenario::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
        let crash = "[[faults]]\nkind = \"crash\"\nat_seconds = 1\nseconds = 2\n";
        for (timeout, reason) in [
            ("session_timeout_seconds = -1", "faults[0].session_timeout_seconds"),
            ("leaves = \"at_once\"\nsession_timeout_seconds = 6", "not timed out"),
        ] {
            let error = Scenario::parse(&format!("{SMALL}{crash}{timeout}\n")).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let hanging = format!("{SMALL}[[faults]]\nkind = \"hanging_transaction\"\nat_seconds = 1\nseconds = 2\n");
        assert!(Scenario::parse(&hanging).unwrap_err().to_string().contains("needs `load.transactions`"));
    }

    #[test]
    fn faults_must_fit_the_plant() {
        for (fault, path) in [
            ("kind = \"member_death\"\nat_seconds = 1\nseconds = 2\nmember = 3", "faults[0].member"),
            ("kind = \"stuck\"\nat_seconds = 1\nseconds = 2\npartition = 6", "faults[0].partition"),
            ("kind = \"rebalance\"\nat_seconds = 1\nseconds = 2\ngroup = 1", "faults[0].group"),
        ] {
            let error = Scenario::parse(&format!("{SMALL}[[faults]]\n{fault}\n")).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
