//! What the cost of the law does when one of its constants is halved, or half as large again: the 58 scenarios of the
//! reference design, geometric mean of J + 0.5 and worst harm beside those of the shipped constants, in one run.
//!
//! `cargo bench --bench robustness --no-default-features --features sim [-- SEEDS [CONSTANT...]]`, 3 seeds and all constants
//! by default. One JSON object a constant and factor, to standard output; what is left out are the settings of the operator
//! and the slow start, which an open start does not use.

use lagvalve::control::ControlConfig;
use lagvalve::estimate::EstimateConfig;
use lagvalve::sim::{Case, Policy, Scenario, ScenarioResult, Shipped, ShippedStart, Summary, catalogue};

/// Multiplies one constant.
type Change = fn(&mut EstimateConfig, &mut ControlConfig, f64);

macro_rules! constants {
    ($($part:ident.$name:ident,)*) => {
        &[$((stringify!($part), stringify!($name), constants!(@ $part.$name)),)*]
    };
    (@ estimate.$name:ident) => { |estimate: &mut EstimateConfig, _: &mut ControlConfig, by| estimate.$name *= by };
    (@ control.$name:ident) => { |_: &mut EstimateConfig, control: &mut ControlConfig, by| control.$name *= by };
}

const CONSTANTS: &[(&str, &str, Change)] = constants![
    estimate.actuation_seconds,
    estimate.capacity_gain,
    estimate.capacity_step,
    estimate.capacity_window_seconds,
    estimate.capacity_fall_max,
    estimate.capacity_rise_max,
    estimate.capacity_bound_rise_max,
    estimate.blind_polls,
    estimate.extrapolate_cadences,
    estimate.unproven_seconds,
    estimate.unproven_cadences,
    estimate.odd_lag_seconds,
    estimate.first_look_polls,
    estimate.long_interval_seconds,
    estimate.patience_seconds,
    estimate.busy_seconds,
    estimate.busy_share,
    estimate.stuck_share_max,
    estimate.bottleneck_share,
    estimate.bottleneck_memory_seconds,
    estimate.delay_tolerance_polls,
    estimate.delay_tolerance_share,
    estimate.delay_least_polls,
    estimate.delay_speed_share,
    estimate.delay_memory_seconds,
    estimate.production_window_seconds,
    control.actuation_seconds,
    control.set_point_dead_time_share,
    control.set_point_poll_share,
    control.gain_seconds,
    control.gain_cadences,
    control.integral_time_ratio,
    control.integral_max,
    control.floor,
    control.excess_max,
    control.probe,
    control.creep,
    control.release_seconds,
    control.release_factor,
    control.patience_seconds,
    control.binding_share,
    control.level_seconds,
    control.level_margin_seconds,
    control.doubt_seconds,
    control.doubt_share,
];

fn main() {
    let seeds: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    let scenarios: Vec<Scenario> = catalogue().into_iter().filter(|scenario| scenario.id.as_str() <= "S58").collect();
    let cases: Vec<Vec<Case<'_>>> =
        scenarios.iter().map(|scenario| (1..=seeds).map(|seed| Case::new(scenario, seed)).collect()).collect();
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| CONSTANTS.iter().any(|of| of.1 == word)).collect();
    let shipped = play(&scenarios, &cases, &|_, _| ());
    show("shipped", "", 1.0, &shipped, &shipped);
    for (part, name, change) in CONSTANTS.iter().filter(|of| asked.is_empty() || asked.iter().any(|name| name == of.1))
    {
        for by in [0.5, 1.5] {
            let changed = play(&scenarios, &cases, &|estimate, control| {
                change(estimate, control, by);
                // No observed speed proves more than itself.
                estimate.delay_speed_share = estimate.delay_speed_share.min(1.0);
            });
            show(part, name, by, &changed, &shipped);
        }
    }
}

fn play(
    scenarios: &[Scenario],
    cases: &[Vec<Case<'_>>],
    change: &dyn Fn(&mut EstimateConfig, &mut ControlConfig),
) -> Summary {
    let policy = |scenario: &Scenario| -> Box<dyn Policy> {
        let mut estimate = EstimateConfig::for_poll(scenario.observation.poll_seconds);
        change(&mut estimate, &mut ControlConfig::new(0.0, 1.0));
        let control = |set_point: f64, poll: f64| {
            let mut control = ControlConfig::new(set_point, poll);
            change(&mut EstimateConfig::for_poll(poll), &mut control);
            control
        };
        Box::new(Shipped::with_constants(scenario, Shipped::settings(scenario, ShippedStart::Open), estimate, control))
    };
    let results: Vec<ScenarioResult> = scenarios
        .iter()
        .zip(cases)
        .map(|(scenario, cases)| {
            let mut result = ScenarioResult::new(scenario);
            for case in cases {
                result.push(case.seed(), case.run_valves(policy).score, case.oracle().score);
            }
            result
        })
        .collect();
    Summary::of(&results)
}

fn show(part: &str, name: &str, by: f64, changed: &Summary, shipped: &Summary) {
    let percent = 100.0 * (changed.geo_j / shipped.geo_j - 1.0);
    println!(
        "{{\"part\":\"{part}\",\"constant\":\"{name}\",\"by\":{by},\"geo_j\":{:.4},\"percent\":{percent:.2},\"worst_harm_percent\":{:.3}}}",
        changed.geo_j, changed.worst_harm_percent
    );
}
