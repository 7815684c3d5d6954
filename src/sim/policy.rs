//! What decides in a simulation: the shipped loop, or a law to compare it with.

/// What one poll of the simulated cluster saw. Times in seconds on the observer's clock, offsets in messages.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// When the commits were read, as the observer believes.
    pub commits_at: f64,
    /// When the log ends were read, as the observer believes.
    pub ends_at: f64,
    /// Log end a partition.
    pub ends: &'a [i64],
    /// Last stable offset a partition: what a `read_committed` group may read to.
    pub last_stable: &'a [i64],
    /// Committed offset a group and partition; `None`: no commit.
    pub committed: &'a [Vec<Option<i64>>],
    /// Messages that governed producers reported as acknowledged when the ends were read.
    pub sent_total: u64,
    /// Newest description a group, where one was asked for.
    pub described: &'a [Option<Described>],
}

/// What a coordinator says of a simulated group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its state.
    pub state: crate::lag::GroupState,
    /// Its members.
    pub members: usize,
}

/// Turns observations into a limit for the total of all governed producers.
pub trait Policy {
    /// The limit from now on, messages/s; `+∞`: none. `seen` is `None` when the poll failed.
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64;

    /// The limit before the first tick, messages/s; `+∞`: none.
    fn initial(&self) -> f64 {
        f64::INFINITY
    }
}

impl<P: Policy + ?Sized> Policy for Box<P> {
    fn tick(&mut self, now: f64, seen: Option<&Observation<'_>>) -> f64 {
        (**self).tick(now, seen)
    }

    fn initial(&self) -> f64 {
        (**self).initial()
    }
}

/// What an operator would tell a law about a scenario. Only the laws that need it may look.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Poll interval, seconds.
    pub poll_seconds: f64,
    /// Capacity of the slowest group at the start, messages/s.
    pub nominal_capacity: f64,
}
