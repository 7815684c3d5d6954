//! A loop that goes on from an earlier run's journal, on recorded runs of the simulated cluster.

use std::time::Duration;

use lagvalve::agent::{Given, Resumed, TickInput, ValveLoop};
use lagvalve::clock::Instant;
use lagvalve::sim::{Case, Shipped, ShippedStart, catalogue};
use lagvalve::{BoundBy, Start, TickRecord, ValveSettings};

/// Wall clock at the origin of the recorded clock, milliseconds since the epoch.
const EPOCH: u64 = 1_795_000_000_000;

/// The ticks of one run of a story, as a journal has them.
fn recorded(id: &str, start: ShippedStart) -> Vec<TickRecord> {
    let scenario = catalogue().into_iter().find(|scenario| scenario.id == id).unwrap();
    let mut shipped = Shipped::new(&scenario, start).recording();
    Case::new(&scenario, 1).run(&mut shipped);
    let mut records = shipped.records().to_vec();
    records.iter_mut().for_each(|record| record.at = EPOCH + record.mono_ms);
    records
}

fn settings(records: &[TickRecord]) -> ValveSettings {
    records[0].config.as_ref().unwrap().settings.clone()
}

fn given(record: &TickRecord) -> Given {
    Given::of(record, &record.config.as_ref().unwrap().settings).unwrap()
}

/// A loop that goes on after `past`, `later` on both clocks.
fn resumed(settings: ValveSettings, past: &[TickRecord], later: Duration) -> (ValveLoop, Resumed, Instant) {
    let last = past.last().unwrap();
    let now = given(last).now + later;
    let mut valve = ValveLoop::new(settings);
    let resumed = valve.resume(past, now, last.at + later.as_millis() as u64);
    (valve, resumed, now)
}

fn blind(valve: &mut ValveLoop, now: Instant) -> TickRecord {
    let descriptions = std::collections::HashMap::new();
    valve.tick(&TickInput { now, unix_millis: 0, snapshot: None, descriptions: &descriptions, sent_total: 0 })
}

#[test]
fn a_restart_between_two_polls_changes_no_decision() {
    // Overload, steps, an outage, blackouts, two groups.
    for id in ["S01", "S03", "S22", "S26", "S37"] {
        for start in [ShippedStart::Open, ShippedStart::Slow(None)] {
            let records = recorded(id, start);
            let (past, rest) = records.split_at(records.len() * 3 / 5);
            let (mut valve, resumed, _) = resumed(settings(&records), past, Duration::from_millis(1));
            assert!(matches!(resumed, Resumed::History { ticks, .. } if ticks == past.len()), "{id}: {resumed:?}");
            for record in rest {
                let again = valve.tick(&given(record).as_input());
                let case = format!("{id} {start:?} tick {}", record.seq);
                assert_eq!(again.seq, record.seq, "{case}");
                assert_eq!(again.rate_unbounded.as_f64().to_bits(), record.rate_unbounded.as_f64().to_bits(), "{case}");
                assert_eq!(again.bound_by, record.bound_by, "{case}");
            }
        }
    }
}

#[test]
fn a_restart_opens_no_valve() {
    let records = recorded("S01", ShippedStart::Open);
    let past = &records[..records.len() / 2];
    let before = past.last().unwrap();
    assert_eq!(before.bound_by, BoundBy::SetPoint);
    let grace = settings(&records).signal_grace;
    for (later, lost) in [(Duration::from_secs(5), false), (grace * 2, true), (Duration::from_secs(500), true)] {
        let (mut valve, resumed, now) = resumed(settings(&records), past, later);
        assert!(matches!(resumed, Resumed::History { .. }), "{resumed:?}");
        let first = blind(&mut valve, now);
        assert!(first.rate_decided.as_f64() <= before.rate_decided.as_f64(), "{later:?}: {}", first.explain);
        assert_eq!(first.bound_by == BoundBy::SignalLost, lost, "{later:?}: {}", first.explain);
        assert_eq!(first.seq, before.seq + 1);
        // A loop that knows nothing opens.
        assert!(blind(&mut ValveLoop::new(settings(&records)), now).rate_decided.is_unlimited());
    }
}

#[test]
fn an_old_journal_gives_the_first_rate_and_nothing_else() {
    let records = recorded("S01", ShippedStart::Open);
    let capacity = records.last().unwrap().groups[0].capacity.unwrap();
    for (start, rate) in [(Start::Slow, capacity), (Start::Open, f64::INFINITY)] {
        let settings = ValveSettings { start, ..settings(&records) };
        let (mut valve, resumed, now) = resumed(settings, &records, Duration::from_secs(3600));
        assert_eq!(resumed, Resumed::Capacity { groups: 1, age_seconds: 3600.0 });
        let first = blind(&mut valve, now);
        assert_eq!((first.seq, first.rate_decided.as_f64()), (1, rate), "{}", first.explain);
    }
}

#[test]
fn nobody_knows_how_long_ago_it_was_when_the_wall_clock_was_set_back() {
    let records = recorded("S01", ShippedStart::Open);
    let mut valve = ValveLoop::new(settings(&records));
    let last = records.last().unwrap();
    assert_eq!(valve.resume(&records, given(last).now, last.at - 1), Resumed::Nothing);
    assert_eq!(valve.resume(&[], given(last).now, last.at), Resumed::Nothing);
    assert_eq!(blind(&mut valve, given(last).now).seq, 1);
}

#[test]
fn runs_with_clocks_of_their_own_are_told_in_order() {
    let records = recorded("S45", ShippedStart::Slow(None));
    let (first, second) = records.split_at(records.len() / 2);
    // The second run began with a clock and a count of its own.
    let begin = given(&second[0]);
    let mut renewed = second.to_vec();
    let back = |nanos: u64| nanos + 3_600_000_000_000 - begin.now.as_nanos();
    for record in &mut renewed {
        let (now, input) = (given(record).now, record.input.as_mut().unwrap());
        input.now_ns = back(now.as_nanos());
        input.ends_at_ns = input.ends_at_ns.map(back);
        input.groups.iter_mut().for_each(|group| group.read_at_ns = group.read_at_ns.map(back));
        input.sent_total -= begin.sent_total;
    }
    let past = [first, &renewed[..]].concat();
    let (mut valve, resumed, now) = resumed(settings(&records), &past, Duration::from_secs(1));
    assert!(matches!(resumed, Resumed::History { ticks, .. } if ticks == past.len()), "{resumed:?}");
    let before = records.last().unwrap();
    let after = blind(&mut valve, now);
    let ratio = after.rate_decided.as_f64() / before.rate_decided.as_f64();
    assert!((0.9..=1.1).contains(&ratio), "{ratio}: {}", after.explain);
}
