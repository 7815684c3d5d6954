//! What the pure core promises, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::{Bucket, Budget, ByteRate, Cost, DEFAULT_BURST, NotYet, RuledBy};
use crate::clock::Instant;
use crate::units::RateLimit;

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Take(u64),
    /// Takes the largest whole number that is no debt.
    TakeBurst,
    Lend(u64),
    /// Uses part of the loan.
    Use(u64),
    SettleLoan,
    SetLimit(f64),
}

fn rates() -> impl Strategy<Value = f64> {
    prop_oneof![
        1 => Just(0.0),
        6 => (-1.0..6.5f64).prop_map(|exponent| 10f64.powf(exponent)),
        1 => Just(0.1),
        1 => Just(1e6),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0.0..10.5f64).prop_map(|exponent| Op::Wait(10f64.powf(exponent) as u64)),
        4 => (1..=20u64).prop_map(Op::Take),
        4 => Just(Op::TakeBurst),
        2 => (1..2_000u64).prop_map(Op::Lend),
        2 => (1..2_000u64).prop_map(Op::Use),
        1 => Just(Op::SettleLoan),
        2 => rates().prop_map(Op::SetLimit),
    ];
    prop::collection::vec(op, 1..80)
}

/// One step of a run: what was earned at the rate in force since the step before, the size before it, what it passed.
struct Step {
    earned: f64,
    size: f64,
    passed: u64,
    /// By how much the request was larger than the bucket.
    oversize: f64,
}

fn run(first_rate: f64, ops: &[Op]) -> Vec<Step> {
    let mut now = Instant::from_seconds(3600.0);
    let mut rate = first_rate;
    let mut bucket = Bucket::new(now, limit(rate), DEFAULT_BURST);
    let (mut lent, mut left) = (0, 0);
    let mut steps = Vec::new();
    for op in ops {
        let size = bucket.size().unwrap();
        let mut step = Step { earned: 0.0, size, passed: 0, oversize: 0.0 };
        match *op {
            Op::Wait(nanos) => {
                now = now + Duration::from_nanos(nanos);
                step.earned = rate * nanos as f64 / 1e9;
            }
            Op::Take(n) if bucket.try_take(now, n).is_ok() => {
                step.passed = n;
                step.oversize = (n as f64 - size).max(0.0);
            }
            Op::TakeBurst if bucket.try_take(now, size as u64).is_ok() => step.passed = size as u64,
            Op::Lend(most) if lent == 0 => {
                lent = bucket.lend(now, most);
                left = lent;
            }
            Op::Use(n) => {
                step.passed = n.min(left);
                left -= step.passed;
            }
            Op::SettleLoan => {
                bucket.settle_loan(now, lent, left);
                (lent, left) = (0, 0);
            }
            Op::SetLimit(to) => {
                bucket.settle_loan(now, lent, left);
                (lent, left) = (0, 0);
                bucket.set_limit(now, limit(to));
                rate = to;
            }
            Op::Take(_) | Op::TakeBurst | Op::Lend(_) => {}
        }
        steps.push(step);
    }
    steps
}

proptest! {
    #[test]
    fn no_window_passes_more_than_rate_times_time_plus_burst(first in rates(), ops in ops()) {
        let steps = run(first, &ops);
        for from in 0..steps.len() {
            let (mut passed, mut earned, mut oversize) = (0.0, 0.0, 0.0f64);
            for step in &steps[from..] {
                earned += step.earned;
                passed += step.passed as f64;
                oversize = oversize.max(step.oversize);
                let bound = earned + steps[from].size + oversize;
                prop_assert!(passed <= bound + 2e-6 + bound * 1e-9, "{passed} > {bound}");
            }
        }
    }

    #[test]
    fn what_is_not_used_can_be_used_again(rate in 0.1..1e6f64, taken in 1..1000u64) {
        let now = Instant::from_seconds(10.0);
        let mut bucket = Bucket::new(Instant::default(), limit(rate), DEFAULT_BURST);
        let before = bucket.credit_at(now);
        let lent = bucket.lend(now, taken);
        prop_assert!((bucket.credit_at(now) + lent as f64 - before).abs() < 1e-6);
        bucket.settle_loan(now, lent, lent);
        prop_assert!((bucket.credit_at(now) - before).abs() < 1e-6);
        if bucket.try_take(now, taken).is_ok() {
            bucket.give_back(now, taken);
        }
        prop_assert!((bucket.credit_at(now) - before).abs() < 1e-6);
    }

    #[test]
    fn the_promised_instant_is_right(rate in -1.0..9.0f64, n in 1..50_000u64, spent in 0..50_000u64) {
        let now = Instant::from_seconds(3600.0);
        let mut bucket = Bucket::new(now, limit(10f64.powf(rate)), DEFAULT_BURST);
        bucket.save_for(now, n);
        bucket.give_back(now, 1_000_000);
        let _ = bucket.try_take(now, spent);
        if let Err(NotYet::Until(at)) = bucket.try_take(now, n) {
            prop_assert!(at > now);
            prop_assert!(bucket.allows(at, n), "not at {at:?}");
            // Earlier by two grains of a message and the rounding to nanoseconds.
            let early = at - Duration::from_nanos(2 + (2e3 / 10f64.powf(rate)) as u64);
            prop_assert!(early <= now || !bucket.allows(early, n), "already at {early:?}");
        }
    }

    #[test]
    fn more_rate_less_size_or_fewer_ahead_is_never_later(
        rate in 0.1..1e6f64, faster in 1.0..100.0f64, n in 1..1000u64, more in 0..1000u64, ahead in 0..1000u64,
    ) {
        let now = Instant::from_seconds(1.0);
        let slow = Bucket::new(now, limit(rate), DEFAULT_BURST);
        let mut fast = slow.clone();
        fast.set_limit(now, limit(rate * faster));
        // Of the same size: a larger bucket saves longer for a large request.
        let small = n.min(1 + (rate * 0.02) as u64);
        prop_assert!(fast.next_ready(now, small) <= slow.next_ready(now, small));
        prop_assert!(slow.next_ready(now, n) <= slow.next_ready(now, n + more));
        prop_assert!(slow.next_ready(now, n) <= slow.next_ready_behind(now, ahead, n));
    }

    #[test]
    fn a_request_that_is_waited_for_is_paid_in_advance(rate in 0.1..1e5f64, n in 1..100_000u64, late_ms in 0..20u64) {
        let start = Instant::from_seconds(3600.0);
        let mut bucket = Bucket::new(start, limit(rate), DEFAULT_BURST);
        let mut now = start;
        let mut passed = 0.0;
        for _ in 0..3 {
            bucket.save_for(now, n);
            if let Err(NotYet::Until(at)) = bucket.try_take(now, n) {
                now = at + Duration::from_millis(late_ms);
                prop_assert!(bucket.try_take(now, n).is_ok());
            }
            passed += n as f64;
            let earned = rate * now.seconds_since(start);
            prop_assert!(passed <= earned + 1.0 + 1e-5 + earned * 1e-9, "{passed} > {earned}");
            // And late wake-ups up to a burst cost nothing.
            prop_assert!(passed >= earned - rate * 0.021 - 1e-3);
        }
    }

    #[test]
    fn both_limits_hold(rate in 1.0..1e4f64, byte_rate in 1e2..1e6f64, sizes in prop::collection::vec(1..5_000u64, 20..60)) {
        let start = Instant::from_seconds(3600.0);
        let mut budget = Budget::new(start, limit(rate), DEFAULT_BURST);
        budget.set_byte_limit(start, ByteRate::new(byte_rate));
        let mut now = start;
        let (mut messages, mut bytes) = (0.0, 0.0);
        for size in sizes {
            let cost = Cost { messages: 1, bytes: size };
            budget.save_for(now, cost);
            if let Err(refusal) = budget.try_take(now, cost) {
                let NotYet::Until(at) = refusal.ready else { panic!("no pause was asked for") };
                now = at;
                prop_assert!(budget.try_take(now, cost).is_ok());
            }
            messages += 1.0;
            bytes += size as f64;
            let t = now.seconds_since(start);
            prop_assert!(messages <= rate * t + rate * 0.02 + 1.0 + 1e-5);
            prop_assert!(bytes <= byte_rate * t + byte_rate * 0.02 + 1.0 + 1e-3);
        }
    }
}

#[test]
fn a_change_of_rate_gives_no_burst_and_no_pause() {
    let unlimited = f64::INFINITY;
    for (from, to) in [
        (0.1, 1e6),
        (1e6, 0.1),
        (1e6, 1e5),
        (1.0, 2.0),
        (1000.0, 10.0),
        (10.0, 1000.0),
        (unlimited, 0.1),
        (unlimited, 1000.0),
        (0.0, 0.1),
        (0.0, 1000.0),
    ] {
        // Busy before the change: all credit is spent, and half an interval has passed.
        let start = Instant::from_seconds(3600.0);
        let mut bucket = Bucket::new(start, limit(from), DEFAULT_BURST);
        while from < unlimited && bucket.try_take(start, 1).is_ok() {}
        let changed = start + Duration::from_secs_f64(if from > 0.0 && from < unlimited { 0.5 / from } else { 1000.0 });
        bucket.set_limit(changed, limit(to));

        let at_once = (0..).take_while(|_| bucket.try_take(changed, 1).is_ok()).count();
        assert!(at_once <= 1, "{from} → {to}: {at_once} at once");
        let NotYet::Until(next) = bucket.next_ready(changed, 1) else { panic!("{from} → {to}: paused") };
        let wait = next.seconds_since(changed) * to;
        assert!(wait <= 1.0 + to * 1e-9, "{from} → {to}: {wait} intervals of pause");
    }
}

#[test]
fn idle_time_is_credited_at_the_rate_it_was_idle_at() {
    // `ratelimit` 2.0 grants 1,002 here.
    let start = Instant::from_seconds(3600.0);
    let mut bucket = Bucket::new(start, limit(10.0), DEFAULT_BURST);
    let later = start + Duration::from_secs(1);
    bucket.set_limit(later, limit(100_000.0));
    let at_once = (0..).take_while(|_| bucket.try_take(later, 1).is_ok()).count();
    assert_eq!(at_once, 1);
}

#[test]
fn debt_is_paid_at_the_new_rate() {
    let start = Instant::from_seconds(3600.0);
    let mut bucket = Bucket::new(start, limit(10.0), DEFAULT_BURST);
    let full = start + Duration::from_secs(1);
    assert_eq!(bucket.try_take(full, 101), Ok(()), "a full bucket passes a request of any size");
    assert!((bucket.credit_at(full) + 99.8).abs() < 1e-6);
    bucket.set_limit(full, limit(100.0));
    let NotYet::Until(next) = bucket.next_ready(full, 1) else { panic!("paused") };
    assert!((next.seconds_since(full) - 1.008).abs() < 1e-6);
}

#[test]
fn zero_passes_nothing_and_unlimited_everything() {
    let now = Instant::from_seconds(3600.0);
    let mut bucket = Bucket::new(now, RateLimit::PAUSED, DEFAULT_BURST);
    assert_eq!(bucket.try_take(now + Duration::from_secs(1_000_000), 1), Err(NotYet::Paused));
    assert_eq!(bucket.try_take(now, 0), Ok(()));
    bucket.set_limit(now, RateLimit::Unlimited);
    assert_eq!(bucket.try_take(now, u64::MAX), Ok(()));
    assert_eq!(bucket.next_ready(now, u64::MAX), NotYet::Until(now));
}

#[test]
fn rates_are_exact_in_the_long_run_with_a_late_timer() {
    for rate in [0.1, 0.7, 1.0, 33.3, 100.0, 999.0, 12_345.6, 1e5, 1e6] {
        for late in [0, 60_000, 1_700_000, 12_000_000] {
            let start = Instant::from_seconds(3600.0);
            let mut bucket = Bucket::new(start, limit(rate), DEFAULT_BURST);
            let mut now = start;
            let mut passed = 0u64;
            let seconds = (100.0 / rate).max(2.0);
            let end = start + Duration::from_secs_f64(seconds);
            loop {
                while bucket.try_take(now, 1).is_ok() {
                    passed += 1;
                }
                let NotYet::Until(at) = bucket.next_ready(now, 1) else { panic!("paused") };
                now = at + Duration::from_nanos(late);
                if now > end {
                    break;
                }
            }
            let expected = rate * seconds;
            // One message in the bucket at the start, and at the end what one late wake-up would have fetched.
            let slack = 1.0 + rate * late as f64 / 1e9;
            assert!((passed as f64 - expected).abs() <= expected * 0.005 + slack, "{rate}/s, {late} ns late: {passed}");
        }
    }
}

#[test]
fn the_emptier_bucket_rules_and_says_so() {
    let now = Instant::from_seconds(3600.0);
    let mut budget = Budget::new(now, limit(100.0), DEFAULT_BURST);
    budget.set_byte_limit(now, ByteRate::new(1_000.0));
    let small = Cost { messages: 10, bytes: 1 };
    assert_eq!(budget.try_take(now, small).unwrap_err().ruled_by, RuledBy::Messages);
    let large = Cost { messages: 1, bytes: 10_000 };
    assert_eq!(budget.try_take(now, large).unwrap_err().ruled_by, RuledBy::Bytes);
    budget.set_limit(now, RateLimit::PAUSED);
    assert_eq!(budget.try_take(now, large).unwrap_err().ruled_by, RuledBy::Pause);
    budget.set_limit(now, RateLimit::Unlimited);
    budget.set_byte_limit(now, None);
    assert!(budget.is_unlimited());
    assert_eq!(budget.try_take(now, large), Ok(()));
}

#[test]
fn loans_are_at_most_half_of_the_burst() {
    let now = Instant::from_seconds(3600.0);
    let mut bucket = Bucket::new(Instant::default(), limit(1_000.0), DEFAULT_BURST);
    assert_eq!(bucket.lend(now, 7), 7);
    assert_eq!(bucket.lend(now, 7), 3);
    assert_eq!(bucket.lend(now, 7), 0);
    let mut slow = Bucket::new(Instant::default(), limit(1.0), DEFAULT_BURST);
    assert_eq!(slow.lend(now, 1), 0, "at low rates nothing lies about");
}

fn limit(rate: f64) -> RateLimit {
    RateLimit::from_f64(rate).unwrap()
}
