//! The throttled producer behind an open valve against rdkafka's bare `FutureProducer`, in alternating rounds.
//!
//! ```text
//! cargo bench --bench producer                                  # krafka's fake broker, in a process of its own
//! LAGVALVE_KAFKA=localhost:9092 cargo bench --bench producer    # and a real Kafka that creates topics by itself
//! cargo bench --bench producer -- 21                            # rounds; 9 unless said
//! ```
//! Both producers have the same settings, idempotence included. A round sends all records from one task as fast as they
//! are taken and ends with the last delivery report. Only this process's CPU time is counted, not the broker's.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use krafka::testing::FakeBroker;
use lagvalve::clock::{Clock, SystemClock};
use lagvalve::units::{HumanCount, RateLimit};
use lagvalve::{ThrottledProducer, Valve};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if arguments.iter().any(|argument| argument == SERVE) {
        return runtime.block_on(serve());
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    println!("throttled producer (valve open) ÷ bare FutureProducer, {rounds} rounds, enable.idempotence=true");
    {
        let mut broker = Broker::start();
        let bootstrap = broker.bootstrap.clone();
        compare(&runtime, "fake broker", &bootstrap, rounds, |topic| broker.create(topic));
    }
    #[expect(clippy::disallowed_methods, reason = "the one switch of this program")]
    let kafka = std::env::var("LAGVALVE_KAFKA");
    if let Ok(bootstrap) = kafka {
        compare(&runtime, "Apache Kafka", &bootstrap, rounds, |_| ());
    }
}

fn compare(
    runtime: &tokio::runtime::Runtime,
    broker: &str,
    bootstrap: &str,
    rounds: usize,
    mut create: impl FnMut(&str),
) {
    for (bytes, records) in [(100, 600_000), (1_024, 200_000)] {
        let payload = vec![b'x'; bytes];
        let (mut bare, mut throttled) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let mut run = |which: &str| {
                let topic = format!("bench-{which}-{bytes}");
                create(&topic);
                let load = Load { bootstrap, topic: &topic, payload: &payload, records };
                if which == "bare" { runtime.block_on(load.bare()) } else { runtime.block_on(load.throttled()) }
            };
            let pair = if round % 2 == 0 {
                let first = run("bare");
                (first, run("throttled"))
            } else {
                let first = run("throttled");
                (run("bare"), first)
            };
            // The first round warms everything up.
            if round > 0 {
                bare.push(pair.0);
                throttled.push(pair.1);
            }
        }
        report(broker, bytes, &bare, &throttled);
    }
}

fn report(broker: &str, bytes: usize, bare: &[Run], throttled: &[Run]) {
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.rate).collect());
    let cpu = |runs: &[Run]| runs.iter().map(|run| run.cpu_micros).sum::<f64>() / runs.len() as f64;
    let paired = median(bare.iter().zip(throttled).map(|(bare, throttled)| throttled.rate / bare.rate).collect());
    println!(
        "{broker}, {bytes} B: bare {}/s {:.2} µs CPU, throttled {}/s {:.2} µs CPU; medians ÷ {:.3}, median of pairs {paired:.3}",
        HumanCount(rate(bare)),
        cpu(bare),
        HumanCount(rate(throttled)),
        cpu(throttled),
        rate(throttled) / rate(bare),
    );
}

/// One round's work.
struct Load<'a> {
    bootstrap: &'a str,
    topic: &'a str,
    payload: &'a [u8],
    records: usize,
}

/// What one round gave.
struct Run {
    /// Records acknowledged a second.
    rate: f64,
    /// CPU time of this process for each.
    cpu_micros: f64,
}

impl Load<'_> {
    async fn bare(&self) -> Run {
        let producer: FutureProducer = self.config().create().expect("a producer");
        producer.send(self.record(), std::time::Duration::from_secs(10)).await.expect("a first delivery");
        let stopwatch = Stopwatch::start();
        let mut deliveries = VecDeque::with_capacity(self.records);
        for _ in 0..self.records {
            let mut record = self.record();
            loop {
                match producer.send_result(record) {
                    Ok(delivery) => break deliveries.push_back(delivery),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        record = back;
                        let oldest = deliveries.pop_front().expect("a full queue has deliveries to come");
                        oldest.await.expect("a report").expect("a delivery");
                    }
                    Err((error, _)) => panic!("{error}"),
                }
            }
        }
        for delivery in deliveries {
            delivery.await.expect("a report").expect("a delivery");
        }
        stopwatch.stop(self.records)
    }

    async fn throttled(&self) -> Run {
        let (valve, _driver) = Valve::manual("bench", RateLimit::Unlimited);
        let producer = ThrottledProducer::new(&self.config(), valve).expect("a producer");
        producer.send(self.record()).await.expect("a first delivery");
        let stopwatch = Stopwatch::start();
        let mut deliveries = VecDeque::with_capacity(self.records);
        for _ in 0..self.records {
            deliveries.push_back(producer.enqueue(self.record()).await.expect("admitted"));
        }
        for delivery in deliveries {
            delivery.await.expect("a delivery");
        }
        stopwatch.stop(self.records)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap).set("enable.idempotence", "true");
        config
    }

    fn record(&self) -> FutureRecord<'_, [u8], [u8]> {
        FutureRecord::to(self.topic).payload(self.payload)
    }
}

struct Stopwatch {
    started: lagvalve::clock::Instant,
    cpu: f64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { started: SystemClock.now(), cpu: cpu_seconds() }
    }

    fn stop(&self, records: usize) -> Run {
        let records = records as f64;
        let seconds = SystemClock.now().seconds_since(self.started);
        Run { rate: records / seconds, cpu_micros: (cpu_seconds() - self.cpu) / records * 1e6 }
    }
}

/// User and system time of this process; 0 where there is no /proc. In steps of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The fake broker in a process of its own: this program, started again.
struct Broker {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
    bootstrap: String,
}

impl Broker {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program's path");
        let mut child = Command::new(program)
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker's process");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut bootstrap = String::new();
        answers.read_line(&mut bootstrap).expect("the broker's address");
        Self { child, answers, bootstrap: bootstrap.trim().to_owned() }
    }

    /// Makes `topic` anew; all others, and the log of requests, are dropped.
    fn create(&mut self, topic: &str) {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{topic}").expect("the broker listens");
        let mut done = String::new();
        self.answers.read_line(&mut done).expect("the broker answers");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

async fn serve() {
    let broker = FakeBroker::start().await.expect("a fake broker");
    println!("{}", broker.bootstrap_servers());
    let mut last = None;
    for topic in std::io::stdin().lines().map_while(Result::ok) {
        if let Some(last) = last.replace(topic.clone()) {
            broker.delete_topic(&last);
        }
        broker.clear_requests();
        broker.create_topic(&topic, PARTITIONS);
        println!("ready");
    }
}

const SERVE: &str = "--serve";
const PARTITIONS: i32 = 4;
