//! Runs async tests on a shared broker; without one they are ignored, with the reason.

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use super::{Kafka, env};

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its name: module and function.
    pub name: &'static str,
    /// Its body.
    pub run: for<'a> fn(&'a Kafka) -> BoxFuture<'a, TestResult>,
}

/// How a test ends.
pub type TestResult = Result<(), Stop>;

/// Why a test ended early. Any error turns into `Failed`.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Failed(String),
    /// Something that it needs is not there.
    Ignored(String),
}

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs `tests`, starting Kafka when the first of them needs it. Never returns.
pub fn run(tests: Vec<Test>) -> ! {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime"));
    let kafka: Arc<OnceLock<Result<Kafka, String>>> = Arc::default();
    let trial = |test: Test| {
        let (runtime, kafka) = (Arc::clone(&runtime), Arc::clone(&kafka));
        Trial::ignorable_test(test.name, move || one(&runtime, &kafka, test))
    };
    let trials = tests.into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Exiting runs no destructor, and brokers want to be stopped.
    if let Some(Ok(kafka)) = Arc::into_inner(kafka).and_then(OnceLock::into_inner) {
        runtime.block_on(kafka.stop());
    }
    conclusion.exit()
}

fn one(runtime: &Runtime, kafka: &OnceLock<Result<Kafka, String>>, test: Test) -> Result<Completion, Failed> {
    match kafka.get_or_init(|| runtime.block_on(Kafka::find())) {
        Ok(kafka) => match runtime.block_on((test.run)(kafka)) {
            Ok(()) => Ok(Completion::Completed),
            Err(Stop::Ignored(reason)) => absent(reason),
            Err(Stop::Failed(reason)) => Err(reason.into()),
        },
        Err(reason) => absent(format!("no Kafka: {reason}")),
    }
}

fn absent(reason: String) -> Result<Completion, Failed> {
    if env("LAGVALVE_REQUIRE_KAFKA").as_deref() == Some("1") {
        return Err(format!("{reason} (LAGVALVE_REQUIRE_KAFKA=1)").into());
    }
    Ok(Completion::ignored_with(reason))
}
