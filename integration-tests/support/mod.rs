//! What tests on a real Kafka share: finding one, starting one, stopping one, and talking to it.
//!
//! Environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `LAGVALVE_KAFKA` | `host:port` of a broker that is already there; tests create topics and groups with names of their own |
//! | `LAGVALVE_KAFKA_IMAGE`, `LAGVALVE_KAFKA_TAG` | the image that is started when a Docker engine answers |
//! | `LAGVALVE_KAFKA_VERSION` | the version whose jars Maven fetches when there is Java and Maven |
//! | `LAGVALVE_KAFKA_FROM` | only this way: `address`, `docker` or `jars` |
//! | `LAGVALVE_TEST_PORTS` | `from-to`: ports that brokers may use |
//! | `LAGVALVE_REQUIRE_KAFKA` | `1`: finding none is a failure, not a reason to ignore the test |

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module of several test binaries")]

mod cluster;
mod container;
mod harness;
mod jars;
mod kafka;
mod tls;
pub mod watching;

pub use cluster::{Cluster, ClusterOptions};
pub use harness::{Stop, Test, TestResult, run};
pub use jars::Jars;
pub use kafka::{Kafka, admin, client, commit, create_topic, produce};

/// Lists async functions of this module as tests: `tests![one, two]`.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::support::Test { name: concat!(module_path!(), "::", stringify!($name)), run: |kafka| Box::pin($name(kafka)) }),*]
    };
}

/// A variable of the environment, `None` when unset or empty.
#[expect(clippy::disallowed_methods, reason = "how a test run is told where Kafka is")]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `count` ports of this machine that nobody listens on.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: std::sync::OnceLock<std::sync::Mutex<u32>> = std::sync::OnceLock::new();
    let range = env("LAGVALVE_TEST_PORTS").and_then(|text| {
        let (from, to) = text.split_once('-')?;
        Some((from.parse::<u32>().ok()?, to.parse::<u32>().ok()?))
    });
    let (from, to) = range.unwrap_or((20_000, 31_000)); // below the ports that systems give to clients
    // Test binaries that run side by side begin at different places.
    let first = || std::sync::Mutex::new(std::process::id().wrapping_mul(37));
    let mut next = NEXT.get_or_init(first).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    for _ in from..=to {
        let port = (from + *next % (to - from + 1)) as u16;
        *next = next.wrapping_add(1);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
        if ports.len() == count {
            return ports;
        }
    }
    panic!("no {count} free ports between {from} and {to}; set LAGVALVE_TEST_PORTS=from-to");
}

/// A text that is not one for other processes, nor used before in this one: part of names of topics and groups.
pub fn unique() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}
