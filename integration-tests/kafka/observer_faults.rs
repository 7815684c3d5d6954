//! What the observer reads while brokers come and go.

use std::time::Duration;

use lagvalve::kafka::{Connection, Observer};
use lagvalve::lag::{GroupAdmin as _, OffsetSource as _, Snapshot, SourceError};
use tokio::time::Instant;

use crate::support::watching::{ends, lags, partitions, poll_until, watch};
use crate::support::{Cluster, ClusterOptions, Kafka, Test, TestResult, admin, commit, create_topic, produce};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        a_broker_that_restarts_is_found_again,
        a_dead_broker_takes_away_its_own_partitions_only_and_not_for_long,
        one_bad_address_among_good_ones_does_no_harm,
    ]
}

async fn a_broker_that_restarts_is_found_again(kafka: &Kafka) -> TestResult {
    let mut cluster = kafka.own_cluster(&ClusterOptions::default()).await?;
    let bootstrap = cluster.bootstrap();
    create_topic(&admin(&bootstrap)?, "orders", 2, &[]).await?;
    produce(&bootstrap, "orders", 0..2, 10).await?;
    commit(&bootstrap, "billing", "orders", &[(0, 4), (1, 10)]).await?;
    let observer = Observer::connect(&Connection::new(&bootstrap)).await?;
    let watch = watch(&["orders"], &["billing"]);
    let good = |snapshot: &Snapshot| lags(snapshot, "billing", "orders").is_ok_and(|lags| lags == [Ok(6), Ok(0)]);
    assert!(good(&observer.poll(&watch).await?));

    cluster.kill_node(0);
    for _ in 0..2 {
        let begin = Instant::now();
        let error = observer.poll(&watch).await.unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        assert!(matches!(&error, SourceError::Unreachable { bootstrap: tried, .. } if *tried == bootstrap), "{error}");
    }
    assert!(observer.describe(&[watch.groups[0].group.clone()]).await.is_err());

    cluster.restart_node(0).await.map_err(crate::support::Stop::Failed)?;
    poll_until(&observer, &watch, Duration::from_secs(20), good).await?;
    Ok(())
}

async fn a_dead_broker_takes_away_its_own_partitions_only_and_not_for_long(kafka: &Kafka) -> TestResult {
    let mut cluster = kafka.own_cluster(&ClusterOptions { nodes: 3, ..ClusterOptions::default() }).await?;
    let bootstrap = cluster.bootstrap();
    create_topic(&admin(&bootstrap)?, "orders", 6, &[]).await?;
    produce(&bootstrap, "orders", 0..6, 10).await?;
    let groups = ["g0", "g1", "g2", "g3", "g4", "g5"]; // coordinators on all three
    for group in groups {
        commit(&bootstrap, group, "orders", &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]).await?;
    }
    let observer = Observer::connect(&Connection::new(&bootstrap)).await?;
    let watch = watch(&["orders"], &groups);
    let good = |snapshot: &Snapshot| {
        let lag =
            |group: &&str| lags(snapshot, group, "orders").is_ok_and(|lags| lags.iter().flatten().sum::<i64>() == 39);
        ends(snapshot, "orders").is_ok() && groups.iter().all(lag)
    };
    assert!(good(&observer.poll(&watch).await?));

    for number in 0..3 {
        cluster.kill_node(number);
        let killed = Instant::now();
        let (mut partial, mut longest) = (0, Duration::ZERO);
        loop {
            let begin = Instant::now();
            let snapshot = observer.poll(&watch).await?;
            longest = longest.max(begin.elapsed());
            if good(&snapshot) && killed.elapsed() > Duration::from_secs(1) {
                break;
            }
            let read = partitions(&snapshot, "orders")?.iter().filter(|partition| partition.end.is_ok()).count();
            partial += usize::from(read < 6);
            assert!(killed.elapsed() < Duration::from_secs(45), "{snapshot:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!(
            "node {}: whole again after {:?}, {partial} partial polls, longest {longest:?}",
            Cluster::broker_id(number),
            killed.elapsed()
        );
        assert!(longest < Duration::from_secs(7), "{longest:?}");
        cluster.restart_node(number).await.map_err(crate::support::Stop::Failed)?;
        poll_until(&observer, &watch, Duration::from_secs(30), good).await?;
        tokio::time::sleep(Duration::from_secs(3)).await; // in-sync again, or the next loss takes the quorum
    }
    Ok(())
}

async fn one_bad_address_among_good_ones_does_no_harm(kafka: &Kafka) -> TestResult {
    let connection = Connection::new(&format!("127.0.0.1:1,{}", kafka.bootstrap()));
    let begin = Instant::now();
    Observer::connect(&connection).await?;
    assert!(begin.elapsed() < Duration::from_secs(5));
    Ok(())
}
