//! `--plot`: one HTML page of everything that was run; it needs no network and nothing beside it.

mod page;
mod target;
mod ticks;

use std::path::Path;

use lagvalve::agent::TickRecord;
use lagvalve::sim::{Case, Outcome};

use super::args::LawChoice;
use crate::cli::exit::Failure;
use crate::cli::output::say;
use page::Page;
use target::Target;

/// What was run so far, and where the page goes.
pub(super) struct Plot {
    target: Target,
    page: Page,
}

impl Plot {
    /// Before the first run: whether `file` can be written, and whether a page can hold `pairs` of scenario and seed.
    ///
    /// # Errors
    /// A usage error that names the file or the number, and the remedy.
    pub(super) fn begin(file: &Path, laws: &[LawChoice], pairs: u64) -> Result<Self, Failure> {
        if pairs > PAIRS_MAX {
            return Err(Failure::usage(format!(
                "--plot {}: {pairs} pairs of scenario and seed are too many for one page, which takes {PAIRS_MAX}: name \
                 fewer scenarios, or fewer seeds (--seeds 1)",
                file.display()
            )));
        }
        let names = laws.iter().map(|law| law.name()).collect();
        Ok(Self { target: Target::find_out(file)?, page: Page::new(names) })
    }

    /// Begins the section of `case`.
    pub(super) fn section(&mut self, case: &Case<'_>) {
        self.page.section(case);
    }

    /// Takes one run of the section: laws in the order of the command line. `records` is empty for a law that gives no
    /// reasons.
    pub(super) fn add(&mut self, case: &Case<'_>, law: LawChoice, outcome: &Outcome, records: &[TickRecord]) {
        self.page.add(case, law.name(), outcome, records);
    }

    /// Writes the page, whole or not at all, and says where it is.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let html = self.page.html()?;
        self.target.write(html.as_bytes())?;
        say(&format!("plot  {} ({:.1} MB)", self.target.named().display(), html.len() as f64 / 1e6));
        Ok(())
    }
}

/// The catalogue with one seed each, and a few of one's own. With three laws and their reasons such a page is about
/// 10 MB long (measured), which a browser still opens at once.
const PAIRS_MAX: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_runs_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.html");
        let Err(Failure::Usage(text)) = Plot::begin(&file, &[LawChoice::Oracle], 348) else {
            panic!("348 pairs were taken");
        };
        for words in ["out.html", "348 pairs", "takes 60", "--seeds 1"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(Plot::begin(&file, &[LawChoice::Oracle], PAIRS_MAX).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "trying leaves nothing behind");
    }
}
