//! What the loop makes of a real cluster's odd moments: an observer's polls, tick by tick.

use std::collections::HashMap;
use std::time::Duration;

use lagvalve::agent::{GroupVerdict, TickInput, ValveLoop};
use lagvalve::clock::{Clock as _, SystemClock};
use lagvalve::id::Topic;
use lagvalve::kafka::Observer;
use lagvalve::lag::{Isolation, OffsetSource as _, Watch};
use lagvalve::{ProtectedGroup, TickRecord, ValveSettings};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::time::{Instant, sleep};

use crate::support::watching::watch;
use crate::support::{Kafka, Stop, Test, TestResult, client};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![a_topic_made_anew_is_never_lag_zero, a_hanging_transaction_is_told_from_a_slow_group]
}

/// One valve over one topic and one group, turned by hand.
struct Turned {
    observer: Observer,
    watch: Watch,
    valve: ValveLoop,
}

impl Turned {
    async fn new(kafka: &Kafka, topic: &str, group: &str, isolation: Isolation) -> Result<Self, Stop> {
        let mut watch = watch(&[topic], &[group]);
        watch.groups[0].isolation = isolation;
        let mut settings = ValveSettings::new("backfill", vec![Topic::from(topic)]);
        settings.protect = vec![ProtectedGroup::new(group).isolation(isolation)];
        settings.poll_interval = POLL;
        Ok(Self { observer: Observer::connect(&kafka.connection()).await?, watch, valve: ValveLoop::new(settings) })
    }

    async fn turn(&mut self) -> TickRecord {
        let snapshot = self.observer.poll(&self.watch).await.ok();
        self.valve.tick(&TickInput {
            now: SystemClock.now(),
            unix_millis: SystemClock.unix_millis(),
            snapshot: snapshot.as_ref(),
            descriptions: &HashMap::new(),
            sent_total: 0,
        })
    }

    /// Turns until `good`, for 20 s at most; every record on the way must be `fair`.
    async fn until(
        &mut self,
        what: &str,
        fair: impl Fn(&TickRecord) -> bool,
        good: impl Fn(&TickRecord) -> bool,
    ) -> Result<TickRecord, Stop> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let record = self.turn().await;
            assert!(fair(&record), "{what}: {record:?}");
            if good(&record) {
                return Ok(record);
            }
            if Instant::now() > deadline {
                return Err(Stop::Failed(format!("{what}: {record:?}")));
            }
            sleep(POLL).await;
        }
    }
}

/// The observer asks for topics every 30 s: that this one is another is found by its log, which went back.
async fn a_topic_made_anew_is_never_lag_zero(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 2).await?;
    kafka.produce(&topic, 0..2, 400).await?;
    kafka.commit(&group, &topic, &[(0, 300), (1, 300)]).await?;
    let mut turned = Turned::new(kafka, &topic, &group, Isolation::ReadUncommitted).await?;
    let lag = |record: &TickRecord| record.groups[0].committed_lag;
    turned.until("before", |_| true, |record| lag(record) == Some(200)).await?;

    kafka.delete_topic(&topic).await?;
    kafka.create_topic(&topic, 2).await?;
    kafka.produce(&topic, 0..2, 50).await?;
    let fair = |record: &TickRecord| lag(record).is_none_or(|lag| lag == 200);
    let anew = |record: &TickRecord| record.groups[0].state == GroupVerdict::NeverCommitted;
    let record = turned.until("made anew", fair, anew).await?;
    assert_eq!(lag(&record), None);

    kafka.commit(&group, &topic, &[(0, 20), (1, 20)]).await?;
    let fair = |record: &TickRecord| lag(record) != Some(0);
    turned.until("committed on the new one", fair, |record| lag(record) == Some(60)).await?;
    Ok(())
}

async fn a_hanging_transaction_is_told_from_a_slow_group(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 40).await?;
    kafka.commit(&group, &topic, &[(0, 10)]).await?;
    let mut turned = Turned::new(kafka, &topic, &group, Isolation::ReadCommitted).await?;
    let lag = |record: &TickRecord| record.groups[0].committed_lag;
    turned.until("before", |_| true, |record| lag(record) == Some(30)).await?;

    let open = hang(kafka, &topic).await?;
    kafka.commit(&group, &topic, &[(0, 40)]).await?;
    let hangs = |record: &TickRecord| record.groups[0].state == GroupVerdict::TransactionOpen;
    let record = turned.until("a transaction hangs", |_| true, hangs).await?;
    let problem = record.groups[0].problem.clone().unwrap_or_default();
    assert!(problem.contains("7 offsets wait behind it"), "{problem}");
    assert_eq!(lag(&record), Some(0), "the group has read all that it may");

    tokio::task::spawn_blocking(move || open.abort_transaction(PATIENCE)).await??;
    // Seven records that it will pass over, and the marker.
    turned.until("aborted", |_| true, |record| !hangs(record) && lag(record) == Some(8)).await?;
    Ok(())
}

/// Seven records in a transaction that stays open.
async fn hang(kafka: &Kafka, topic: &str) -> Result<BaseProducer, Stop> {
    let mut config = client(kafka.bootstrap());
    config.set("transactional.id", kafka.name("writer"));
    let name = topic.to_owned();
    let opening = tokio::task::spawn_blocking(move || -> Result<BaseProducer, Stop> {
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        for _ in 0..7 {
            producer.send(BaseRecord::<(), str>::to(&name).partition(0).payload("x")).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        Ok(producer)
    });
    opening.await?
}

const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);
