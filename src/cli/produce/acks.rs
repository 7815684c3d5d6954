//! Which lines are settled, counted without holes: where a run that stops can be resumed.
//!
//! Every line has a number over all sources. A line is settled when its record was acknowledged, when it was written to
//! the rejects, or when it holds no record. Acknowledgements of different partitions overtake each other, so the
//! answer that matters is the length of the settled beginning.

use std::collections::VecDeque;
use std::sync::Mutex;

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

/// A record that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unacknowledged {
    /// The line over all sources.
    pub(super) line: u64,
    /// Why.
    pub(super) code: RDKafkaErrorCode,
}

/// What has become of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Lines settled without a hole, skipped ones included: `--skip-lines` of the next run.
    pub(super) settled: u64,
    /// Records acknowledged.
    pub(super) delivered: u64,
    /// Records acknowledged behind a hole: a resumed run writes them again.
    pub(super) delivered_beyond: u64,
    /// Lines written to the rejects.
    pub(super) rejected: u64,
    /// Records handed to the client and neither acknowledged nor failed.
    pub(super) in_flight: u64,
}

/// The shared book: the sender enters what it hands over, the client's thread what comes back.
#[derive(Debug)]
pub(super) struct Acks {
    book: Mutex<Book>,
    changed: Notify,
}

impl Acks {
    /// An empty book that begins behind the first `skipped` lines.
    pub(super) fn new(skipped: u64) -> Self {
        let book = Book {
            counts: Counts { settled: skipped, ..Counts::default() },
            lines: VecDeque::new(),
            failed: Vec::new(),
            wake_at: 0,
        };
        Self { book: Mutex::new(book), changed: Notify::new() }
    }

    /// `line` was handed to the client.
    pub(super) fn sent(&self, line: u64) {
        let mut book = self.book();
        book.reach(line);
        book.counts.in_flight += 1;
    }

    /// The client did not take `line` after all; it is to be sent again.
    pub(super) fn not_sent(&self) {
        self.book().counts.in_flight -= 1;
    }

    /// The record of `line` was acknowledged.
    pub(super) fn delivered(&self, line: u64) {
        let mut book = self.book();
        book.counts.in_flight -= 1;
        book.counts.delivered += 1;
        book.settle(line, Slot::Delivered);
        self.wake(&book);
    }

    /// The record of `line` came back.
    pub(super) fn failed(&self, line: u64, code: RDKafkaErrorCode) {
        let mut book = self.book();
        book.counts.in_flight -= 1;
        book.failed.push(Unacknowledged { line, code });
        drop(book);
        self.changed.notify_one();
    }

    /// `line` holds no record, or went to the rejects.
    pub(super) fn passed(&self, line: u64, rejected: bool) {
        let mut book = self.book();
        book.reach(line);
        book.counts.rejected += u64::from(rejected);
        book.settle(line, Slot::Passed);
    }

    /// The counts now.
    pub(super) fn counts(&self) -> Counts {
        self.book().counts
    }

    /// What came back since the last call, in order of the lines.
    pub(super) fn take_failed(&self) -> Vec<Unacknowledged> {
        let mut failed = std::mem::take(&mut self.book().failed);
        failed.sort_by_key(|one| one.line);
        failed
    }

    /// Whether something came back that has not been taken.
    pub(super) fn has_failed(&self) -> bool {
        !self.book().failed.is_empty()
    }

    /// Waits until at most `count` records are in flight, or one came back. Cancel safe; one waiter at a time.
    pub(super) async fn until_in_flight(&self, count: u64) {
        loop {
            {
                let mut book = self.book();
                if book.counts.in_flight <= count || !book.failed.is_empty() {
                    return;
                }
                book.wake_at = count;
            }
            self.changed.notified().await;
        }
    }

    fn wake(&self, book: &Book) {
        if book.counts.in_flight <= book.wake_at {
            self.changed.notify_one();
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug)]
struct Book {
    counts: Counts,
    /// The lines from `counts.settled` on, as far as one was entered.
    lines: VecDeque<Slot>,
    failed: Vec<Unacknowledged>,
    /// Number of records in flight at which the waiter is woken.
    wake_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Open,
    Delivered,
    Passed,
}

impl Book {
    /// Makes room up to `line`.
    fn reach(&mut self, line: u64) -> usize {
        let index = usize::try_from(line - self.counts.settled).expect("open lines are in memory");
        if index >= self.lines.len() {
            self.lines.resize(index + 1, Slot::Open);
        }
        index
    }

    fn settle(&mut self, line: u64, slot: Slot) {
        let index = self.reach(line);
        self.lines[index] = slot;
        self.counts.delivered_beyond += u64::from(slot == Slot::Delivered);
        while let Some(first) = self.lines.front().filter(|slot| **slot != Slot::Open) {
            self.counts.delivered_beyond -= u64::from(*first == Slot::Delivered);
            self.lines.pop_front();
            self.counts.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_settled_beginning_has_no_hole() {
        let acks = Acks::new(10);
        for line in 10..15 {
            acks.sent(line);
        }
        acks.delivered(11);
        acks.delivered(13);
        let expected = Counts { settled: 10, delivered: 2, delivered_beyond: 2, rejected: 0, in_flight: 3 };
        assert_eq!(acks.counts(), expected);
        acks.delivered(10);
        let expected = Counts { settled: 12, delivered: 3, delivered_beyond: 1, rejected: 0, in_flight: 2 };
        assert_eq!(acks.counts(), expected);
        acks.failed(12, RDKafkaErrorCode::MessageSizeTooLarge);
        acks.delivered(14);
        assert_eq!(acks.counts().settled, 12, "a failed line is a hole");
        assert_eq!(acks.take_failed(), [Unacknowledged { line: 12, code: RDKafkaErrorCode::MessageSizeTooLarge }]);
        acks.passed(12, true);
        let expected = Counts { settled: 15, delivered: 4, delivered_beyond: 0, rejected: 1, in_flight: 0 };
        assert_eq!(acks.counts(), expected);
    }

    #[test]
    fn the_waiter_is_woken_by_room_and_by_failure() {
        let acks = Acks::new(0);
        (0..3).for_each(|line| acks.sent(line));
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = pin!(acks.until_in_flight(1));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.delivered(0);
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.delivered(1);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        let mut waiting = pin!(acks.until_in_flight(0));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.failed(2, RDKafkaErrorCode::MessageTimedOut);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
    }

    proptest! {
        #[test]
        fn any_order_settles_everything(order in Just((0_u64..60).collect::<Vec<_>>()).prop_shuffle(), skipped in 0_u64..9) {
            let acks = Acks::new(skipped);
            (0..60).for_each(|line| acks.sent(skipped + line));
            let mut done = std::collections::BTreeSet::new();
            for line in order {
                acks.delivered(skipped + line);
                done.insert(line);
                let without_hole = (0..60).take_while(|line| done.contains(line)).count() as u64;
                let counts = acks.counts();
                prop_assert_eq!(counts.settled, skipped + without_hole);
                prop_assert_eq!(counts.delivered_beyond, done.len() as u64 - without_hole);
            }
        }
    }
}
