//! What is wrong with a scenario as a whole: every problem, each with its path.

use super::{
    Fault, FaultKind, GapPlan, GroupPlan, Load, RetryPlan, ScalerPlan, Scenario, Shape, ValvePlan, ValveTopics,
};

/// Problems in the order of the file; empty when the scenario can be run.
pub(super) fn problems(scenario: &Scenario) -> Vec<String> {
    let mut found = Findings(Vec::new());
    let duration = scenario.duration_seconds;
    found.refuse(scenario.id.is_empty(), "id", "must not be empty");
    found.refuse(
        !(duration.is_finite() && (10.0..=86_400.0).contains(&duration)),
        "duration_seconds",
        "must be 10 to 86400",
    );
    found.refuse(!(1..=10_000).contains(&scenario.partitions), "partitions", "must be 1 to 10000");
    found.shares("weights", scenario.weights.as_deref(), scenario.partitions, "partition");
    found.at_least("backlog_seconds", scenario.backlog_seconds, 0.0);
    let rising = scenario.marks_seconds.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = scenario.marks_seconds.iter().all(|mark| (0.0..duration).contains(mark));
    found.refuse(!rising || !inside, "marks_seconds", "must ascend within the duration");
    found.spans("harm_seconds", &scenario.harm_seconds);
    found.load(&scenario.load);
    if let Some(plan) = scenario.load.valves {
        found.valves(plan, scenario);
    }
    found.refuse(scenario.groups.is_empty(), "groups", "needs at least one group");
    for (index, group) in scenario.groups.iter().enumerate() {
        found.group(&format!("groups[{index}]"), group, scenario.partitions);
    }
    let seen = &scenario.observation;
    found.refuse(!(0.3..=60.0).contains(&seen.poll_seconds), "observation.poll_seconds", "must be 0.3 to 60");
    found.refuse(!(0.0..=1.0).contains(&seen.miss_probability), "observation.miss_probability", "must be 0 to 1");
    found.spans("observation.blackouts", &seen.blackouts);
    found.at_least("observation.timestamp_noise_seconds", seen.timestamp_noise_seconds, 0.0);
    found.at_least("observation.tail_seconds", seen.tail_seconds, 0.0);
    for (index, fault) in scenario.faults.iter().enumerate() {
        found.fault(&format!("faults[{index}]"), fault, scenario);
    }
    found.expectation(scenario);
    found.0
}

struct Findings(Vec<String>);

impl Findings {
    fn refuse(&mut self, wrong: bool, path: &str, message: &str) {
        if wrong {
            self.0.push(format!("{path}: {message}"));
        }
    }

    fn at_least(&mut self, path: &str, value: f64, least: f64) {
        self.refuse(!(value.is_finite() && value >= least), path, &format!("must be {least} or more"));
    }

    fn above_zero(&mut self, path: &str, value: f64) {
        self.refuse(!(value.is_finite() && value > 0.0), path, "must be above 0");
    }

    fn between(&mut self, path: &str, range: (f64, f64), least: f64) {
        let good = range.0.is_finite() && range.1.is_finite() && range.0 >= least && range.0 <= range.1;
        self.refuse(!good, path, &format!("needs [least, most] from {least}"));
    }

    fn spans(&mut self, path: &str, spans: &[(f64, f64)]) {
        for (index, span) in spans.iter().enumerate() {
            self.between(&format!("{path}[{index}]"), *span, 0.0);
        }
    }

    fn shape(&mut self, path: &str, shape: &Shape) {
        if let Some(reason) = shape.fault() {
            self.refuse(true, path, reason);
        }
    }

    fn shares(&mut self, path: &str, shares: Option<&[f64]>, count: usize, what: &str) {
        let Some(shares) = shares else { return };
        self.refuse(shares.len() != count, path, &format!("needs one entry a {what}: {count}"));
        let good = shares.iter().all(|share| share.is_finite() && *share > 0.0);
        self.refuse(!good, path, "must be above 0 each");
    }

    fn load(&mut self, load: &Load) {
        self.shape("load.demand", &load.demand);
        self.at_least("load.noise", load.noise, 0.0);
        self.refuse(!(1..=10_000).contains(&load.producers), "load.producers", "must be 1 to 10000");
        self.shares("load.shares", load.shares.as_deref(), load.producers, "producer");
        self.between("load.delay_seconds", load.delay_seconds, 0.0);
        self.between("load.linger_seconds", load.linger_seconds, 0.0);
        self.above_zero("load.burst_seconds", load.burst_seconds);
        self.above_zero("load.limiter_gain", load.limiter_gain);
        self.at_least("load.carry_seconds", load.carry_seconds, 0.0);
        self.at_least("load.live", load.live, 0.0);
        if let Some(plan) = load.transactions {
            self.above_zero("load.transactions.seconds", plan.seconds);
        }
        if let Some(plan) = load.gaps {
            self.gaps(plan);
        }
        if let Some(plan) = load.retries {
            self.retries(plan);
        }
    }

    fn gaps(&mut self, plan: GapPlan) {
        for (name, share) in [("backlog_share", plan.backlog_share), ("head_share", plan.head_share)] {
            let path = format!("load.gaps.{name}");
            self.refuse(!(0.0..1.0).contains(&share), &path, "must be 0 or more and below 1");
        }
        self.at_least("load.gaps.run", plan.run, 1.0);
    }

    fn retries(&mut self, plan: RetryPlan) {
        self.refuse(!(1..=10).contains(&plan.times), "load.retries.times", "must be 1 to 10");
        self.above_zero("load.retries.backoff_seconds", plan.backoff_seconds);
        self.at_least("load.retries.copies", plan.copies, 1.0);
    }

    fn valves(&mut self, plan: ValvePlan, scenario: &Scenario) {
        let writers = scenario.load.producers;
        self.refuse(
            !(2..=writers).contains(&plan.count),
            "load.valves.count",
            &format!("must be 2 to the number of producers: {writers}"),
        );
        let uneven = plan.topics == ValveTopics::Own && !scenario.partitions.is_multiple_of(plan.count);
        self.refuse(uneven, "load.valves.count", "must divide the partitions among topics of equal size");
    }

    fn scaler(&mut self, path: &str, plan: ScalerPlan, members: usize, partitions: usize) {
        self.above_zero(&format!("{path}.lag_threshold"), plan.lag_threshold);
        let ordered = plan.least >= 1 && plan.least <= members && members <= plan.most && plan.most <= partitions;
        self.refuse(!ordered, path, "needs 1 ≤ least ≤ members ≤ most ≤ number of partitions");
        self.above_zero(&format!("{path}.poll_seconds"), plan.poll_seconds);
        self.at_least(&format!("{path}.scale_in_seconds"), plan.scale_in_seconds, 0.0);
        self.at_least(&format!("{path}.start_seconds"), plan.start_seconds, 0.0);
        self.at_least(&format!("{path}.rebalance_seconds"), plan.rebalance_seconds, 0.0);
    }

    fn group(&mut self, path: &str, group: &GroupPlan, partitions: usize) {
        self.shape(&format!("{path}.capacity"), &group.capacity);
        self.refuse(group.capacity.at(0.0) <= 0.0, &format!("{path}.capacity"), "must begin above 0");
        self.refuse(
            !(1..=partitions).contains(&group.members),
            &format!("{path}.members"),
            "must be 1 to the number of partitions",
        );
        self.above_zero(&format!("{path}.commit_seconds"), group.commit_seconds);
        self.refuse(
            !(0.0..1.0).contains(&group.commit_jitter),
            &format!("{path}.commit_jitter"),
            "must be 0 or more and below 1",
        );
        if let Some((at, seconds)) = group.commit_change {
            self.at_least(&format!("{path}.commit_change"), at, 0.0);
            self.above_zero(&format!("{path}.commit_change"), seconds);
        }
        self.at_least(&format!("{path}.max_poll_records"), group.max_poll_records, 1.0);
        self.at_least(&format!("{path}.noise"), group.noise, 0.0);
        self.above_zero(&format!("{path}.noise_seconds"), group.noise_seconds);
        if let Some(pauses) = &group.pauses {
            self.above_zero(&format!("{path}.pauses.gap_seconds"), pauses.gap_seconds);
            self.between(&format!("{path}.pauses.length_seconds"), pauses.length_seconds, 0.0);
        }
        self.refuse(
            !(0.0..1.0).contains(&group.warm_up_loss),
            &format!("{path}.warm_up_loss"),
            "must be 0 or more and below 1",
        );
        let behind = format!("{path}.commit_behind_seconds");
        self.refuse(!(0.0..=3600.0).contains(&group.commit_behind_seconds), &behind, "must be 0 to 3600");
        if let Some(plan) = group.scaler {
            self.scaler(&format!("{path}.scaler"), plan, group.members, partitions);
        }
    }

    fn fault(&mut self, path: &str, fault: &Fault, scenario: &Scenario) {
        self.at_least(&format!("{path}.at_seconds"), fault.at_seconds, 0.0);
        self.at_least(&format!("{path}.seconds"), fault.seconds, 0.0);
        let Some(group) = scenario.groups.get(fault.group) else {
            self.refuse(true, &format!("{path}.group"), &format!("there are {} groups", scenario.groups.len()));
            return;
        };
        match fault.kind {
            FaultKind::MemberDeath(member) => {
                self.refuse(member >= group.members, &format!("{path}.member"), "there is no such member");
            }
            FaultKind::Stuck(partition) => {
                self.refuse(
                    partition >= scenario.partitions,
                    &format!("{path}.partition"),
                    "there is no such partition",
                );
            }
            FaultKind::Crash(unnoticed) => self.at_least(&format!("{path}.session_timeout_seconds"), unnoticed, 0.0),
            FaultKind::Rewind(work) => self.at_least(&format!("{path}.work_seconds"), work, 0.0),
            FaultKind::HangingTransaction(partition) => {
                let missing = partition.is_some_and(|partition| partition >= scenario.partitions);
                self.refuse(missing, &format!("{path}.partition"), "there is no such partition");
                let path = format!("{path}.kind");
                self.refuse(scenario.load.transactions.is_none(), &path, "needs `load.transactions`");
            }
            FaultKind::Rebalance => {}
        }
    }

    fn expectation(&mut self, scenario: &Scenario) {
        for (name, range) in scenario.expect.named() {
            let ordered = range.min.zip(range.max).is_none_or(|(min, max)| min <= max);
            let numbers = [range.min, range.max].into_iter().flatten().all(f64::is_finite);
            self.refuse(!ordered || !numbers, &format!("expect.{name}"), "needs min not above max");
        }
    }
}
