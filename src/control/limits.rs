//! What an operator's limits and a lost signal make of a decision.

use super::BoundBy;

/// Operator's limits on what governed writers may send, messages/s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitPolicy {
    /// Never below, above 0.
    pub min_rate: f64,
    /// Never above; `+∞`: none.
    pub max_rate: f64,
}

/// A rate and the reason that rules it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limited {
    /// Messages/s; `+∞`: no limit.
    pub rate: f64,
    /// Why.
    pub bound_by: BoundBy,
}

impl LimitPolicy {
    /// The part of a total rate that governed writers get: `total − live`, within the operator's limits.
    ///
    /// A start of which nothing is proven keeps at least its first rate beside live traffic, or a file could never
    /// begin on a busy topic.
    #[must_use]
    pub fn grant(&self, total: Limited, live: f64, first_rate: f64) -> Limited {
        let unproven = matches!(
            total.bound_by,
            BoundBy::SlowStart | BoundBy::Learning | BoundBy::NeverCommitted | BoundBy::GroupMissing
        );
        let least = if unproven { first_rate.min(total.rate) } else { 0.0 };
        self.clamp(Limited { rate: (total.rate - live).max(least), bound_by: total.bound_by })
    }

    /// The same rate within the operator's limits.
    #[must_use]
    pub fn clamp(&self, wanted: Limited) -> Limited {
        if wanted.rate > self.max_rate {
            return Limited { rate: self.max_rate, bound_by: BoundBy::MaxRate };
        }
        if wanted.rate < self.min_rate {
            return Limited { rate: self.min_rate.min(self.max_rate), bound_by: BoundBy::MinRate };
        }
        wanted
    }
}

/// What happens when the signal of a group is lost for longer than the grace period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SignalLossPolicy {
    /// Keep the last decision.
    Hold,
    /// This rate, messages/s, or half of the capacity that was measured last.
    Safe(Option<f64>),
    /// No limit.
    Open,
    /// The operator's minimum.
    Closed,
}

impl SignalLossPolicy {
    /// The total rate for a group whose signal is lost, messages/s.
    ///
    /// `in_force` is its last decision, `capacity` what was last measured. With `Safe`, a valve that was acting gets
    /// min(rate in force, safe rate), one that was open gets what was proven and no more; with nothing ever proven the
    /// first rate.
    #[must_use]
    pub fn rate(self, in_force: f64, capacity: Option<f64>, first_rate: f64, min_rate: f64) -> f64 {
        match self {
            Self::Hold => in_force,
            Self::Open => f64::INFINITY,
            Self::Closed => min_rate,
            Self::Safe(safe_rate) => match (capacity.filter(|capacity| *capacity > 0.0), in_force.is_finite()) {
                (Some(capacity), true) => in_force.min(safe_rate.unwrap_or(0.5 * capacity)),
                (Some(capacity), false) => capacity,
                (None, true) => in_force.min(safe_rate.unwrap_or(first_rate)),
                (None, false) => safe_rate.unwrap_or(first_rate),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn live_traffic_comes_off_and_the_operator_has_the_last_word() {
        let policy = LimitPolicy { min_rate: 1.0, max_rate: 500.0 };
        let total = |rate, bound_by| Limited { rate, bound_by };
        let table = [
            ("plain", total(400.0, BoundBy::SetPoint), 100.0, 300.0, BoundBy::SetPoint),
            ("ceiling", total(900.0, BoundBy::SetPoint), 100.0, 500.0, BoundBy::MaxRate),
            ("ceiling on an open valve", total(INF, BoundBy::Unlimited), 100.0, 500.0, BoundBy::MaxRate),
            ("live traffic alone is too much", total(400.0, BoundBy::Draining), 600.0, 1.0, BoundBy::MinRate),
            ("a file begins beside live traffic", total(300.0, BoundBy::SlowStart), 600.0, 100.0, BoundBy::SlowStart),
        ];
        for (case, total, live, rate, bound_by) in table {
            assert_eq!(policy.grant(total, live, 100.0), Limited { rate, bound_by }, "{case}");
        }
    }

    #[test]
    fn a_lost_signal_never_opens_a_valve_unless_told() {
        let table = [
            ("acting", SignalLossPolicy::Safe(None), 1500.0, Some(2000.0), 1000.0),
            ("acting below it", SignalLossPolicy::Safe(None), 300.0, Some(2000.0), 300.0),
            ("acting, told", SignalLossPolicy::Safe(Some(700.0)), 1500.0, Some(2000.0), 700.0),
            ("open gets what was proven", SignalLossPolicy::Safe(None), INF, Some(2000.0), 2000.0),
            ("nothing ever known", SignalLossPolicy::Safe(None), INF, None, 100.0),
            ("hold", SignalLossPolicy::Hold, 1500.0, Some(2000.0), 1500.0),
            ("open", SignalLossPolicy::Open, 1500.0, Some(2000.0), INF),
            ("closed", SignalLossPolicy::Closed, 1500.0, Some(2000.0), 1.0),
        ];
        for (case, policy, in_force, capacity, rate) in table {
            assert_eq!(policy.rate(in_force, capacity, 100.0, 1.0), rate, "{case}");
        }
    }
}
