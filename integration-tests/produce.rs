//! `lagvalve produce` as a program, against an embedded broker: nothing lost, nothing out of order, every ending said.

#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};
use lagvalve::clock::{Clock, SystemClock};
use program::{Launch, PATIENCE};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_on_the_topic_once_and_in_order() {
    let bench = Bench::new(1).await;
    let input: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let run = bench.produce(&[]).fed(input);
    run.exits(0).says("100,000 records delivered").says("0 rejected");
    let values = bench.values();
    assert_eq!(values.len(), 100_000);
    for (number, value) in values.iter().enumerate() {
        assert_eq!(value, &format!("line {number}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_from_a_field_keep_their_order() {
    let bench = Bench::new(4).await;
    let line = |number: u64| json!({"customer": {"id": format!("c{}", number % 7)}, "seq": number}).to_string() + "\n";
    let path = bench.file("orders.jsonl", &(0..20_000).map(line).collect::<String>());
    bench.produce(&["--key-field", "customer.id", path.to_str().unwrap()]).ends().exits(0);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut records = bench.broker.all_records(TOPIC).unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    for record in records {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let seq = value["seq"].as_u64().unwrap();
        assert_eq!(value["customer"]["id"], key.as_str());
        assert!(seen.insert(seq), "{seq} twice");
        assert!(last.insert(key, seq).is_none_or(|before| before < seq), "{seq} overtaken");
    }
    assert_eq!((seen.len(), last.len()), (20_000, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ndjson_gives_key_value_headers_partition_and_time() {
    let bench = Bench::new(3).await;
    let input = concat!(
        r#"{"key":"k1","value":{"a": 1},"headers":{"trace":"7"},"partition":2,"timestamp":1700000000000}"#,
        "\r\n\n",
        r#"{"key":"k2","value":null,"partition":2}"#,
        "\n",
        r#"{"value":"text","partition":0}"#,
    );
    bench.produce(&["--format", "ndjson"]).fed(input).exits(0).says("3 records delivered");
    let mut records = bench.broker.all_records(TOPIC).unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    let [text, first, tombstone] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((text.partition, text.key.as_deref(), text.value.as_deref()), (0, None, Some(&b"text"[..])));
    assert_eq!((first.partition, first.timestamp), (2, 1_700_000_000_000));
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k1"[..]), Some(&b"{\"a\": 1}"[..])));
    assert_eq!(first.headers.len(), 1);
    assert_eq!((tombstone.key.as_deref(), tombstone.value.as_deref()), (Some(&b"k2"[..]), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_and_plain_inputs_follow_each_other() {
    let bench = Bench::new(1).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"a\nb\n").unwrap();
    let gz = bench.bytes("1.gz", &encoder.finish().unwrap());
    let zst = bench.bytes("2.zst", &zstd::encode_all(&b"c\nd"[..], 1).unwrap());
    let files = [gz.to_str().unwrap(), "-", zst.to_str().unwrap()];
    bench.produce(&files).fed("from a pipe\n").exits(0);
    assert_eq!(bench.values(), ["a", "b", "from a pipe", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_stops_with_its_place_and_the_run_can_be_resumed() {
    let bench = Bench::new(1).await;
    let good = bench.file("a.ndjson", "{\"value\":1}\n{\"value\":2}\n");
    let path = bench.file("b.ndjson", "{\"value\":3}\n{\"valeu\":4}\n{\"value\":5}\n");
    let arguments = ["--format", "ndjson", good.to_str().unwrap(), path.to_str().unwrap()];
    let run = bench.produce(&arguments).ends();
    run.exits(1).says("b.ndjson, line 2: unknown field `valeu`").says("--skip-lines 3").says("--rejects");
    assert_eq!(bench.values(), ["1", "2", "3"], "what stands before it is delivered");

    bench.file("b.ndjson", "{\"value\":3}\n{\"value\":4}\n{\"value\":5}\n");
    let resumed = [&arguments[..], &["--skip-lines", "3"]].concat();
    bench.produce(&resumed).ends().exits(0);
    assert_eq!(bench.values(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_lines_go_to_the_rejects() {
    let bench = Bench::new(1).await;
    let rejects = bench.path("rejects");
    let input = "{\"value\":1}\nnonsense\n{\"value\":2}\n{\"key\":\"k\"}\n";
    let arguments = ["--format", "ndjson", "--rejects", rejects.to_str().unwrap(), "--json"];
    let run = bench.produce(&arguments).fed(input);
    run.exits(0);
    let summary = run.summary();
    assert_eq!(
        (&summary["outcome"], &summary["delivered"], &summary["rejected"]),
        (&json!("done"), &json!(2), &json!(2))
    );
    assert_eq!(bench.values(), ["1", "2"]);
    let kept = rejected(&rejects);
    assert_eq!(kept.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!((&kept[0]["text"], &kept[0]["file"]), (&json!("nonsense"), &json!("standard input")));
    assert!(kept[1]["reason"].as_str().unwrap().contains("no \"value\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_behind_the_rejects_stops_the_run() {
    let bench = Bench::new(1).await;
    let run = bench
        .produce(&["--format", "ndjson", "--rejects", "/dev/full"])
        .fed("{\"value\":1}\nnonsense\n{\"value\":2}\n");
    run.exits(1).says("/dev/full: No space left on device").says("--skip-lines 1").says("make room");
    assert_eq!(bench.values(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_too_large_for_the_client_is_refused_alone() {
    let bench = Bench::new(1).await;
    let rejects = bench.path("rejects");
    let input = format!("first\n{}\nlast\n", "x".repeat(1_200_000));
    let stopped = bench.produce(&[]).fed(input.clone());
    stopped.exits(1).says("line 2: the record is larger than allowed").says("message.max.bytes").says("--skip-lines 1");
    assert_eq!(bench.values(), ["first"]);
    let arguments = ["--rejects", rejects.to_str().unwrap(), "--skip-lines", "1"];
    bench.produce(&arguments).fed(input).exits(0).says("1 rejected");
    assert_eq!(bench.values(), ["first", "last"]);
    assert_eq!(rejected(&rejects)[0]["text"].as_str().unwrap().len(), 1_200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_of_a_refused_record_are_sent_again() {
    let bench = Bench::new(1).await;
    // The first request is refused as a whole, as brokers do; sent alone every record passes but one.
    bench.broker.on_once(ApiKey::Produce, |_| Control::Error(ErrorCode::MessageTooLarge));
    let rejects = bench.path("rejects");
    let input: String = (0..50).map(|number| format!("{number}\n")).collect();
    let run = bench.produce(&["--rejects", rejects.to_str().unwrap()]).fed(input);
    run.exits(0).says("50 records delivered").says("sent a second time");
    let values: HashSet<String> = bench.values().into_iter().collect();
    assert_eq!(values.len(), 50);
    assert!(rejected(&rejects).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_delivers_what_is_on_its_way_and_says_where_to_resume() {
    let bench = Bench::new(4).await;
    let input: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let path = bench.file("lines", &input);
    let arguments = ["--max-rate", "2000", "--json", path.to_str().unwrap()];
    let mut running = bench.produce(&arguments).start();
    running.line_with("\"delivered\":");
    running.signal("-INT");
    let run = running.ends();
    run.exits(130).says("resume with --skip-lines ");
    let summary = run.summary();
    assert_eq!((&summary["outcome"], &summary["in_doubt"]), (&json!("interrupted"), &json!(0)));
    let delivered = summary["delivered"].as_u64().unwrap();
    assert!(delivered > 0 && delivered < 100_000, "{delivered}");
    assert_eq!(bench.values().len() as u64, delivered);
    let skip = summary["resume_skip_lines"].to_string();
    bench.produce(&["--skip-lines", &skip, path.to_str().unwrap()]).ends().exits(0);
    bench.holds_each_once(100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ctrl_c_ends_at_once_and_names_what_is_in_doubt() {
    let bench = Bench::new(1).await;
    bench.broker.on(ApiKey::Produce, |_| Control::Silence);
    let mut running = bench.produce(&["--max-rate", "100", "--json"]).start();
    running.write("a\nb\nc\n");
    running.line_with("\"in_flight\":3");
    running.signal("-INT");
    running.error_line_with("3 records are on their way");
    let before = SystemClock.now();
    running.signal("-INT");
    let run = running.ends();
    run.exits(130).says("--skip-lines 0");
    assert!(SystemClock.now().since(before) < Duration::from_secs(3));
    assert_eq!(run.summary()["in_doubt"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_continues_after_a_kill() {
    let bench = Bench::new(2).await;
    let input: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let path = bench.file("lines", &input);
    let checkpoint = bench.path("checkpoint");
    let flags = ["--checkpoint", checkpoint.to_str().unwrap(), path.to_str().unwrap()];
    let mut running = bench.produce(&[&flags[..], &["--max-rate", "4000", "--json"]].concat()).start();
    running.line_with("\"settled_lines\":");
    running.line_with("\"settled_lines\":");
    running.signal("-KILL");
    running.ends();
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&checkpoint).unwrap()).unwrap();
    let kept = kept["lines"].as_u64().unwrap();
    assert!(kept > 0 && kept <= bench.values().len() as u64);
    bench.produce(&flags).ends().exits(0);
    let seen: HashSet<String> = bench.values().into_iter().collect();
    assert_eq!(seen.len(), 20_000, "none is lost");
    let run = bench.produce(&flags).ends();
    run.exits(0).says("0 records delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_output_does_not_stop_the_records() {
    let bench = Bench::new(1).await;
    let mut running = bench.produce(&["--json", "--max-rate", "1000"]).start();
    running.write(&"line\n".repeat(2_500));
    running.line_with("progress");
    running.close_output();
    let run = running.ends();
    run.exits(0).says("standard output was closed");
    assert_eq!(bench.values().len(), 2_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_is_not_held_up_and_not_read_ahead() {
    let bench = Bench::new(1).await;
    let mut running = bench.produce(&[]).start();
    running.write("first\n");
    bench.waits_for(1).await;
    running.write("second\nthird");
    bench.waits_for(2).await;
    let run = running.ends();
    run.exits(0).says("3 records delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_topic_is_named_and_not_created() {
    let bench = Bench::new(1).await;
    let run = bench.program(&["-t", "ordres", "--unprotected"]).fed("a\n");
    run.exits(1).says("topic ordres does not exist").says("kafka-topics.sh --create --topic ordres");
    assert!(bench.broker.with_state(|state| !state.topics.contains_key("ordres")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_port_exits_4_within_ten_seconds() {
    let before = SystemClock.now();
    let run = Launch::new(&["-b", "127.0.0.1:24999", "-t", TOPIC, "--unprotected"]).fed("a\n");
    run.exits(4).says("127.0.0.1:24999");
    assert!(SystemClock.now().since(before) < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_group_is_waited_for() {
    let bench = Bench::new(1).await;
    let run = bench.program(&["-t", TOPIC, "--protect", "nobody", "--wait", "2s"]).fed("a\n");
    run.exits(4).says("waiting for group nobody, which does not exist yet").says("did not appear within");
    assert!(bench.values().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_exits_3_and_says_where_to_resume() {
    let bench = Bench::new(1).await;
    let run = bench.produce(&["--max-rate", "100", "--deadline", "2s"]).fed("x\n".repeat(1_000));
    run.exits(3).says("--deadline 2.0s").says("--skip-lines ");
    let delivered = bench.values().len();
    assert!((100..300).contains(&delivered), "{delivered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_needs_no_broker() {
    let run = Launch::new(&["--dry-run", "--format", "ndjson"]).fed("{\"value\":1}\n\n");
    run.exits(0).says("1 records (1 bytes), 0 rejected, 1 blank lines");
    Launch::new(&["--dry-run", "--format", "ndjson"]).fed("x\n").exits(1).says("standard input, line 1");
    Launch::new(&["-t", "a"]).fed("").exits(2).says("-b HOST:PORT").says("--protect GROUP");
    Launch::new(&["--dry-run", "no-such-file"]).fed("").exits(2).says("no-such-file: No such file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maximum_rate_is_kept() {
    let bench = Bench::new(1).await;
    let run = bench.produce(&["--max-rate", "1000", "--json"]).fed("x\n".repeat(4_000));
    run.exits(0);
    let seconds = run.summary()["seconds"].as_f64().unwrap();
    assert!((3.5..5.5).contains(&seconds), "{seconds}");
}

const TOPIC: &str = "orders";

/// A broker with a topic, and a folder.
struct Bench {
    broker: FakeBroker,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(partitions: i32) -> Self {
        let broker = FakeBroker::start().await.unwrap();
        broker.create_topic(TOPIC, partitions);
        Self { broker, folder: tempfile::tempdir().unwrap() }
    }

    /// `produce` into the topic, without a group.
    fn produce(&self, arguments: &[&str]) -> Launch {
        self.program(&[&["-t", TOPIC, "--unprotected"], arguments].concat())
    }

    fn program(&self, arguments: &[&str]) -> Launch {
        let servers = self.broker.bootstrap_servers();
        Launch::new(&[&["-b", servers.as_str()], arguments].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        self.bytes(name, content.as_bytes())
    }

    fn bytes(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Values by partition and offset.
    fn values(&self) -> Vec<String> {
        let mut records = self.broker.all_records(TOPIC).unwrap();
        records.sort_by_key(|record| (record.partition, record.offset));
        records.into_iter().map(|record| String::from_utf8_lossy(&record.value.unwrap()).into_owned()).collect()
    }

    async fn waits_for(&self, count: usize) {
        let arrived = async {
            while self.values().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.expect("the records arrive");
    }

    fn holds_each_once(&self, count: usize) {
        let values = self.values();
        let distinct: HashSet<&String> = values.iter().collect();
        assert_eq!((values.len(), distinct.len()), (count, count));
    }
}

fn rejected(path: &Path) -> Vec<Value> {
    let content = std::fs::read_to_string(path).unwrap();
    content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
