//! Runs → the page: its data as compact JSON in a page that is otherwise fixed.

use lagvalve::agent::TickRecord;
use lagvalve::control::BoundBy;
use lagvalve::sim::{Case, Curve, Outcome, RunCurves, SET_POINT_SECONDS, Scenario, Score, Settled, StoryCurves, Trace};
use serde::{Serialize, Serializer};

use super::super::report::RunLine;
use super::ticks::{Ticks, Words};
use crate::cli::exit::Failure;

/// Everything that the page shows.
pub(super) struct Page {
    laws: Vec<&'static str>,
    words: Words,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Data<'a> {
    version: &'static str,
    set_point_seconds: f64,
    sample_seconds: f64,
    laws: &'a [&'static str],
    /// Name and clause of every reason.
    reasons: Vec<(&'static str, &'static str)>,
    words: &'a [Vec<String>],
    sections: &'a [Section],
}

/// One scenario with one seed.
#[derive(Serialize)]
struct Section {
    id: String,
    title: String,
    seed: u64,
    duration_seconds: f64,
    groups: usize,
    capacity: Line,
    demand: Line,
    events: Vec<Event>,
    oracle: Cost,
    runs: Vec<Run>,
}

/// From, to, what.
#[derive(Serialize)]
struct Event(f64, f64, String);

/// One law.
#[derive(Serialize)]
struct Run {
    limit: Line,
    production: Line,
    drain: Line,
    cost: Cost,
    ticks: Option<Ticks>,
}

/// A score, as `--json` writes it, and the settling in a word.
#[derive(Serialize)]
struct Cost {
    #[serde(flatten)]
    figures: serde_json::Value,
    settled: String,
}

/// Instants and values; `null` is no value.
#[derive(Serialize)]
struct Line(Vec<Short>, Vec<Option<Short>>);

/// A number to five digits: a chart of 1,000 pixels shows no more.
struct Short(f64);

impl Page {
    /// Nothing was run yet.
    pub(super) fn new(laws: Vec<&'static str>) -> Self {
        Self { laws, words: Words::default(), sections: Vec::new() }
    }

    /// Begins the section of `case`.
    pub(super) fn section(&mut self, case: &Case<'_>) {
        let scenario = case.world().scenario();
        let story = StoryCurves::of(case.world(), POINTS);
        let event = |event: lagvalve::sim::StoryEvent| Event(event.from_seconds, event.to_seconds, event.label);
        self.sections.push(Section {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            seed: case.seed(),
            duration_seconds: scenario.duration_seconds,
            groups: scenario.groups.len(),
            capacity: Line::of(&story.capacity),
            demand: Line::of(&story.demand),
            events: scenario.events().into_iter().map(event).collect(),
            oracle: Cost::of(case, scenario, "oracle", &case.oracle().score),
            runs: Vec::with_capacity(self.laws.len()),
        });
    }

    /// Takes the run of the next law in the section that was begun last.
    pub(super) fn add(&mut self, case: &Case<'_>, law: &'static str, outcome: &Outcome, records: &[TickRecord]) {
        let curves = RunCurves::of(case.world(), &outcome.trace, POINTS);
        let run = Run {
            limit: Line::of(&curves.limit),
            production: Line::of(&curves.production),
            drain: Line::of(&curves.drain),
            cost: Cost::of(case, case.world().scenario(), law, &outcome.score),
            ticks: (!records.is_empty()).then(|| Ticks::of(records, POINTS, &mut self.words)),
        };
        self.sections.last_mut().expect("a section was begun").runs.push(run);
    }

    /// The page, whole.
    pub(super) fn html(&self) -> Result<String, Failure> {
        let data = Data {
            version: env!("CARGO_PKG_VERSION"),
            set_point_seconds: SET_POINT_SECONDS,
            sample_seconds: Trace::SECONDS,
            laws: &self.laws,
            reasons: BoundBy::ALL.iter().map(|reason| (reason.name(), reason.sentence())).collect(),
            words: self.words.texts(),
            sections: &self.sections,
        };
        let json = serde_json::to_string(&data).map_err(Failure::failed)?;
        Ok(filled(HTML, &[(STYLE_PLACE, CSS), (DATA_PLACE, &embedded(&json)), (SCRIPT_PLACE, JS)]))
    }
}

impl Cost {
    fn of(case: &Case<'_>, scenario: &Scenario, law: &'static str, score: &Score) -> Self {
        let line = RunLine::of(scenario, case.seed(), law, score, &case.oracle().score);
        Self {
            figures: serde_json::to_value(line).expect("a line of figures is an object"),
            settled: match score.settled {
                Settled::NotAsked => "–".to_owned(),
                Settled::Never => "never".to_owned(),
                Settled::After(seconds) => format!("{seconds:.0}"),
            },
        }
    }
}

impl Line {
    fn of(curve: &Curve) -> Self {
        let seconds = curve.seconds.iter().map(|seconds| Short(*seconds)).collect();
        Self(seconds, curve.values.iter().map(|value| value.map(Short)).collect())
    }
}

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let short = format!("{:.4e}", self.0).parse().unwrap_or(self.0);
        // Whole numbers without a point: they are most of what a page holds.
        if short.fract() == 0.0 && short.abs() < 1e15 {
            return serializer.serialize_i64(short as i64);
        }
        serializer.serialize_f64(short)
    }
}

/// `json` as it may stand in a script element: nothing in it can end that or begin another.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// `html` with each text in its place, in this order; what a text holds is not looked at for places.
fn filled(html: &str, texts: &[(&str, &str)]) -> String {
    let mut whole = String::with_capacity(html.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = html;
    for (place, text) in texts {
        let (before, after) =
            rest.split_once(place).expect("the page has a place for each of its parts, in this order");
        whole.push_str(before);
        whole.push_str(text);
        rest = after;
    }
    whole + rest
}

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
const STYLE_PLACE: &str = "{{style}}";
const DATA_PLACE: &str = "{{data}}";
const SCRIPT_PLACE: &str = "{{script}}";
/// Points a line and ticks a law: more than one a pixel and a half shows nothing more.
const POINTS: usize = 600;

#[cfg(test)]
mod tests {
    use lagvalve::sim::{Shipped, ShippedStart, catalogue};

    use super::*;

    /// What a browser reads from the data element of `html`.
    fn data_of(html: &str) -> serde_json::Value {
        let (_, from) = html.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
        let (json, _) = from.split_once("</script>").unwrap();
        serde_json::from_str(json).unwrap()
    }

    fn page_of(scenario: &Scenario) -> String {
        let case = Case::new(scenario, 1);
        let mut page = Page::new(vec!["lagvalve", "oracle"]);
        page.section(&case);
        let mut shipped = Shipped::new(scenario, ShippedStart::Open).recording();
        let outcome = case.run(&mut shipped);
        page.add(&case, "lagvalve", &outcome, shipped.records());
        page.add(&case, "oracle", case.oracle(), &[]);
        page.html().unwrap()
    }

    fn story(id: &str) -> Scenario {
        catalogue().into_iter().find(|scenario| scenario.id == id).unwrap()
    }

    #[test]
    fn a_title_with_html_in_it_is_text() {
        let mut scenario = story("S01");
        let title = "</script><script>alert(1)</script><!-- {{script}} \u{2028} & \"quotes\"";
        scenario.title = title.to_owned();
        let html = page_of(&scenario);
        assert_eq!(data_of(&html)["sections"][0]["title"], title);
        assert!(!html.contains("alert(1)</script>") && !html.contains("<script>alert"));
        assert_eq!(html.matches("</script>").count(), 2, "the data and the script, no more");
    }

    #[test]
    fn the_page_holds_what_was_run_and_needs_nothing_else() {
        let html = page_of(&story("S01"));
        let data = data_of(&html);
        let section = &data["sections"][0];
        assert_eq!((&section["id"], &section["seed"]), (&"S01".into(), &1.into()));
        let (shipped, oracle) = (&section["runs"][0], &section["runs"][1]);
        assert_eq!(oracle["cost"]["j"], section["oracle"]["j"]);
        assert_eq!(oracle["ticks"], serde_json::Value::Null, "the oracle gives no reasons");
        let ticks = &shipped["ticks"];
        assert_eq!(ticks["seconds"].as_array().unwrap().len(), ticks["figures"].as_array().unwrap().len());
        assert_eq!(shipped["limit"][1][0], serde_json::Value::Null, "an open valve has no limit to draw");
        for outside in ["http:", "https:", "src=", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_same_runs_make_the_same_page() {
        let scenario = story("S20");
        assert_eq!(page_of(&scenario), page_of(&scenario));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(12_345.678, "12346"), (0.25, "0.25"), (1.0 / 3.0, "0.33333"), (0.0, "0"), (1e-3, "0.001")]
        {
            assert_eq!(serde_json::to_string(&Short(value)).unwrap(), text);
        }
    }
}
