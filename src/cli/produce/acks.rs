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
    /// Records that came back and have not been taken.
    pub(super) failed: u64,
    /// Records sent once more, alone, because something in their request was refused.
    pub(super) sent_again: u64,
    /// Records whose timestamps are older than the topic keeps.
    pub(super) too_old: u64,
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
            wake: Room { in_flight: 0, settled: u64::MAX },
            recovering: false,
            marks: VecDeque::new(),
            passed: Mark { end: skipped, read: 0 },
        };
        Self { book: Mutex::new(book), changed: Notify::new() }
    }

    /// `line` is handed to the client: entered before, because the answer may come at once. Returns the counts with it.
    pub(super) fn sent(&self, line: u64) -> Counts {
        let mut book = self.book();
        book.reach(line);
        book.counts.in_flight += 1;
        book.counts
    }

    /// `line` is handed to the client once more.
    pub(super) fn sent_again(&self, line: u64) {
        let mut book = self.book();
        book.reach(line);
        book.counts.in_flight += 1;
        book.counts.sent_again += 1;
    }

    /// A record's timestamp is older than the topic keeps.
    pub(super) fn too_old(&self) {
        self.book().counts.too_old += 1;
    }

    /// The lines before `end` take the first `read` stored bytes of the input.
    pub(super) fn mark(&self, end: u64, read: u64) {
        self.book().marks.push_back(Mark { end, read });
    }

    /// Stored bytes of the input up to the last settled line, interpolated between marks.
    pub(super) fn position(&self) -> u64 {
        let mut book = self.book();
        let settled = book.counts.settled;
        while let Some(mark) = book.marks.pop_front_if(|mark| mark.end <= settled) {
            book.passed = mark;
        }
        let Mark { end, read } = book.passed;
        let Some(next) = book.marks.front() else { return read };
        let share = settled.saturating_sub(end) as f64 / next.end.saturating_sub(end).max(1) as f64;
        read + (next.read.saturating_sub(read) as f64 * share) as u64
    }

    /// The client did not take `line` after all; it is to be sent again.
    pub(super) fn not_sent(&self) {
        self.book().counts.in_flight -= 1;
    }

    /// The record of `line` was acknowledged. Whether it is the first since [`Acks::expect_recovery`].
    pub(super) fn delivered(&self, line: u64) -> bool {
        let mut book = self.book();
        book.counts.in_flight -= 1;
        book.counts.delivered += 1;
        book.settle(line, Slot::Delivered);
        if book.wake.is_there(&book.counts) {
            self.changed.notify_one();
        }
        std::mem::take(&mut book.recovering)
    }

    /// Something is wrong until the next acknowledgement.
    pub(super) fn expect_recovery(&self) {
        self.book().recovering = true;
    }

    /// The record of `line` came back.
    pub(super) fn failed(&self, line: u64, code: RDKafkaErrorCode) {
        let mut book = self.book();
        book.counts.in_flight -= 1;
        book.failed.push(Unacknowledged { line, code });
        book.counts.failed += 1;
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
        let mut book = self.book();
        book.counts.failed = 0;
        let mut failed = std::mem::take(&mut book.failed);
        drop(book);
        failed.sort_by_key(|one| one.line);
        failed
    }

    /// Waits until there is room, or until a record came back. Cancel safe; one waiter at a time.
    pub(super) async fn until(&self, room: Room) {
        loop {
            {
                let mut book = self.book();
                if room.is_there(&book.counts) || !book.failed.is_empty() {
                    book.wake = Room { in_flight: 0, settled: u64::MAX };
                    return;
                }
                book.wake = room;
            }
            self.changed.notified().await;
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

/// What a waiter waits for: both conditions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// At most so many records in flight.
    pub(super) in_flight: u64,
    /// Lines settled up to here.
    pub(super) settled: u64,
}

impl Room {
    /// Nothing in flight.
    pub(super) const EMPTY: Self = Self { in_flight: 0, settled: 0 };

    fn is_there(self, counts: &Counts) -> bool {
        counts.in_flight <= self.in_flight && counts.settled >= self.settled
    }
}

#[derive(Debug)]
struct Book {
    counts: Counts,
    /// The lines from `counts.settled` on, as far as one was entered.
    lines: VecDeque<Slot>,
    failed: Vec<Unacknowledged>,
    /// When the waiter is woken; out of reach while nobody waits.
    wake: Room,
    recovering: bool,
    /// Where lines stand in the stored input; the first one not settled is in front.
    marks: VecDeque<Mark>,
    /// The last one settled.
    passed: Mark,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    read: u64,
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
        let expected =
            Counts { settled: 10, delivered: 2, delivered_beyond: 2, rejected: 0, in_flight: 3, ..Counts::default() };
        assert_eq!(acks.counts(), expected);
        acks.delivered(10);
        let expected =
            Counts { settled: 12, delivered: 3, delivered_beyond: 1, rejected: 0, in_flight: 2, ..Counts::default() };
        assert_eq!(acks.counts(), expected);
        acks.failed(12, RDKafkaErrorCode::MessageSizeTooLarge);
        acks.delivered(14);
        assert_eq!(acks.counts().settled, 12, "a failed line is a hole");
        assert_eq!(acks.take_failed(), [Unacknowledged { line: 12, code: RDKafkaErrorCode::MessageSizeTooLarge }]);
        acks.passed(12, true);
        let expected =
            Counts { settled: 15, delivered: 4, delivered_beyond: 0, rejected: 1, in_flight: 0, ..Counts::default() };
        assert_eq!(acks.counts(), expected);
    }

    #[test]
    fn the_waiter_is_woken_by_room_and_by_failure() {
        let acks = Acks::new(0);
        for line in 0..3 {
            acks.sent(line);
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = pin!(acks.until(Room { in_flight: 1, settled: 0 }));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.delivered(0);
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.delivered(1);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        let mut waiting = pin!(acks.until(Room::EMPTY));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        acks.failed(2, RDKafkaErrorCode::MessageTimedOut);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn the_position_lies_between_marks() {
        let acks = Acks::new(10);
        acks.mark(20, 1000);
        acks.mark(40, 2000);
        assert_eq!(acks.position(), 0);
        (10..15).for_each(|line| acks.passed(line, false));
        assert_eq!(acks.position(), 500);
        (15..30).for_each(|line| acks.passed(line, false));
        assert_eq!(acks.position(), 1500);
        (30..40).for_each(|line| acks.passed(line, false));
        assert_eq!(acks.position(), 2000);
    }

    proptest! {
        #[test]
        fn any_order_settles_everything(order in Just((0_u64..60).collect::<Vec<_>>()).prop_shuffle(), skipped in 0_u64..9) {
            let acks = Acks::new(skipped);
            for line in 0..60 {
                acks.sent(skipped + line);
            }
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
