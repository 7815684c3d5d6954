//! How a series is judged, in simulated runs and in real ones alike: smoothed, settled, steady. Pure.

/// Mean over `width` values, the one in question in the middle; the ends are drawn out.
///
/// Centred, so that a step costs no delay of its own.
#[must_use]
pub fn centred_mean(values: &[f64], width: usize) -> Vec<f64> {
    let Some(last) = values.len().checked_sub(1) else { return Vec::new() };
    let at = |index: usize| values[index.saturating_sub(width / 2).min(last)];
    let mut sum: f64 = (0..width).map(at).sum();
    let mut means = Vec::with_capacity(values.len());
    for index in 0..values.len() {
        means.push(sum / width as f64);
        sum += at(index + width) - at(index);
    }
    means
}

/// The first sample that is good and from which on 90 % are; `None` when fewer than `proof` samples are left to prove it.
#[must_use]
pub fn first_lasting(good: &[bool], proof: usize) -> Option<usize> {
    let (mut count, mut first) = (0, None);
    for (after, good_here) in good.iter().rev().enumerate() {
        count += usize::from(*good_here);
        if *good_here && count as f64 / (after + 1) as f64 >= LASTING_SHARE {
            first = Some(good.len() - 1 - after);
        }
    }
    first.filter(|first| first + proof <= good.len())
}

/// Standard deviation ÷ mean; `None` when there are fewer than two values or their mean is not above 0.
#[must_use]
pub fn coefficient_of_variation(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if values.len() < 2 || mean.is_nan() || mean <= 0.0 {
        return None;
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some(variance.sqrt() / mean)
}

/// Of the rest of a series, so much must be good for it to have settled.
const LASTING_SHARE: f64 = 0.90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_is_the_first_good_sample_from_which_nine_in_ten_are() {
        let mut good = vec![false; 40];
        good.extend(vec![true; 160]);
        assert_eq!(first_lasting(&good, 80), Some(40));
        good[100..120].fill(false);
        assert_eq!(first_lasting(&good, 80), Some(120), "20 of 160 are more than one in ten");
        good[120..].fill(false);
        assert_eq!(first_lasting(&good, 80), None);
    }

    #[test]
    fn settling_needs_time_to_be_proven() {
        let mut good = vec![false; 300];
        good.extend(vec![true; 79]);
        assert_eq!(first_lasting(&good, 80), None, "79 samples are less than 20 s");
        good.push(true);
        assert_eq!(first_lasting(&good, 80), Some(300));
    }

    #[test]
    fn the_moving_mean_is_centred() {
        let step: Vec<f64> = (0..100).map(|index| if index < 50 { 0.0 } else { 1.0 }).collect();
        let means = centred_mean(&step, 40);
        assert_eq!((means[29], means[50], means[70], means[99]), (0.0, 0.5, 1.0, 1.0));
        assert!(centred_mean(&[], 40).is_empty());
    }
}
