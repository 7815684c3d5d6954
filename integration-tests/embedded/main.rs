//! The observer against the embedded broker: quick, on every machine, and with faults that a real broker seldom shows.

use std::net::TcpListener;
use std::time::Duration;

use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};
use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::{Connection, Observer, ObserverOptions};
use lagvalve::lag::{GroupAdmin as _, GroupState, OffsetSource as _, ReadFault, Snapshot, SourceError, Unmeasured};
use support::watching::{eager, ends, lags, partitions, poll_until, watch};
use support::{commit, produce};
use tokio::time::Instant;

#[path = "../support/mod.rs"]
mod support;

type Outcome = Result<(), support::Stop>;

async fn cluster(nodes: usize, partitions: i32) -> Result<(FakeBroker, Connection), support::Stop> {
    let broker = FakeBroker::start_cluster(nodes).await?;
    broker.create_topic("orders", partitions);
    let bootstrap = broker.bootstrap_servers();
    produce(&bootstrap, "orders", 0..partitions, 10).await?;
    commit(&bootstrap, "billing", "orders", &(0..partitions).map(|p| (p, 4)).collect::<Vec<_>>()).await?;
    Ok((broker, Connection::new(&bootstrap)))
}

#[tokio::test]
async fn lag_is_what_was_sent_and_not_committed() -> Outcome {
    let (_broker, connection) = cluster(2, 3).await?;
    let observer = Observer::connect(&connection).await?;
    let snapshot = observer.poll(&watch(&["orders"], &["billing", "nobody"])).await?;
    assert_eq!(ends(&snapshot, "orders")?, [10; 3]);
    assert_eq!(lags(&snapshot, "billing", "orders")?, [Ok(6); 3]);
    assert_eq!(lags(&snapshot, "nobody", "orders")?, [Err(Unmeasured::NeverCommitted); 3]);
    let described = observer.describe(&[GroupId::from("billing")]).await?.remove(0)?;
    assert_eq!((described.state, described.members), (GroupState::Empty, 0));
    Ok(())
}

#[tokio::test]
async fn commits_are_asked_for_before_ends() -> Outcome {
    let (broker, connection) = cluster(1, 2).await?;
    let observer = Observer::connect(&connection).await?;
    observer.poll(&watch(&["orders"], &["billing", "nobody"])).await?;
    broker.clear_requests();
    observer.poll(&watch(&["orders"], &["billing", "nobody"])).await?;
    let asked: Vec<ApiKey> = broker.requests().iter().map(|request| request.api_key).collect();
    let last_commit = asked.iter().rposition(|key| *key == ApiKey::OffsetFetch).expect("commits were read");
    let first_end = asked.iter().position(|key| *key == ApiKey::ListOffsets).expect("ends were read");
    assert!(last_commit < first_end, "{asked:?}");
    assert_eq!((broker.request_count(ApiKey::OffsetFetch), broker.request_count(ApiKey::ListOffsets)), (2, 1));
    Ok(())
}

#[tokio::test]
async fn looking_at_a_topic_does_not_create_it() -> Outcome {
    let (broker, connection) = cluster(1, 1).await?;
    let observer = Observer::connect(&connection).await?;
    let snapshot = observer.poll(&watch(&["nowhere", "orders"], &["billing"])).await?;
    assert_eq!(partitions(&snapshot, "nowhere").unwrap_err().fault, ReadFault::TopicMissing);
    assert_eq!(lags(&snapshot, "billing", "orders")?, [Ok(6)]);
    assert!(observer.topic_info(&Topic::from("nowhere")).await.is_err());
    assert_eq!(broker.topic_id("nowhere"), None);
    Ok(())
}

#[tokio::test]
async fn partitions_added_are_found() -> Outcome {
    let (broker, connection) = cluster(1, 1).await?;
    let observer = Observer::connect_with(&connection, eager()).await?;
    let watch = watch(&["orders"], &["billing"]);
    assert_eq!(ends(&observer.poll(&watch).await?, "orders")?.len(), 1);
    broker.add_partitions("orders", 4);
    let found = |snapshot: &Snapshot| ends(snapshot, "orders").is_ok_and(|ends| ends == [10, 0, 0, 0]);
    poll_until(&observer, &watch, Duration::from_secs(5), found).await?;
    Ok(())
}

#[tokio::test]
async fn leaders_and_coordinators_that_move_are_followed() -> Outcome {
    let (broker, connection) = cluster(3, 3).await?;
    let observer = Observer::connect(&connection).await?;
    let watch = watch(&["orders"], &["billing"]);
    for node in [0, 1, 2] {
        for partition in 0..3 {
            broker.set_leader("orders", partition, node);
        }
        broker.set_group_coordinator("billing", node);
        let good = |snapshot: &Snapshot| lags(snapshot, "billing", "orders").is_ok_and(|lags| lags == [Ok(6); 3]);
        poll_until(&observer, &watch, Duration::from_secs(5), good).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_silent_leader_makes_nothing_else_late() -> Outcome {
    // Eight, because the coordinator is looked up at a random one, three times at most.
    let (broker, connection) = cluster(8, 2).await?;
    broker.set_leader("orders", 0, 0);
    broker.set_leader("orders", 1, 1);
    broker.set_group_coordinator("billing", 0);
    let grace = Duration::from_millis(600);
    let options =
        ObserverOptions { poll_timeout: Duration::from_secs(3), straggler_grace: grace, ..Default::default() };
    let observer = Observer::connect_with(&connection, options).await?;
    let watch = watch(&["orders"], &["billing"]);
    observer.poll(&watch).await?;
    broker.on(ApiKey::ListOffsets, |request| if request.node_id == 1 { Control::Silence } else { Control::Pass });
    for _ in 0..3 {
        let begin = Instant::now();
        let snapshot = observer.poll(&watch).await?;
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert_eq!(lags(&snapshot, "billing", "orders")?, [Ok(6), Err(Unmeasured::EndUnknown)]);
        let error = partitions(&snapshot, "orders")?[1].end.clone().unwrap_err();
        assert_eq!(error.fault, ReadFault::Unavailable);
        assert!(error.detail.contains("orders[1]") && error.detail.contains("broker 1"), "{error}");
    }
    broker.clear_hooks();
    let good = |snapshot: &Snapshot| lags(snapshot, "billing", "orders").is_ok_and(|lags| lags == [Ok(6); 2]);
    poll_until(&observer, &watch, Duration::from_secs(10), good).await?;
    Ok(())
}

#[tokio::test]
async fn refusals_of_a_broker_are_errors_in_their_place() -> Outcome {
    let (broker, connection) = cluster(1, 1).await?;
    let options = ObserverOptions { poll_timeout: Duration::from_secs(1), ..eager() };
    let observer = Observer::connect_with(&connection, options).await?;
    let watch = watch(&["orders"], &["billing"]);
    let table = [
        (ApiKey::OffsetFetch, ErrorCode::GroupAuthorizationFailed, ReadFault::Unauthorized),
        (ApiKey::OffsetFetch, ErrorCode::CoordinatorLoadInProgress, ReadFault::Unavailable),
        (ApiKey::FindCoordinator, ErrorCode::CoordinatorNotAvailable, ReadFault::Unavailable),
    ];
    for (api, code, fault) in table {
        broker.on(api, move |_| Control::Error(code));
        let snapshot = observer.poll(&watch).await?;
        let error = snapshot.groups[0].commits.as_ref().unwrap_err();
        assert_eq!(error.fault, fault, "{code:?}: {error}");
        assert!(error.detail.starts_with("group billing: "), "{error}");
        assert_eq!(ends(&snapshot, "orders")?, [10], "the ends are read all the same");
        broker.clear_hooks();
        tokio::time::sleep(Duration::from_millis(1_200)).await; // a late call ends with its time
    }
    broker.on(ApiKey::ListOffsets, |_| Control::Error(ErrorCode::OffsetNotAvailable));
    let snapshot = observer.poll(&watch).await?;
    assert_eq!(lags(&snapshot, "billing", "orders")?, [Err(Unmeasured::EndUnknown)]);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_goes_away_is_an_error_and_comes_back() -> Outcome {
    let (broker, connection) = cluster(1, 1).await?;
    let options = ObserverOptions { poll_timeout: Duration::from_secs(1), ..ObserverOptions::default() };
    let observer = Observer::connect_with(&connection, options).await?;
    let watch = watch(&["orders"], &["billing"]);
    observer.poll(&watch).await?;
    broker.crash(0);
    let error = observer.poll(&watch).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&connection.bootstrap()), "{error}");
    broker.restart(0);
    let good = |snapshot: &Snapshot| lags(snapshot, "billing", "orders").is_ok_and(|lags| lags == [Ok(6)]);
    poll_until(&observer, &watch, Duration::from_secs(10), good).await?;
    Ok(())
}

#[tokio::test]
async fn addresses_where_nobody_answers_are_named_within_ten_seconds() -> Outcome {
    let mute = TcpListener::bind("127.0.0.1:0")?; // takes connections into its backlog and says nothing
    let mute_address = mute.local_addr()?.to_string();
    let table = [
        ("127.0.0.1:1,127.0.0.1:2".to_owned(), "connection refused"),
        (mute_address.clone(), "says nothing"),
        ("no-such-host.invalid:9092".to_owned(), "no-such-host.invalid"),
        ("127.0.0.1".to_owned(), "host:port"),
    ];
    for (bootstrap, words) in table {
        let begin = Instant::now();
        let error = Observer::connect(&Connection::new(&bootstrap)).await.unwrap_err().to_string();
        assert!(begin.elapsed() < Duration::from_secs(10), "{bootstrap}: {:?}", begin.elapsed());
        assert!(error.contains(words), "{error}");
        assert!(bootstrap.split(',').all(|address| error.contains(&format!("{address}:"))), "{error}");
    }
    assert!(Observer::connect(&Connection::new("")).await.unwrap_err().to_string().contains("host:port"));
    Ok(())
}
