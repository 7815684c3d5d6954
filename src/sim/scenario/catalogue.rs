//! The built-in catalogue: one file a scenario, compiled in.

use super::Scenario;

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../integration-tests/scenarios/", $name)))
    };
}

/// Every built-in scenario in the order of its id, checked.
///
/// # Panics
/// Never in a build whose tests pass: the files are part of it.
#[must_use]
pub fn catalogue() -> Vec<Scenario> {
    let parse = |(name, text): &(&str, &str)| {
        Scenario::parse(text).unwrap_or_else(|error| panic!("the built-in {name} is wrong: {error}"))
    };
    FILES.iter().map(parse).collect()
}

const FILES: &[(&str, &str)] = &[
    file!("S01-seed-10k-vs-2k.toml"),
    file!("S02-seed-100k-vs-10k.toml"),
    file!("S03-capacity-step-down-6k-to-2k.toml"),
    file!("S04-capacity-step-up-2k-to-6k.toml"),
    file!("S05-diurnal-ramp-2k-8k.toml"),
    file!("S06-commit-every-0-1-s.toml"),
    file!("S07-commit-every-1-s.toml"),
    file!("S08-commit-every-5-s.toml"),
    file!("S09-commit-every-30-s.toml"),
    file!("S10-irregular-commits-2-8-s.toml"),
    file!("S11-poll-every-0-5-s.toml"),
    file!("S12-poll-every-5-s.toml"),
    file!("S13-poll-every-10-s.toml"),
    file!("S14-scale-c-10-d-3c-step-to-c-2.toml"),
    file!("S15-scale-c-100-d-3c-step-to-c-2.toml"),
    file!("S16-scale-c-1000-d-3c-step-to-c-2.toml"),
    file!("S17-scale-c-100000-d-3c-step-to-c-2.toml"),
    file!("S18-scale-c-1e06-d-3c-step-to-c-2.toml"),
    file!("S19-rebalance-3-s.toml"),
    file!("S20-rebalance-15-s-then-2-3-capacity.toml"),
    file!("S21-rebalance-45-s-then-4-3-capacity.toml"),
    file!("S22-consumer-crash-60-s-and-recovery.toml"),
    file!("S23-one-of-12-partitions-stuck-120-s.toml"),
    file!("S24-hot-partition-50-percent-of-traffic.toml"),
    file!("S25-offset-rewind-by-60-s-of-work.toml"),
    file!("S26-blackout-20-s-10-percent-missed-polls.toml"),
    file!("S27-harm-demand-75-percent-of-capacity.toml"),
    file!("S28-harm-same-commit-30-s.toml"),
    file!("S29-harm-6-of-10.toml"),
    file!("S30-harm-demand-93-percent-of-noisy-capacity.toml"),
    file!("S31-harm-surge-0-5k-to-8k-of-10k.toml"),
    file!("S32-harm-poll-10-s-demand-75-percent.toml"),
    file!("S33-harm-demand-50-percent-rebalance-5-s.toml"),
    file!("S34-harm-15-s-overload-then-70-percent-demand.toml"),
    file!("S35-on-off-demand-3c-0-2c-30-s-each.toml"),
    file!("S36-5-s-bursts-at-5c-every-40-s-mean-0-8c.toml"),
    file!("S37-two-groups-5k-and-2k-slow-one-to-4k.toml"),
    file!("S38-capacity-noise-10-percent-gc-pauses.toml"),
    file!("S39-1-producer.toml"),
    file!("S40-10-producers-delay-0-1-2-s.toml"),
    file!("S41-100-producers-delay-0-1-2-s.toml"),
    file!("S42-batchy-producers-2-s-batches-burst-2-s.toml"),
    file!("S43-slow-handler-20-500-record-polls.toml"),
    file!("S44-cold-start-with-120-s-of-backlog.toml"),
    file!("S45-uncontrolled-producer-takes-25-percent.toml"),
    file!("S46-one-of-3-members-dies-45-s-to-rebalance.toml"),
    file!("S47-producers-buffer-refused-demand-10-s.toml"),
    file!("S48-unthrottled-then-capacity-halves.toml"),
    file!("S49-20-producers-delay-3-6-s.toml"),
    file!("S50-harm-stale-limit-capacity-x5-while-idle.toml"),
    file!("S51-one-partition-one-member.toml"),
    file!("S52-harm-commit-interval-5-s-becomes-30-s.toml"),
    file!("S53-overload-commit-interval-5-s-becomes-30-s.toml"),
    file!("S54-unthrottled-60-percent-consumer-down-90-s.toml"),
    file!("S55-observation-timestamps-off-by-0-3-s-rms.toml"),
    file!("S56-limiter-lets-15-percent-too-much-through.toml"),
    file!("S57-limiter-lets-15-percent-too-little-through.toml"),
    file!("S58-consumer-40-percent-slower-on-an-empty-queue.toml"),
    file!("S59-transactions-of-100-ms.toml"),
    file!("S60-transactions-of-10-s.toml"),
    file!("S61-transactions-of-10-s-told-read-uncommitted.toml"),
    file!("S62-hanging-transaction-20-s.toml"),
    file!("S63-hanging-transaction-told-read-uncommitted.toml"),
    file!("S64-harm-transactions-6-of-10.toml"),
    file!("S65-half-load-hanging-transaction-60-s.toml"),
    file!("S66-autoscaler-at-10-s-of-work.toml"),
    file!("S67-autoscaler-at-1-s-of-work.toml"),
    file!("S68-autoscaler-at-4-s-of-work.toml"),
    file!("S69-two-valves-one-topic.toml"),
    file!("S70-two-valves-two-topics.toml"),
    file!("S71-four-valves-one-topic.toml"),
    file!("S72-commits-3-s-behind.toml"),
    file!("S73-commits-10-s-behind.toml"),
    file!("S74-harm-commits-10-s-behind.toml"),
    file!("S75-compacted-backlog.toml"),
    file!("S76-gaps-at-the-head.toml"),
    file!("S77-retry-storm.toml"),
    file!("S78-retries-after-15-s-overload.toml"),
    file!("S79-tail-irregular-commits.toml"),
    file!("S80-tail-poll-every-5-s.toml"),
    file!("S81-tail-poll-every-10-s.toml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_loads_under_its_own_id() {
        for ((name, _), scenario) in FILES.iter().zip(catalogue()) {
            assert_eq!(name.split('-').next(), Some(scenario.id.as_str()), "{name}");
        }
    }

    #[test]
    fn ids_ascend_without_a_gap() {
        for (index, scenario) in catalogue().iter().enumerate() {
            assert_eq!(scenario.id, format!("S{:02}", index + 1));
        }
        assert!(FILES.len() >= 58, "the reference design has 58 stories");
    }
}
