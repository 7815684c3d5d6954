//! Random stories through the shipped law. `lagvalve simulate --fuzz 1 --seeds SEED` shows one again.

use lagvalve::sim::{Baseline, Case, Checked, Shipped, ShippedStart, story};

const STORIES: std::ops::RangeInclusive<u64> = 1..=150;

#[test]
fn random_stories_are_no_worse_than_they_were() {
    let starts = [("open", ShippedStart::Open), ("hinted", ShippedStart::Hinted), ("slow", ShippedStart::Slow(None))];
    let mut above = vec![Vec::new(); starts.len()];
    let mut wrong = Vec::new();
    for seed in STORIES {
        let scenario = story(seed);
        let case = Case::new(&scenario, seed);
        for ((name, start), above) in starts.iter().zip(&mut above) {
            let mut law = Checked::new(Shipped::new(&scenario, *start), &scenario);
            let score = case.run(&mut law).score;
            above.push((score.j - case.oracle().score.j, seed));
            if let Some((at, limit)) = law.wrong() {
                wrong.push(format!("story {seed}, {name}: {limit}/s at {at:.1} s"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Measured on 10,000 stories: medians 1.0, 0.8 and 3.7; 40 above the oracle is passed by 24, 9 and 40 of them.
    for (((name, _), above), (median, most)) in
        starts.iter().zip(&mut above).zip([(1.4, 40.0), (1.2, 40.0), (4.5, 66.0)])
    {
        above.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (middle, worst) = (above[above.len() / 2].0, above[above.len() - 1]);
        println!("{name}: median {middle:.2}, worst {:.1} (story {})", worst.0, worst.1);
        assert!(middle <= median, "{name}: the median story is {middle:.2} above the oracle");
        assert!(worst.0 <= most, "{name}: story {} is {:.1} above the oracle", worst.1, worst.0);
    }
}

#[test]
fn other_laws_do_worse_in_most_stories() {
    let stories = 1..=240;
    for (law, least) in [(Baseline::Spark, 0.95), (Baseline::Aimd, 0.92), (Baseline::OnOff, 0.9), (Baseline::Pie, 0.92)]
    {
        let better = stories.clone().filter(|seed| {
            let scenario = story(*seed);
            let case = Case::new(&scenario, *seed);
            let ours = case.run(&mut Shipped::new(&scenario, ShippedStart::Open)).score.j;
            ours <= case.run(law.start(&scenario.told()).as_mut()).score.j + 0.05
        });
        let share = better.count() as f64 / 240.0;
        assert!(share >= least, "{law} is beaten in {share:.2} of the stories only");
    }
}
