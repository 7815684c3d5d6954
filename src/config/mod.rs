//! Configuration: a TOML file → checked settings, or everything that is wrong with it at once.
//!
//! In: the text of a file, the folder it stands in (for the files it names) and the environment. Out: [`Config`],
//! made of the stages' own settings types, which cannot hold a value out of range. Never: a key that is not
//! understood and ignored, a secret in a message, a connection.

mod cluster;
mod load;
mod problem;
mod raw;
mod server;
mod valve;

pub use cluster::Cluster;
pub use load::{Config, ConfiguredValve, Surroundings, known_options};
pub use problem::{ConfigError, Problem, closest};
pub use server::{DEFAULT_LISTEN, HttpSettings, StateSettings};
pub use valve::{TOPIC_NAME_RULE, is_topic_name};
