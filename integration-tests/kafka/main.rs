//! Whatever talks to Kafka, on a real Apache Kafka: see `support/mod.rs` for where that comes from.

#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod doctor;
mod live;
mod observer;
mod observer_faults;
mod observer_security;
mod produce;
mod restart;
mod slow_group;
mod story;
mod verdicts;

fn main() {
    // One line a file.
    let tests = [
        doctor::tests(),
        observer::tests(),
        observer_faults::tests(),
        observer_security::tests(),
        produce::tests(),
        restart::tests(),
        story::tests(),
        verdicts::tests(),
    ];
    support::run(tests.into_iter().flatten().collect());
}
