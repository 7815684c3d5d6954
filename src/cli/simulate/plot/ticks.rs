//! The ticks of a shipped law as the page holds them: when, why, and the sentence without its figures.

use std::collections::HashMap;

use lagvalve::agent::TickRecord;
use lagvalve::control::BoundBy;
use serde::Serialize;

/// Decisions over time, in columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Ticks {
    /// When, seconds from the start.
    seconds: Vec<f64>,
    /// The reason, by its place in [`BoundBy::ALL`].
    bound_by: Vec<usize>,
    /// What stands between the figures, by its place in the page's list.
    words: Vec<usize>,
    /// The figures of the sentence, blanks between them.
    figures: Vec<String>,
}

/// What stands between the figures of sentences, each text once: a page says the same thousands of times.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    texts: Vec<Vec<String>>,
    places: HashMap<Vec<String>, usize>,
}

impl Words {
    /// Every text, as the pieces before, between and after its figures.
    pub(super) fn texts(&self) -> &[Vec<String>] {
        &self.texts
    }

    fn place(&mut self, pieces: Vec<String>) -> usize {
        if let Some(place) = self.places.get(&pieces) {
            return *place;
        }
        self.texts.push(pieces.clone());
        self.places.insert(pieces, self.texts.len() - 1);
        self.texts.len() - 1
    }
}

impl Ticks {
    /// At most `most` of `records`; where there are more, a change of the reason comes before a tick that repeats it.
    pub(super) fn of(records: &[TickRecord], most: usize, words: &mut Words) -> Self {
        let reasons: Vec<BoundBy> = records.iter().map(|record| record.bound_by).collect();
        let mut ticks = Self::default();
        for record in kept(&reasons, most).into_iter().map(|index| &records[index]) {
            let (pieces, figures) = taken_apart(&record.explain);
            ticks.seconds.push(record.at as f64 / 1e3);
            ticks.bound_by.push(place_of(record.bound_by));
            ticks.words.push(words.place(pieces));
            ticks.figures.push(figures.join(" "));
        }
        ticks
    }
}

fn place_of(reason: BoundBy) -> usize {
    BoundBy::ALL.iter().position(|listed| *listed == reason).expect("the list holds every reason")
}

/// One tick of each of equally long stretches: the first that brings another reason, else the first.
fn kept(reasons: &[BoundBy], most: usize) -> Vec<usize> {
    let stretch = reasons.len().div_ceil(most.max(1)).max(1);
    let mut last = None;
    let mut kept = Vec::new();
    for (number, part) in reasons.chunks(stretch).enumerate() {
        let chosen = part.iter().position(|reason| Some(*reason) != last).unwrap_or(0);
        last = Some(part[chosen]);
        kept.push(number * stretch + chosen);
    }
    kept
}

/// The pieces of `sentence` before, between and after its figures, and the figures: digits with points and commas inside.
fn taken_apart(sentence: &str) -> (Vec<String>, Vec<String>) {
    let (mut pieces, mut figures) = (vec![String::new()], Vec::<String>::new());
    let mut letters = sentence.chars().peekable();
    let mut inside = false;
    while let Some(letter) = letters.next() {
        let joins = inside && matches!(letter, '.' | ',') && letters.peek().is_some_and(char::is_ascii_digit);
        if !letter.is_ascii_digit() && !joins {
            inside = false;
            pieces.last_mut().expect("there is always a piece").push(letter);
            continue;
        }
        if !inside {
            figures.push(String::new());
            pieces.push(String::new());
        }
        inside = true;
        figures.last_mut().expect("a figure was begun").push(letter);
    }
    (pieces, figures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the page's script does.
    fn put_together(pieces: &[String], figures: &str) -> String {
        let figures = figures.split(' ').map(str::to_owned).chain([String::new()]);
        pieces.iter().zip(figures).map(|(piece, figure)| piece.clone() + &figure).collect()
    }

    #[test]
    fn figures_are_taken_out_and_full_stops_stay() {
        let (pieces, figures) = taken_apart("v: 1,090/s, g0 has 2.5 s. It can take 30.");
        assert_eq!(pieces, ["v: ", "/s, g", " has ", " s. It can take ", "."]);
        assert_eq!(figures, ["1,090", "0", "2.5", "30"]);
    }

    #[test]
    fn sentences_that_differ_in_figures_alone_share_their_words() {
        let mut words = Words::default();
        let places = ["lag 2.1 s", "lag 1,000 s", "no lag"].map(|text| words.place(taken_apart(text).0));
        assert_eq!((places, words.texts().len()), ([0, 0, 1], 2));
    }

    proptest! {
        #[test]
        fn a_sentence_is_put_together_as_it_was(sentence in "[a-z0-9,. /ü<]{0,60}") {
            let (pieces, figures) = taken_apart(&sentence);
            prop_assert_eq!(put_together(&pieces, &figures.join(" ")), sentence);
        }

        #[test]
        fn every_reason_that_lasts_for_a_stretch_is_kept(
            runs in proptest::collection::vec((0..BoundBy::ALL.len(), 1_usize..40), 1..60),
            most in 1_usize..300,
        ) {
            let reasons: Vec<BoundBy> =
                runs.iter().flat_map(|(reason, count)| vec![BoundBy::ALL[*reason]; *count]).collect();
            let kept = kept(&reasons, most);
            prop_assert!(kept.len() <= most && kept.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
            let stretch = reasons.len().div_ceil(most);
            for (reason, _) in runs.iter().filter(|(_, count)| *count >= 2 * stretch) {
                prop_assert!(kept.iter().any(|index| reasons[*index] == BoundBy::ALL[*reason]), "{reason}");
            }
        }
    }
}
