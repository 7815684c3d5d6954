//! The throttled producer against a broker: nothing lost, nothing reordered, every bound held.

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt, stream};
use krafka::testing::{ApiKey, Control, FakeBroker};
use lagvalve::clock::{Clock, SystemClock};
use lagvalve::control::BoundBy;
use lagvalve::producer::{Closed, OwnedRecord, Sending, SinkError, ValveDriver};
use lagvalve::units::RateLimit;
use lagvalve::{ThrottledProducer, TrySendError, Valve};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_in_order_and_are_counted_when_acknowledged() {
    let bench = Bench::new(RateLimit::Unlimited, &[]).await;
    let mut deliveries = Vec::new();
    for number in 0..5_000 {
        let value = format!("{number}");
        deliveries.push(bench.producer.enqueue(record(&value)).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let delivery = delivery.await.unwrap();
        assert_eq!((delivery.partition, delivery.offset), (0, number as i64));
    }
    let last = bench.producer.send(record("5000")).await.unwrap();
    assert_eq!(last.offset, 5_000);
    for (number, record) in bench.broker.all_records(TOPIC).unwrap().iter().enumerate() {
        assert_eq!(record.value.as_deref(), Some(number.to_string().as_bytes()));
    }
    assert_eq!(bench.driver.sent_total(), 5_001);
    assert_eq!(bench.driver.demand().on_the_way, 0);
    assert_eq!(bench.close().await, Closed { delivered: 5_001, failed: 0, undelivered: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_comes_back_as_it_was() {
    let bench = Bench::new(RateLimit::PAUSED, &[]).await;
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("7") });
    let record = FutureRecord::to(TOPIC).key("k").payload("v").partition(0).timestamp(42).headers(headers);
    let Err(TrySendError::Throttled { record, reason, .. }) = bench.producer.try_send(record) else {
        panic!("a paused valve throttles");
    };
    assert_eq!(reason, BoundBy::Pinned);
    assert_eq!((record.topic, record.key, record.payload), (TOPIC, Some("k"), Some("v")));
    assert_eq!((record.partition, record.timestamp), (Some(0), Some(42)));
    assert_eq!(record.headers.as_ref().unwrap().get(0), Header { key: "trace", value: Some(b"7".as_slice()) });

    bench.driver.set_limit(RateLimit::Unlimited);
    bench.producer.try_send(record).unwrap().await.unwrap();

    let giant = "x".repeat(2_000_000);
    let refused = bench.producer.try_send(FutureRecord::<str, str>::to(TOPIC).payload(&giant)).unwrap_err();
    assert!(matches!(&refused, TrySendError::Refused { error, .. }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)));
    assert_eq!(refused.into_record().payload, Some(&*giant));
    assert_eq!(bench.driver.demand().on_the_way, 0, "its slot went back");
    assert_eq!(bench.driver.sent_total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_bounded_in_messages_and_in_bytes() {
    for (setting, value, fit) in [("queue.buffering.max.messages", "10", 9), ("queue.buffering.max.kbytes", "10", 4)] {
        let bench = Bench::new(RateLimit::Unlimited, &[(setting, value)]).await;
        let answers = bench.hold_answers();
        let text = "v".repeat(2_048);
        let mut deliveries: Vec<_> = (0..fit).map(|_| bench.producer.try_send(record(&text)).unwrap()).collect();
        assert!(matches!(bench.producer.try_send(record(&text)), Err(TrySendError::QueueFull(_))), "{setting}");
        let mut waiting = Box::pin(bench.producer.send(record(&text)));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(bench.producer.state().sending, Sending::QueueFull);
        assert_eq!(bench.driver.demand().granted_total, fit, "no permit is used up while there is no slot");
        drop(answers);
        waiting.await.unwrap();
        for delivery in deliveries.drain(..) {
            delivery.await.unwrap();
        }
        assert_eq!(bench.close().await, Closed { delivered: fit + 1, failed: 0, undelivered: 0 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_valve_stores_no_burst_for_a_broker_that_does_not_answer() {
    let bench = Bench::new(RateLimit::from_f64(2_000.0).unwrap(), &[]).await;
    let answers = bench.hold_answers();
    bench.driver.set_limit(RateLimit::from_f64(100_000.0).unwrap());
    let mut deliveries = Vec::new();
    for _ in 0..1_000 {
        deliveries.push(bench.producer.enqueue(record("v")).await.unwrap());
    }
    bench.driver.set_limit(RateLimit::from_f64(900.0).unwrap());
    assert!(bench.producer.enqueue(record("v")).now_or_never().is_none());
    let state = bench.producer.state();
    assert_eq!((state.on_the_way, state.waiting_for_slot), (1_000, 0), "the caller that left is not counted");

    let mut waiting = Box::pin(bench.producer.enqueue(record("v")));
    assert!(waiting.as_mut().now_or_never().is_none());
    bench.driver.set_limit(RateLimit::Unlimited);
    deliveries.push(within_10_s(waiting).await.unwrap());
    drop(answers);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_valve_is_not_waiting_for_delivery() {
    let bench = Bench::new(RateLimit::PAUSED, &[("delivery.timeout.ms", "1000")]).await;
    let mut waiting = Box::pin(bench.producer.send(record("v")));
    let waited = tokio::time::timeout(Duration::from_millis(2_500), &mut waiting).await;
    assert!(waited.is_err(), "throttled is not failed");
    let state = bench.producer.state();
    assert_eq!((state.sending, state.waiting_for_valve, state.reason), (Sending::Throttled, 1, BoundBy::Pinned));
    bench.driver.set_limit(RateLimit::Unlimited);
    within_10_s(waiting).await.unwrap();
    assert_eq!(bench.producer.state().sending, Sending::Flowing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_line_gives_everything_back() {
    let bench = Bench::new(RateLimit::PAUSED, &[]).await;
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(bench.producer.send(record("v")))).collect();
    for future in &mut waiting {
        assert!(future.now_or_never().is_none());
    }
    assert_eq!(bench.producer.state().waiting_for_valve, 100);
    assert_eq!(bench.driver.demand().waiting, 100);
    drop(waiting);
    let (state, demand) = (bench.producer.state(), bench.driver.demand());
    assert_eq!((state.waiting_for_valve, state.on_the_way, state.on_the_way_bytes), (0, 0, 0));
    assert_eq!((demand.waiting, demand.granted_total, demand.sent_total), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_that_was_not_used_passes_to_the_next() {
    // One permit in 20 s after the first: the next caller can only have the one that came back.
    let bench = Bench::new(RateLimit::from_f64(0.05).unwrap(), &[]).await;
    let giant = "x".repeat(2_000_000);
    let (error, _) = bench.producer.send(record(&giant)).await.unwrap_err();
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    let mut sink = bench.producer.sink();
    within_10_s(futures::future::poll_fn(|cx| sink.poll_ready_unpin(cx))).await.unwrap();
    drop(sink);
    within_10_s(bench.producer.send(record("v"))).await.unwrap();
    assert!(matches!(bench.producer.try_send(record("v")), Err(TrySendError::Throttled { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_limit_weighs_records_and_is_named() {
    let bench = Bench::new(RateLimit::Unlimited, &[]).await;
    bench.driver.set_byte_limit(Some(1_000.0));
    let value = "v".repeat(5_000);
    within_10_s(bench.producer.send(record(&value))).await.unwrap();
    let Err(TrySendError::Throttled { retry_after, reason, .. }) = bench.producer.try_send(record(&value)) else {
        panic!("5 s of bytes are owed");
    };
    assert_eq!(reason, BoundBy::MaxBytes);
    assert!(retry_after > Duration::ZERO, "{retry_after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_fails_each_record_and_loses_none() {
    let bench = Bench::new(RateLimit::Unlimited, &[("delivery.timeout.ms", "1500")]).await;
    for _ in 0..10 {
        bench.producer.send(record("before")).await.unwrap();
    }
    bench.broker.crash(0);
    let mut deliveries = Vec::new();
    for _ in 0..50 {
        deliveries.push(bench.producer.enqueue(record("after")).await.unwrap());
    }
    for delivery in deliveries {
        let (error, message) = within_10_s(delivery).await.unwrap_err();
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageTimedOut));
        assert_eq!(message.payload(), Some(b"after".as_slice()));
        assert_eq!(OwnedRecord::from(message).topic, TOPIC);
    }
    assert_eq!(bench.driver.sent_total(), 10);
    assert_eq!(bench.close().await, Closed { delivered: 10, failed: 50, undelivered: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_gives_up_at_the_deadline_and_accounts_for_every_record() {
    let bench = Bench::new(RateLimit::Unlimited, &[]).await;
    for _ in 0..10 {
        bench.producer.send(record("v")).await.unwrap();
    }
    let _answers = bench.hold_answers();
    let mut deliveries = Vec::new();
    for _ in 0..20 {
        deliveries.push(bench.producer.enqueue(record("v")).await.unwrap());
    }
    bench.driver.set_limit(RateLimit::PAUSED);
    let other = bench.producer.clone();
    let throttled = tokio::spawn(async move { other.send(record("waits")).await });
    until(|| bench.producer.state().waiting_for_valve == 1).await;

    let started = SystemClock.now();
    let closed = bench.producer.close(Duration::from_millis(300)).await;
    assert!(SystemClock.now().since(started) < Duration::from_millis(1_300), "{:?}", SystemClock.now().since(started));
    assert_eq!(closed, Closed { delivered: 10, failed: 0, undelivered: 20 });
    for delivery in deliveries {
        assert!(within_10_s(delivery).await.is_err());
    }
    let (error, message) = within_10_s(throttled).await.unwrap().unwrap_err();
    assert_eq!((error, message.payload()), (KafkaError::Canceled, Some(b"waits".as_slice())));
    assert!(matches!(
        bench.producer.try_send(record("v")),
        Err(TrySendError::Refused { error: KafkaError::Canceled, .. })
    ));
    assert_eq!(bench.producer.state().sending, Sending::Closed);
    assert_eq!(bench.producer.close(Duration::ZERO).await, closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_what_is_on_the_way_and_no_longer() {
    let bench = Bench::new(RateLimit::Unlimited, &[]).await;
    let answers = bench.hold_answers();
    let delivery = bench.producer.enqueue(record("v")).await.unwrap();
    let other = bench.producer.clone();
    let closing = tokio::spawn(async move { other.close(Duration::from_secs(60)).await });
    until(|| bench.producer.state().sending == Sending::Closed).await;
    assert!(!closing.is_finished());
    drop(answers);
    let closed = within_10_s(closing).await.unwrap();
    assert_eq!(closed, Closed { delivered: 1, failed: 0, undelivered: 0 });
    delivery.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_producer_says_so_in_every_future() {
    let bench = Bench::new(RateLimit::Unlimited, &[]).await;
    let Bench { broker, producer, driver: _driver } = bench;
    broker.on(ApiKey::Produce, |_| Control::Silence);
    let delivery = producer.enqueue(record("v")).await.unwrap();
    drop(producer);
    let (_, message) = within_10_s(delivery).await.unwrap_err();
    assert_eq!(message.payload(), Some(b"v".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafkas_own_full_queue_costs_no_100_ms() {
    // One slot in librdkafka too, which it frees later than it reports.
    let bench = Bench::new(RateLimit::Unlimited, &[("queue.buffering.max.messages", "1"), ("linger.ms", "0")]).await;
    let started = SystemClock.now();
    for _ in 0..200 {
        bench.producer.send(record("v")).await.unwrap();
    }
    assert!(SystemClock.now().since(started) < Duration::from_secs(5), "{:?}", SystemClock.now().since(started));
    assert_eq!(bench.close().await, Closed { delivered: 200, failed: 0, undelivered: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_pulled_as_fast_as_the_valve_admits() {
    let bench = Bench::new(RateLimit::from_f64(1_000.0).unwrap(), &[]).await;
    let started = SystemClock.now();
    let records = stream::iter((0..1_500).map(|n| Ok(OwnedRecord::to(TOPIC).partition(0).payload(n.to_string()))));
    records.forward(bench.producer.sink()).await.unwrap();
    let took = SystemClock.now().since(started).as_secs_f64();
    assert!((1.3..3.0).contains(&took), "1,500 at 1,000/s took {took:.2} s");
    assert_eq!(bench.driver.sent_total(), 1_500, "closing a sink waits for every report");
    for (number, record) in bench.broker.all_records(TOPIC).unwrap().iter().enumerate() {
        assert_eq!(record.value.as_deref(), Some(number.to_string().as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_is_ready_when_the_valve_is_and_gives_an_unused_permit_back() {
    let bench = Bench::new(RateLimit::PAUSED, &[]).await;
    let mut sink = bench.producer.sink();
    assert!(futures::future::poll_fn(|cx| sink.poll_ready_unpin(cx)).now_or_never().is_none());
    bench.driver.set_limit(RateLimit::Unlimited);
    within_10_s(futures::future::poll_fn(|cx| sink.poll_ready_unpin(cx))).await.unwrap();
    assert_eq!((bench.producer.state().on_the_way, bench.driver.demand().granted_total), (1, 1));
    drop(sink);
    assert_eq!(bench.producer.state().on_the_way, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_reports_every_failure_once_and_goes_on() {
    let bench = Bench::new(RateLimit::Unlimited, &FAILS_SOON).await;
    let mut sink = bench.producer.sink();
    sink.send(OwnedRecord::to(TOPIC).partition(0).payload("fine")).await.unwrap();
    bench.broker.crash(0);
    for _ in 0..3 {
        sink.feed(OwnedRecord::to(TOPIC).partition(0).payload("lost")).await.unwrap();
    }
    for _ in 0..3 {
        match within_10_s(sink.flush()).await {
            Err(SinkError::NotDelivered { message, .. }) => assert_eq!(message.payload(), Some(b"lost".as_slice())),
            other => panic!("{other:?}"),
        }
    }
    sink.flush().await.unwrap();
    bench.broker.restart(0);
    within_10_s(sink.send(OwnedRecord::to(TOPIC).partition(0).payload("fine"))).await.unwrap();
    let closed = bench.producer.close(Duration::from_secs(5)).await;
    assert_eq!(closed, Closed { delivered: 2, failed: 3, undelivered: 0 });
    assert!(matches!(sink.feed(OwnedRecord::to(TOPIC)).await, Err(SinkError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_passes_librdkafkas_own_full_queue() {
    let bench = Bench::new(RateLimit::Unlimited, &[("queue.buffering.max.messages", "1"), ("linger.ms", "0")]).await;
    let records = stream::iter((0..100).map(|n| Ok(OwnedRecord::to(TOPIC).partition(0).payload(n.to_string()))));
    within_10_s(records.forward(bench.producer.sink())).await.unwrap();
    assert_eq!(bench.close().await, Closed { delivered: 100, failed: 0, undelivered: 0 });
}

/// A broker, a valve set by hand, and a producer on it.
struct Bench {
    broker: FakeBroker,
    producer: ThrottledProducer,
    driver: ValveDriver,
}

impl Bench {
    async fn new(limit: RateLimit, settings: &[(&str, &str)]) -> Self {
        let broker = FakeBroker::start().await.unwrap();
        broker.create_topic(TOPIC, 1);
        let (valve, driver) = Valve::manual("test", limit);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap_servers());
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer = ThrottledProducer::new(&config, valve).unwrap();
        Self { broker, producer, driver }
    }

    /// The broker answers no Produce request before the returned value is dropped.
    fn hold_answers(&self) -> Answers<'_> {
        self.broker.on(ApiKey::Produce, |_| Control::Disconnect);
        Answers(&self.broker)
    }

    async fn close(self) -> Closed {
        self.producer.close(Duration::from_secs(10)).await
    }
}

struct Answers<'a>(&'a FakeBroker);

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.0.clear_hooks();
    }
}

fn record(payload: &str) -> FutureRecord<'_, str, str> {
    FutureRecord::to(TOPIC).partition(0).payload(payload)
}

async fn within_10_s<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("done within 10 s")
}

async fn until(reached: impl Fn() -> bool) {
    within_10_s(async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

const TOPIC: &str = "orders";
/// Records are given up after 3 s, and a broker that is back is found at once.
const FAILS_SOON: [(&str, &str); 3] =
    [("delivery.timeout.ms", "3000"), ("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "100")];
