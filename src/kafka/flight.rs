//! Calls of one poll, side by side, so that one broker that does not answer makes nothing else stale.
//!
//! Each call is a task of its own. Once the first has answered, the others have a short grace; whatever is still
//! missing is reported as late and goes on behind the poll, because that is how the client finds a new leader. Until
//! it has ended, later polls do not ask the same again.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A call, and what it is about.
pub(super) type Call<K, T> = (K, Pin<Box<dyn Future<Output = T> + Send>>);

/// How a call ended, as far as this poll is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<T> {
    Answered(T),
    /// No answer yet, for so long.
    Late(Duration),
}

/// Which calls are still under way.
#[derive(Debug)]
pub(super) struct Flights<K> {
    busy: Arc<Mutex<HashMap<K, Instant>>>,
}

impl<K: Clone + Eq + Hash + Send + 'static> Flights<K> {
    pub(super) fn new() -> Self {
        Self { busy: Arc::default() }
    }

    /// Runs `calls` side by side until `deadline`, or until `grace` after the first answer to one that is `needed`,
    /// whichever is first. Returns one outcome a call, in any order.
    pub(super) async fn gather<T: Send + 'static>(
        &self,
        calls: Vec<Call<K, T>>,
        deadline: Instant,
        grace: Duration,
        needed: impl Fn(&K) -> bool,
    ) -> Vec<(K, Outcome<T>)> {
        let mut outcomes = Vec::with_capacity(calls.len());
        let mut waiting: HashMap<K, Instant> = HashMap::new();
        let (answers, mut arrivals) = mpsc::unbounded_channel();
        for (key, call) in calls {
            let now = Instant::now();
            if let Some(since) = self.busy().get(&key) {
                outcomes.push((key, Outcome::Late(now - *since)));
                continue;
            }
            self.busy().insert(key.clone(), now);
            waiting.insert(key.clone(), now);
            let (landing, answers) = (Landing { key: key.clone(), busy: Arc::clone(&self.busy) }, answers.clone());
            tokio::spawn(async move {
                let answer = call.await;
                drop(landing);
                let _ = answers.send((key, answer)); // nobody listens when the poll has ended
            });
        }
        drop(answers);
        let mut until = deadline;
        while !waiting.is_empty() {
            // `None`: a task panicked; its call counts as late.
            let Ok(Some((key, answer))) = timeout_at(until, arrivals.recv()).await else { break };
            waiting.remove(&key);
            if needed(&key) {
                until = until.min(Instant::now() + grace);
            }
            outcomes.push((key, Outcome::Answered(answer)));
        }
        let late = |(key, since): (K, Instant)| (key, Outcome::Late(since.elapsed()));
        outcomes.extend(waiting.into_iter().map(late));
        outcomes
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashMap<K, Instant>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks again, up to `attempts` times in all, each time that nothing was heard for `after`; the first answer counts.
///
/// For questions that any broker answers: the client picks one at random, and it may be one that is silent.
pub(super) async fn hedged<T, F: Future<Output = T>>(attempts: usize, after: Duration, call: impl Fn() -> F) -> T {
    let mut asked = FuturesUnordered::from_iter([call()]);
    loop {
        let may_ask = asked.len() < attempts;
        tokio::select! {
            Some(answer) = asked.next() => return answer,
            () = tokio::time::sleep(after), if may_ask => asked.push(call()),
        }
    }
}

/// Says that a call has ended, however it ended.
struct Landing<K: Eq + Hash> {
    key: K,
    busy: Arc<Mutex<HashMap<K, Instant>>>,
}

impl<K: Eq + Hash> Drop for Landing<K> {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(key: u8, millis: u64) -> Call<u8, u8> {
        (
            key,
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                key
            }),
        )
    }

    /// The keys that were late, ascending.
    fn late(outcomes: Vec<(u8, Outcome<u8>)>) -> Vec<u8> {
        let late = outcomes.into_iter().filter(|(_, outcome)| matches!(outcome, Outcome::Late(_)));
        let mut keys: Vec<u8> = late.map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_late_call_costs_the_others_the_grace_at_most_and_is_not_asked_twice() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let flights = Flights::new();
            let within = async |time, calls| {
                let needed = |key: &u8| *key < 10;
                late(flights.gather(calls, Instant::now() + time, Duration::from_millis(200), needed).await)
            };
            let long = Duration::from_secs(5);
            let start = Instant::now();
            assert_eq!(within(long, vec![call(1, 10), call(2, 1_500), call(3, 50)]).await, [2]);
            assert!(start.elapsed() < Duration::from_millis(1_000), "{:?}", start.elapsed());
            assert_eq!(within(long, vec![call(1, 10), call(2, 0)]).await, [2], "still under way: not asked again");
            tokio::time::sleep_until(start + Duration::from_millis(1_800)).await;
            assert_eq!(within(long, vec![call(2, 10)]).await, [0; 0]);
            assert_eq!(within(Duration::from_millis(50), vec![call(4, 9_000)]).await, [4]);
            assert_eq!(
                within(long, vec![call(10, 0), call(5, 400)]).await,
                [0; 0],
                "what is not needed hurries nobody"
            );
        });
    }

    #[test]
    fn a_question_is_asked_again_when_nothing_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let asked = std::cell::Cell::new(0);
        let answer = runtime.block_on(hedged(3, Duration::from_millis(20), || {
            asked.set(asked.get() + 1);
            let (number, millis) = (asked.get(), if asked.get() == 1 { 9_000 } else { 5 });
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                number
            }
        }));
        assert_eq!(answer, 2);
    }
}
