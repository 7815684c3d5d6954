//! What the observer reads from a healthy cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::admin::{AlterConsumerGroupOffsetsOptions, TopicPartition as Partition};
use lagvalve::clock::{Clock as _, SystemClock};
use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::{Connection, Observer};
use lagvalve::lag::{GroupAdmin as _, GroupKind, GroupState, Isolation, OffsetSource as _, ReadFault, Unmeasured};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::watching::{eager, ends, lags, partitions, poll_until, watch};
use crate::support::{
    ClusterOptions, Jars, Kafka, Stop, Test, TestResult, admin, client, commit, create_topic, produce,
};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        lag_of_a_classic_group_is_what_kafka_says,
        lag_of_a_kip848_group_is_what_kafka_says,
        lag_after_transactions_is_what_kafka_says,
        lag_on_three_nodes_is_what_kafka_says,
        a_group_without_commits_has_no_lag_rather_than_zero,
        an_unknown_group_has_no_commits_and_is_missing,
        an_unknown_topic_is_missing_and_stays_so,
        an_open_transaction_holds_back_the_last_stable_offset,
        partitions_added_are_found,
        a_recreated_topic_has_another_id_and_new_ends,
        deleted_records_move_the_log_start,
        topic_settings_are_told,
        retention_is_told_with_the_size_of_a_record,
        a_hundred_groups_cost_two_requests_each,
    ]
}

async fn lag_of_a_classic_group_is_what_kafka_says(kafka: &Kafka) -> TestResult {
    agrees_with_kafka(kafka, "classic", GroupKind::Classic).await
}

async fn lag_of_a_kip848_group_is_what_kafka_says(kafka: &Kafka) -> TestResult {
    if !kafka.has_consumer_protocol() {
        return Err(Stop::Ignored("librdkafka's KIP-848 consumer needs Kafka 4.0".to_owned()));
    }
    agrees_with_kafka(kafka, "consumer", GroupKind::Consumer).await
}

async fn agrees_with_kafka(kafka: &Kafka, protocol: &str, kind: GroupKind) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name(protocol));
    kafka.create_topic(&topic, 4).await?;
    kafka.produce(&topic, 0..4, 100).await?;
    let _member = kafka.consume(&group, &topic, 350, protocol).await?;

    let observer = Observer::connect(&kafka.connection()).await?;
    let before = SystemClock.now();
    let snapshot = observer.poll(&watch(&[&topic], &[&group])).await?;
    let (commits_at, ends_at) = (snapshot.groups[0].read_at, snapshot.topics[0].read_at);
    assert!(before <= commits_at && commits_at <= ends_at && ends_at <= SystemClock.now());
    assert!(snapshot.topics[0].id.is_some());
    let lags = lags(&snapshot, &group, &topic)?;
    assert_eq!(lags.iter().flatten().sum::<i64>(), 50);

    let described = observer.describe(&[GroupId::from(group.as_str())]).await?.remove(0)?;
    assert_eq!((described.state, described.members, described.kind), (GroupState::Stable, 1, kind));
    assert_eq!(described.assigned_partitions, 4);

    assert_eq!(measured(&lags), said_by_kafka(kafka.jars()?, kafka.bootstrap(), &group, &topic).await?);
    Ok(())
}

async fn lag_after_transactions_is_what_kafka_says(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("careful"));
    kafka.create_topic(&topic, 4).await?;
    kafka.produce(&topic, 0..4, 20).await?;
    let mut config = client(kafka.bootstrap());
    config.set("transactional.id", kafka.name("writer"));
    let (name, patience) = (topic.clone(), Duration::from_secs(30));
    let written = tokio::task::spawn_blocking(move || -> Result<(), Stop> {
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(patience)?;
        for commits in [true, false, true] {
            producer.begin_transaction()?;
            for number in 0..100 {
                let record = BaseRecord::<(), str>::to(&name).partition(number % 4).payload("x");
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(patience)?;
            if commits { producer.commit_transaction(patience)? } else { producer.abort_transaction(patience)? }
        }
        Ok(())
    });
    written.await??;
    // 280 can be read; offsets count the aborted ones and the markers too.
    let _member = kafka.consume(&group, &topic, 150, "classic").await?;
    let observer = Observer::connect(&kafka.connection()).await?;
    let mut watch = watch(&[&topic], &[&group]);
    watch.groups[0].isolation = Isolation::ReadCommitted;
    let snapshot = observer.poll(&watch).await?;
    let end = 20 + 75 + 3;
    for partition in partitions(&snapshot, &topic)? {
        assert_eq!(partition.last_stable, Some(partition.end.clone()), "no transaction is open");
        assert_eq!(partition.end, Ok(end));
    }
    let lags = lags(&snapshot, &group, &topic)?;
    assert_eq!(measured(&lags), said_by_kafka(kafka.jars()?, kafka.bootstrap(), &group, &topic).await?);
    // The reader may not have come to every partition: of those nothing is read. No other reason for a lag to be unknown.
    let unread = lags.iter().map(|lag| if *lag == Err(Unmeasured::NeverCommitted) { Ok(end) } else { *lag });
    assert!(unread.sum::<Result<i64, _>>().is_ok_and(|unread| unread >= 130), "{lags:?}");
    Ok(())
}

async fn lag_on_three_nodes_is_what_kafka_says(kafka: &Kafka) -> TestResult {
    let cluster = kafka.own_cluster(&ClusterOptions { nodes: 3, ..ClusterOptions::default() }).await?;
    let bootstrap = cluster.bootstrap();
    create_topic(&admin(&bootstrap)?, "orders", 12, &[]).await?;
    produce(&bootstrap, "orders", 0..12, 30).await?;
    let groups = ["billing", "search", "audit", "mail"];
    for (group, read) in groups.iter().zip([3, 11, 30, 0]) {
        commit(&bootstrap, group, "orders", &(0..12).map(|place| (place, read)).collect::<Vec<_>>()).await?;
    }
    let observer = Observer::connect(&Connection::new(&bootstrap)).await?;
    let snapshot = observer.poll(&watch(&["orders"], &groups)).await?;
    for (group, lag) in groups.iter().zip([27, 19, 0, 30]) {
        let lags = lags(&snapshot, group, "orders")?;
        assert_eq!(lags, [Ok(lag); 12], "{group}");
        assert_eq!(measured(&lags), said_by_kafka(cluster.jars(), &bootstrap, group, "orders").await?, "{group}");
    }
    Ok(())
}

/// Partition → lag, of those that have one.
fn measured(lags: &[Result<i64, Unmeasured>]) -> BTreeMap<i32, i64> {
    let known = lags.iter().enumerate().filter_map(|(partition, lag)| Some((partition as i32, (*lag).ok()?)));
    known.collect()
}

/// Partition → lag, by `kafka-consumer-groups.sh --describe`; partitions without commit are not in it.
async fn said_by_kafka(jars: &Jars, bootstrap: &str, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, Stop> {
    let (jars, bootstrap, group) = (jars.clone(), bootstrap.to_owned(), group.to_owned());
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let asking = tokio::task::spawn_blocking(move || {
        jars.output(class, ["--bootstrap-server", &bootstrap, "--describe", "--group", &group])
    });
    let table = asking.await?.map_err(Stop::Failed)?;
    let mut lags = BTreeMap::new();
    for row in table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        if let [_, name, partition, _, _, lag, ..] = row[..]
            && name == topic
            && let (Ok(partition), Ok(lag)) = (partition.parse(), lag.parse())
        {
            lags.insert(partition, lag);
        }
    }
    Ok(lags)
}

async fn a_group_without_commits_has_no_lag_rather_than_zero(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("silent"));
    kafka.create_topic(&topic, 2).await?;
    kafka.produce(&topic, 0..2, 5).await?;
    let mut config = client(kafka.bootstrap());
    config.set("group.id", &group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: StreamConsumer = config.create()?;
    consumer.subscribe(&[&topic])?;
    tokio::time::timeout(Duration::from_secs(20), consumer.recv()).await??;

    let observer = Observer::connect(&kafka.connection()).await?;
    let snapshot = observer.poll(&watch(&[&topic], &[&group])).await?;
    assert_eq!(lags(&snapshot, &group, &topic)?, [Err(Unmeasured::NeverCommitted); 2]);
    let described = observer.describe(&[GroupId::from(group.as_str())]).await?.remove(0)?;
    assert_eq!((described.state, described.members), (GroupState::Stable, 1));
    Ok(())
}

async fn an_unknown_group_has_no_commits_and_is_missing(kafka: &Kafka) -> TestResult {
    let (topic, group, known) = (kafka.name("orders"), kafka.name("nobody"), kafka.name("somebody"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 3).await?;
    kafka.commit(&known, &topic, &[(0, 1)]).await?;
    let observer = Observer::connect(&kafka.connection()).await?;
    let snapshot = observer.poll(&watch(&[&topic], &[&group, &known])).await?;
    assert_eq!(lags(&snapshot, &group, &topic)?, [Err(Unmeasured::NeverCommitted)]);
    assert_eq!(lags(&snapshot, &known, &topic)?, [Ok(2)]);
    let described = observer.describe(&[GroupId::from(group.as_str()), GroupId::from(known.as_str())]).await?;
    let states: Vec<GroupState> =
        described.into_iter().map(|group| group.map(|group| group.state)).collect::<Result<_, _>>()?;
    assert_eq!(states, [GroupState::Missing, GroupState::Empty], "commits alone make a group that is empty");
    Ok(())
}

async fn an_unknown_topic_is_missing_and_stays_so(kafka: &Kafka) -> TestResult {
    let (topic, other, group) = (kafka.name("nowhere"), kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&other, 1).await?;
    kafka.produce(&other, 0..1, 3).await?;
    kafka.commit(&group, &other, &[(0, 1)]).await?;
    let observer = Observer::connect(&kafka.connection()).await?;
    for _ in 0..3 {
        let snapshot = observer.poll(&watch(&[&topic, &other, "no/topic"], &[&group])).await?;
        assert_eq!(partitions(&snapshot, &topic).unwrap_err().fault, ReadFault::TopicMissing);
        assert_eq!(partitions(&snapshot, "no/topic").unwrap_err().fault, ReadFault::TopicMissing);
        assert_eq!(lags(&snapshot, &group, &other)?, [Ok(2)], "the rest is kept");
    }
    let missing = observer.topic_info(&Topic::from(topic.as_str())).await.unwrap_err();
    assert!(missing.detail.contains(&topic) && missing.detail.contains("does not exist"), "{missing}");
    let alone = observer.poll(&watch(&[&topic], &[])).await?;
    assert_eq!(partitions(&alone, &topic).unwrap_err().fault, ReadFault::TopicMissing);

    // It appears: found at once.
    kafka.create_topic(&topic, 2).await?;
    let found = |snapshot: &lagvalve::lag::Snapshot| ends(snapshot, &topic).is_ok_and(|ends| ends == [0, 0]);
    poll_until(&observer, &watch(&[&topic], &[]), Duration::from_secs(5), found).await?;
    Ok(())
}

async fn an_open_transaction_holds_back_the_last_stable_offset(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 5).await?;
    let mut config = client(kafka.bootstrap());
    config.set("transactional.id", kafka.name("writer"));
    let (name, patience) = (topic.clone(), Duration::from_secs(30));
    let open = tokio::task::spawn_blocking(move || -> Result<BaseProducer, Stop> {
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(patience)?;
        producer.begin_transaction()?;
        for _ in 0..3 {
            producer.send(BaseRecord::<(), str>::to(&name).partition(0).payload("x")).map_err(|(error, _)| error)?;
        }
        producer.flush(patience)?;
        Ok(producer)
    });
    let producer = open.await??;

    let observer = Observer::connect(&kafka.connection()).await?;
    let mut watch = watch(&[&topic], &[&group]);
    let plain = observer.poll(&watch).await?;
    assert_eq!(partitions(&plain, &topic)?[0].last_stable, None, "nobody watches it");
    watch.groups[0].isolation = Isolation::ReadCommitted;
    let snapshot = observer.poll(&watch).await?;
    let partition = &partitions(&snapshot, &topic)?[0];
    assert_eq!((partition.end.clone(), partition.last_stable.clone()), (Ok(8), Some(Ok(5))));

    tokio::task::spawn_blocking(move || producer.commit_transaction(patience)).await??;
    // Three records and the marker of the commit.
    let done = |snapshot: &lagvalve::lag::Snapshot| {
        partitions(snapshot, &topic).is_ok_and(|partitions| partitions[0].last_stable == Some(Ok(9)))
    };
    poll_until(&observer, &watch, Duration::from_secs(10), done).await?;
    Ok(())
}

async fn partitions_added_are_found(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 4).await?;
    kafka.commit(&group, &topic, &[(0, 4)]).await?;
    let observer = Observer::connect_with(&kafka.connection(), eager()).await?;
    let watch = watch(&[&topic], &[&group]);
    assert_eq!(lags(&observer.poll(&watch).await?, &group, &topic)?, [Ok(0)]);
    kafka.add_partitions(&topic, 3).await?;
    kafka.produce(&topic, 2..3, 7).await?;
    let never = Err(Unmeasured::NeverCommitted);
    let found = |snapshot: &lagvalve::lag::Snapshot| {
        lags(snapshot, &group, &topic).is_ok_and(|lags| lags == [Ok(0), never, never])
    };
    let snapshot = poll_until(&observer, &watch, Duration::from_secs(10), found).await?;
    assert_eq!(ends(&snapshot, &topic)?, [4, 0, 7]);
    Ok(())
}

async fn a_recreated_topic_has_another_id_and_new_ends(kafka: &Kafka) -> TestResult {
    let topic = kafka.name("orders");
    kafka.create_topic(&topic, 2).await?;
    kafka.produce(&topic, 0..2, 9).await?;
    let observer = Observer::connect_with(&kafka.connection(), eager()).await?;
    let watch = watch(&[&topic], &[]);
    let old = observer.poll(&watch).await?;
    assert_eq!(ends(&old, &topic)?, [9, 9]);
    kafka.delete_topic(&topic).await?;
    let gone = |snapshot: &lagvalve::lag::Snapshot| {
        partitions(snapshot, &topic).is_err_and(|error| error.fault == ReadFault::TopicMissing)
    };
    poll_until(&observer, &watch, Duration::from_secs(10), gone).await?;
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 2).await?;
    let back = |snapshot: &lagvalve::lag::Snapshot| ends(snapshot, &topic).is_ok_and(|ends| ends == [2]);
    let new = poll_until(&observer, &watch, Duration::from_secs(10), back).await?;
    assert_ne!(old.topics[0].id, new.topics[0].id);
    Ok(())
}

async fn deleted_records_move_the_log_start(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 50).await?;
    kafka.commit(&group, &topic, &[(0, 10)]).await?;
    let observer = Observer::connect_with(&kafka.connection(), eager()).await?;
    let watch = watch(&[&topic], &[&group]);
    let snapshot = observer.poll(&watch).await?;
    assert_eq!(partitions(&snapshot, &topic)?[0].start, Some(0));
    let admin = krafka::Kafka::builder(kafka.bootstrap()).connect().await?.admin();
    admin
        .delete_records([(Partition::new(topic.as_str(), 0), 30)], krafka::admin::DeleteRecordsOptions::default())
        .await?;
    let moved = |snapshot: &lagvalve::lag::Snapshot| {
        partitions(snapshot, &topic).is_ok_and(|partitions| partitions[0].start == Some(30))
    };
    let snapshot = poll_until(&observer, &watch, Duration::from_secs(5), moved).await?;
    assert_eq!(lags(&snapshot, &group, &topic)?, [Ok(20)], "what is deleted is no lag");
    Ok(())
}

async fn topic_settings_are_told(kafka: &Kafka) -> TestResult {
    let topic = kafka.name("orders");
    let admin = crate::support::admin(kafka.bootstrap())?;
    let settings = [("retention.ms", "3600000"), ("cleanup.policy", "compact,delete")];
    create_topic(&admin, &topic, 3, &settings).await?;
    let observer = Observer::connect(&kafka.connection()).await?;
    let info = observer.topic_info(&Topic::from(topic.as_str())).await?;
    assert_eq!((info.partitions, info.retention_ms, info.retention_bytes), (3, Some(3_600_000), Some(-1)));
    assert_eq!((info.compacted, info.settings_error), (Some(true), None));
    assert!(info.id.is_some());
    Ok(())
}

async fn retention_is_told_with_the_size_of_a_record(kafka: &Kafka) -> TestResult {
    let topic = kafka.name("orders");
    let admin = crate::support::admin(kafka.bootstrap())?;
    create_topic(&admin, &topic, 2, &[("retention.ms", "3600000"), ("retention.bytes", "50000000")]).await?;
    kafka.produce(&topic, 0..2, 500).await?;
    let observer = Observer::connect(&kafka.connection()).await?;
    let sized = |snapshot: &lagvalve::lag::Snapshot| {
        snapshot.topics[0].retention.is_some_and(|retention| retention.bytes_per_message.is_some())
    };
    let snapshot = poll_until(&observer, &watch(&[&topic], &[]), Duration::from_secs(10), sized).await?;
    let retention = snapshot.topics[0].retention.expect("it was told");
    assert_eq!((retention.seconds, retention.bytes), (Some(3600.0), Some(50e6)));
    // A few bytes of payload each, and their share of the batches' headers.
    assert!(retention.bytes_per_message.is_some_and(|bytes| (1.0..=200.0).contains(&bytes)), "{retention:?}");
    Ok(())
}

async fn a_hundred_groups_cost_two_requests_each(kafka: &Kafka) -> TestResult {
    const PARTITIONS: i32 = 1_000;
    let topic = kafka.name("wide");
    kafka.create_topic(&topic, PARTITIONS).await?;
    let groups: Vec<String> = (0..100).map(|number| kafka.name(&format!("group-{number}"))).collect();
    let admin = krafka::Kafka::builder(kafka.bootstrap()).connect().await?.admin();
    for group in &groups {
        let offsets = (0..PARTITIONS).map(|partition| (Partition::new(topic.as_str(), partition), 0));
        let options = AlterConsumerGroupOffsetsOptions::default();
        for (_, committed) in admin.alter_consumer_group_offsets(group.as_str(), offsets, options).await? {
            committed?;
        }
    }
    let observer = Observer::connect(&kafka.connection()).await?;
    let watch = watch(&[&topic], &groups.iter().map(String::as_str).collect::<Vec<_>>());
    // A busy broker needs a moment before it leads a thousand new partitions.
    let whole = |snapshot: &lagvalve::lag::Snapshot| ends(snapshot, &topic).is_ok();
    poll_until(&observer, &watch, Duration::from_secs(60), whole).await?;
    let mut took = Vec::new();
    for _ in 0..6 {
        let (before, begin) = (observer.cost(), SystemClock.now());
        let snapshot = observer.poll(&watch).await?;
        took.push((SystemClock.now().since(begin), observer.cost().requests - before.requests));
        for group in &groups {
            let lags = lags(&snapshot, group, &topic)?;
            let wrong = lags.iter().enumerate().find(|(_, lag)| **lag != Ok(0));
            assert_eq!(
                (lags.len(), wrong),
                (PARTITIONS as usize, None),
                "{group}: {:?}",
                ends(&snapshot, &topic).err()
            );
        }
    }
    let (fastest, requests) = took.iter().copied().min().unwrap_or_default();
    println!("100 groups x 1,000 partitions: {fastest:?} a poll, {requests} requests; all: {took:?}");
    assert_eq!(requests, 201, "coordinator and offsets a group, ends a leader");
    assert!(fastest < Duration::from_secs(2), "{fastest:?}"); // the figure itself is a bench's business
    Ok(())
}
