//! `lagvalve produce`: lines from standard input or files → records of a topic, at the rate its valve allows.
//!
//! A thread reads ([`input`]), one task parses and hands over ([`records`], [`send`]), the client's thread reports
//! back ([`client`], [`acks`]), and the watching task shows it all and ends it ([`run`]).

mod acks;
mod args;
mod checkpoint;
mod client;
mod dry_run;
mod input;
mod progress;
mod records;
mod refusal;
mod rejects;
mod report;
mod run;
mod send;
mod session;

pub(crate) use args::ProduceArgs;
pub(crate) use run::run;
