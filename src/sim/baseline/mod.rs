//! Other people's rate laws, to compare the shipped one with.
//!
//! In: the observations of a simulation ([`Observation`](super::Observation)) and what an operator would tell
//! ([`Told`]). Out: a limit for all producers together. Each file is one law and says where it comes from and what had
//! to be changed. Parameters that a source does not give come from a grid search on 18 scenarios of the reference
//! simulator, not of this one; Spark keeps its defaults. All see the committed lag of the worst group and the commits
//! of the slowest, none estimates more; all keep their last rate while nothing is seen; none limits before its first
//! tick, not even those that are told the capacity.

mod aimd;
mod alinea;
mod bbr;
mod fixed;
mod gradient;
mod law;
mod none;
mod on_off;
mod pid;
mod pie;
mod spark;
mod zeebe;

use std::fmt;
use std::str::FromStr;

use self::law::{Holding, RateLaw};
use super::policy::{Policy, Told};

macro_rules! baselines {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $sentence:literal, $source:literal;)*) => {
        /// A law to compare with. Names are stable: reports and command lines carry them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Baseline {
            $($(#[$doc])* $variant,)*
        }

        impl Baseline {
            /// Every law, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name for machines.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it does, for a person, as a clause without a full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// Where it comes from.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self { $(Self::$variant => $source,)* }
            }
        }
    };
}

baselines! {
    /// Never a limit.
    None = "none", "no throttle", "what happens anyway";
    /// The nominal capacity, always.
    Static = "static", "always the capacity that was configured", "produce quotas, KIP-13";
    /// Two-point control.
    OnOff = "on-off", "stops above 8 s of lag, goes below 6 s", "two-point control; backlog quotas of Apache Pulsar";
    /// Additive increase, multiplicative decrease.
    Aimd = "aimd", "grows by 2 % of capacity a second, × 0.7 above 8 s of lag", "Chiu & Jain 1989";
    /// Spark Streaming's estimator.
    Spark = "spark", "the rate of the last batch, less a share of what waits", "Spark Streaming, PIDRateEstimator";
    /// Textbook PID on messages.
    Pid = "pid", "PID on lag in messages with fixed gains", "Åström & Hägglund, Advanced PID Control";
    /// Proportional integral controller enhanced.
    Pie = "pie", "PI on queue delay moves the share of production that is refused", "RFC 8033";
    /// Integral control from ramp metering.
    Alinea = "alinea", "integral control of lag in seconds", "Papageorgiou, Hadj-Salem & Blosseville 1991";
    /// Bottleneck bandwidth.
    Bbr = "bbr", "the highest consumption lately times a cycle of gains, with a cap on lag", "Linux, tcp_bbr.c (v1)";
    /// Delay gradient.
    Gradient = "gradient", "shrinks while delay is above its own long average", "Netflix, Gradient2Limit";
    /// Zeebe's write throttle.
    Zeebe = "zeebe", "consumption × acceptable backlog / backlog, every 10 s", "Camunda Zeebe, RateLimitThrottle";
}

impl Baseline {
    /// Whether it looks at the capacity that it is told.
    #[must_use]
    pub const fn is_told_the_capacity(self) -> bool {
        match self {
            Self::Static | Self::OnOff | Self::Aimd | Self::Alinea | Self::Gradient | Self::Zeebe => true,
            Self::None | Self::Spark | Self::Pid | Self::Pie | Self::Bbr => false,
        }
    }

    /// The law at its start, for a cluster that an operator described like this.
    ///
    /// # Panics
    /// If a number of `told` is not above zero.
    #[must_use]
    pub fn start(self, told: &Told) -> Box<dyn Policy> {
        assert!(told.poll_seconds > 0.0 && told.nominal_capacity > 0.0, "poll interval and capacity are above zero");
        match self {
            Self::None => hold(none::Unlimited),
            Self::Static => hold(fixed::Fixed::new(told)),
            Self::OnOff => hold(on_off::OnOff::new(told)),
            Self::Aimd => hold(aimd::Aimd::new(told)),
            Self::Spark => hold(spark::Spark::default()),
            Self::Pid => hold(pid::Pid::new()),
            Self::Pie => hold(pie::Pie::new(told)),
            Self::Alinea => hold(alinea::Alinea::new(told)),
            Self::Bbr => hold(bbr::Bbr::new(told)),
            Self::Gradient => hold(gradient::Gradient::new(told)),
            Self::Zeebe => hold(zeebe::Zeebe::new(told)),
        }
    }
}

fn hold(law: impl RateLaw + 'static) -> Box<dyn Policy> {
    Box::new(Holding::new(law))
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no law of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no law is called {name:?}; there are: {}", names())]
pub struct UnknownBaseline {
    /// What was asked for.
    pub name: String,
}

fn names() -> String {
    Baseline::ALL.iter().map(|law| law.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Baseline {
    type Err = UnknownBaseline;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|law| law.name() == name);
        found.ok_or_else(|| UnknownBaseline { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::policy::Observation;
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for &law in Baseline::ALL {
            assert_eq!(law.to_string().parse(), Ok(law));
            assert!(!law.sentence().ends_with('.') && !law.source().is_empty());
        }
    }

    #[test]
    fn the_error_lists_the_names() {
        let error = "vegas".parse::<Baseline>().expect_err("no such law");
        assert_eq!(
            error.to_string(),
            "no law is called \"vegas\"; there are: \
             none, static, on-off, aimd, spark, pid, pie, alinea, bbr, gradient, zeebe"
        );
    }

    #[test]
    fn names_are_padded_in_a_table() {
        assert_eq!(format!("{:8}|", Baseline::Pie), "pie     |");
    }

    /// What one poll sees, owned: seconds since the last one, how late the reads were, ends and commits unless missed.
    #[derive(Clone, Debug)]
    struct Poll {
        seconds: f64,
        read_offsets: (f64, f64),
        seen: Option<(Ends, Commits)>,
    }

    type Ends = Vec<i64>;
    type Commits = Vec<Vec<Option<i64>>>;

    fn offsets() -> impl Strategy<Value = i64> {
        prop_oneof![8 => 0..200_000i64, 1 => 0..i64::MAX, 1 => Just(0)]
    }

    fn polls() -> impl Strategy<Value = Vec<Poll>> {
        let ends = proptest::collection::vec(offsets(), 0..4);
        let commits = proptest::collection::vec(prop_oneof![4 => offsets().prop_map(Some), 1 => Just(None)], 0..4);
        let seen = proptest::option::weighted(0.9, (ends, proptest::collection::vec(commits, 0..3)));
        let seconds = prop_oneof![6 => Just(1.0), 2 => 0.0..30.0f64, 1 => Just(0.0)];
        let poll = (seconds, (-0.5..0.5f64, -0.5..0.5f64), seen).prop_map(|(seconds, read_offsets, seen)| Poll {
            seconds,
            read_offsets,
            seen,
        });
        proptest::collection::vec(poll, 1..80)
    }

    proptest! {
        #[test]
        fn every_law_answers_with_a_rate_and_keeps_it_while_it_sees_nothing(
            polls in polls(),
            poll_seconds in 0.1..20.0f64,
            nominal_capacity in (-2.0..7.0f64).prop_map(|exponent| 10f64.powf(exponent)),
        ) {
            for &law in Baseline::ALL {
                let mut policy = law.start(&Told { poll_seconds, nominal_capacity });
                prop_assert_eq!(policy.initial(), f64::INFINITY);
                let mut now = 0.0;
                let mut last = None;
                for poll in &polls {
                    now += poll.seconds;
                    let seen = poll.seen.as_ref().map(|(ends, committed)| Observation {
                        commits_at: now + poll.read_offsets.0,
                        ends_at: now + poll.read_offsets.1,
                        ends,
                        last_stable: ends,
                        committed,
                        sent_total: 0,
                        described: &[],
                    });
                    let rate = policy.tick(now, seen.as_ref());
                    // NaN is not at least zero either.
                    prop_assert!(rate >= 0.0, "{law}: {rate} at {now} s");
                    if let (None, Some(last)) = (&seen, last) {
                        prop_assert_eq!(rate, last, "{} without an observation", law);
                    }
                    prop_assert!(law != Baseline::None || rate == f64::INFINITY);
                    last = Some(rate);
                }
            }
        }
    }
}
