//! What a running agent wrote is decided again: its journal through `sim::Replay` and through the command.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use krafka::testing::FakeBroker;
use lagvalve::agent::{Agent, ProtectedGroup, TickRecord, ValveSettings};
use lagvalve::kafka::Connection;
use lagvalve::lag::Isolation;
use lagvalve::producer::Valve;
use lagvalve::sim::{Replay, ReplayLaw};
use lagvalve::telemetry::{Journal, JournalFile};
use serde_json::Value;
use support::{Stop, commit, produce};
use tokio::time::sleep;

#[path = "support/mod.rs"]
mod support;

type Outcome = Result<(), Stop>;

/// One valve on a growing topic under two groups, and one that reads committed and is capped.
fn settings() -> Vec<ValveSettings> {
    let mut orders = ValveSettings::new("orders", vec!["orders".into()]);
    orders.protect = vec![ProtectedGroup::new("billing"), ProtectedGroup::new("nobody")];
    let mut both = ValveSettings::new("both", vec!["payments".into(), "orders".into()]);
    both.protect = vec![ProtectedGroup::new("billing").isolation(Isolation::ReadCommitted)];
    both.max_rate = lagvalve::units::MessagesPerSecond::new(500.0);
    let mut valves = vec![orders, both];
    valves.iter_mut().for_each(|valve| valve.poll_interval = Duration::from_millis(200));
    valves
}

/// As the command keeps it: the tick before the first poll, then each as it comes.
fn keep(valve: &Valve, journal: &Arc<Journal>) -> tokio::task::JoinHandle<()> {
    let (mut ticks, journal) = (valve.subscribe(), Arc::clone(journal));
    tokio::spawn(async move {
        loop {
            let record: Arc<TickRecord> = Arc::clone(&ticks.borrow_and_update());
            journal.record(&record).unwrap();
            if ticks.changed().await.is_err() {
                break;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_a_running_agent_is_decided_again_at_every_tick() -> Outcome {
    let broker = FakeBroker::start().await?;
    broker.create_topic("orders", 3);
    broker.create_topic("payments", 2);
    let bootstrap = broker.bootstrap_servers();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.ndjson");
    let journal = Arc::new(Journal::new(Some(JournalFile::open(&path).unwrap())));
    let agent = Agent::start(Connection::new(&bootstrap), settings());
    let keepers: Vec<_> = agent.valves().iter().map(|valve| keep(valve, &journal)).collect();
    for step in 1..=30_i64 {
        match step {
            12 => drop(broker.add_partitions("orders", 5)),
            18 => {
                // Nothing can be read for a while.
                broker.crash(0);
                sleep(Duration::from_secs(3)).await;
                broker.restart(0);
            }
            _ => {}
        }
        produce(&bootstrap, "orders", 0..if step < 13 { 3 } else { 5 }, 20).await?;
        produce(&bootstrap, "payments", 0..2, 5).await?;
        agent.valves()[0].report_sent(40);
        if step % 4 == 0 {
            let offsets: Vec<(i32, i64)> = (0..3).map(|partition| (partition, 15 * step)).collect();
            commit(&bootstrap, "billing", "orders", &offsets).await?;
        }
        sleep(Duration::from_millis(150)).await;
    }
    agent.close().await;
    for keeper in keepers {
        keeper.await.unwrap();
    }
    let text = fs::read(&path).unwrap();
    let mut replay = Replay::new(vec![ReplayLaw::recorded("lagvalve")], None);
    let mut seen: Vec<TickRecord> = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let tick = replay.line(number, line).map_err(|error| Stop::Failed(error.to_string()))?;
        seen.extend(tick.map(|tick| tick.record));
    }
    let summaries = replay.summaries();
    assert_eq!(summaries.len(), 2);
    for summary in &summaries {
        assert!(summary.whole_ticks >= 10, "{summary:?}");
        assert_eq!((summary.laws[0].differ, summary.restarts, summary.begun_late), (0, 0, 0), "{summary:?}");
    }
    // What was to be tried did happen.
    let ticks_of = |valve: &str| seen.iter().filter(|tick| tick.valve.as_str() == valve).collect::<Vec<_>>();
    let orders = ticks_of("orders");
    assert!(orders.iter().any(|tick| tick.groups[0].partitions.len() == 5), "the topic did not grow");
    assert!(orders.iter().any(|tick| tick.groups[0].lag_messages.is_some_and(|lag| lag > 0.0)), "there was no lag");
    let failed = |tick: &TickRecord| tick.input.as_ref().is_some_and(|input| input.ends_at_ns.is_none());
    assert!(orders.iter().skip_while(|tick| failed(tick)).any(|tick| failed(tick)), "no poll failed");
    Ok(())
}

fn lagvalve(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagvalve"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    heard(lagvalve(args).output().expect("the command starts"))
}

fn heard(Output { status, stdout, stderr }: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

/// A journal that `lagvalve observe` wrote in six seconds.
async fn observed(folder: &Path) -> Result<String, Stop> {
    let broker = FakeBroker::start().await?;
    broker.create_topic("orders", 3);
    let bootstrap = broker.bootstrap_servers();
    produce(&bootstrap, "orders", 0..3, 10).await?;
    commit(&bootstrap, "billing", "orders", &[(0, 4), (1, 4), (2, 4)]).await?;
    let journal = folder.join("night.ndjson").to_string_lossy().into_owned();
    let mut command = lagvalve(&["observe", "-b", &bootstrap, "-t", "orders", "--protect", "billing:2s"]);
    command.args(["--for", "6s", "--journal", &journal]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the command starts");
    let observing = tokio::task::spawn_blocking(move || child.wait_with_output());
    for round in 1..=8_i64 {
        produce(&bootstrap, "orders", 0..3, 200).await?;
        commit(&bootstrap, "billing", "orders", &[(0, 90 * round), (1, 90 * round), (2, 90 * round)]).await?;
        sleep(Duration::from_millis(600)).await;
    }
    let (code, _, said) = heard(observing.await.unwrap().unwrap());
    assert_eq!(code, 0, "{said}");
    Ok(journal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulate_replays_what_observe_wrote() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let journal = observed(folder.path()).await?;
    let text = fs::read_to_string(&journal).unwrap();
    let config: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&config["kind"], &config["settings"]["mode"]), (&"config".into(), &"observe".into()));
    let ticks = text.lines().count() - 1;

    let (code, table, said) =
        run(&["simulate", "--replay", &journal, "--law", "lagvalve", "--law", "spark", "--strict"]);
    assert_eq!(code, 0, "{table}{said}");
    for words in ["valve orders: ", "decides as recorded at every tick", "spark", "open loop", "mean rate"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let (code, json, _) = run(&["simulate", "--replay", &journal, "--target-lag", "20s", "--json"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, ticks + 1), "{json}");
    assert_eq!((&lines[0]["seq"], &lines[0]["law"]), (&1.into(), &"lagvalve".into()));
    assert_eq!(lines[0]["recorded_bound_by"], "observe_only");
    let summary = &lines[ticks];
    assert_eq!((&summary["summary"], &summary["as_recorded"]), (&true.into(), &false.into()), "{json}");
    assert_eq!(summary["same"].as_u64().unwrap() + summary["differ"].as_u64().unwrap(), ticks as u64);

    // A folder as [state] dir keeps it, the older file first; and a pipe.
    let half = text.lines().count() / 2;
    let piece = |lines: Vec<&str>| lines.join("\n") + "\n";
    let first: Vec<&str> = text.lines().take(half).collect();
    let rest: Vec<&str> = text.lines().take(1).chain(text.lines().skip(half)).collect();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("journal.1.ndjson"), piece(first)).unwrap();
    fs::write(state.join("journal.ndjson"), piece(rest)).unwrap();
    let (code, table, said) = run(&["simulate", "--replay", &state.to_string_lossy(), "--strict"]);
    assert!(code == 0 && table.contains(&format!("{ticks} ticks")) && !table.contains("gap"), "{table}{said}");
    let piped = lagvalve(&["simulate", "--replay", "-"]).stdin(fs::File::open(&journal).unwrap()).output().unwrap();
    assert_eq!(heard(piped).0, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_cannot_be_says_what_to_write() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let journal = observed(folder.path()).await?;
    let text = fs::read_to_string(&journal).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name).to_string_lossy().into_owned();
        fs::write(&path, text).unwrap();
        path
    };
    let lines: Vec<&str> = text.lines().collect();
    let late = file("late.ndjson", [&lines[..1], &lines[3..]].concat().join("\n"));
    let torn = file("torn.ndjson", text[..text.len() - 40].to_owned());
    let garbage = file("garbage.ndjson", text.replacen("\"production\":", "production:", 2));
    let changed = file("changed.ndjson", text.replace("\"rate_decided\":\"unlimited\"", "\"rate_decided\":7.0"));
    let empty = file("empty.ndjson", String::new());
    let void = folder.path().join("void").to_string_lossy().into_owned();
    fs::create_dir(&void).unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&["/nonexistent/night.ndjson"], 2, "/nonexistent/night.ndjson"),
        (&[&void], 2, "holds no journal.ndjson"),
        (&[&empty], 2, "has no tick"),
        (&[&garbage], 2, "garbage.ndjson: line 2: no line of a journal"),
        (&[&changed, "--strict"], 1, "decides otherwise than recorded"),
        (&[&late, "--strict"], 1, "begins in the middle"),
        (&[&journal, "--valve", "order"], 2, "it has: orders"),
        (&[&journal, "--law", "oracle"], 2, "a journal does not"),
        (&[&journal, "--law", "static"], 2, "--capacity 2000"),
        (&[&journal, "--law", "lagvalve-hint"], 2, "--capacity 2000"),
        (&[&journal, "--strict", "--target-lag", "5s"], 2, "--law lagvalve"),
        (&[&journal, "--seeds", "3"], 2, "--seeds"),
        (&[&journal, "--plot", "page.html"], 2, "--plot"),
    ];
    for (args, exit, words) in table {
        let (code, out, said) = run(&[&["simulate", "--replay"], *args].concat());
        assert!(code == *exit && said.contains(words), "{args:?}: {code}\n{out}{said}");
    }
    let (code, out, said) = run(&["simulate", "--replay", &torn, "--strict"]);
    assert!(code == 0 && out.contains("1 line torn by a crash"), "{out}{said}");
    let (code, out, said) =
        run(&["simulate", "--replay", &journal, "--law", "static", "--law", "lagvalve-pid", "--capacity", "90"]);
    assert!(code == 0 && out.contains("static") && out.contains("lagvalve-pid"), "{out}{said}");
    Ok(())
}
