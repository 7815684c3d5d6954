//! The log of a valve's topics, dense over its partitions, as the newest poll left it. Pure.

use std::collections::HashMap;

use crate::clock::Instant;
use crate::estimate::Ages;
use crate::id::{Topic, TopicPartition};
use crate::lag::{PartitionEnds, Retention, Snapshot, TopicEnds};

/// One place a partition; a place is never given to another. Those that are first seen in one poll are in order of topic and
/// partition, whatever the order of the answers: sums and ties come out the same.
#[derive(Clone, Debug, Default)]
pub(super) struct LogView {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) starts: Vec<Option<i64>>,
    pub(super) high_watermarks: Vec<Option<i64>>,
    pub(super) last_stable: Vec<Option<i64>>,
    /// When the ends were read, seconds.
    pub(super) ends_at: f64,
    /// Partitions whose end could be read in the newest poll.
    pub(super) fresh: usize,
    /// How many partitions there are.
    pub(super) present: usize,
    /// How old records are, by when the ends were seen where.
    pub(super) ages: Ages,
    /// Topics, as they were first seen.
    pub(super) topics: Vec<Topic>,
    /// The topic of each place, as a place in `topics`.
    pub(super) topic_of: Vec<usize>,
    /// How long each topic keeps its records, where it was told.
    pub(super) retention: HashMap<Topic, Retention>,
    /// Places of topics that were made anew since the poll before.
    pub(super) renewed: Vec<usize>,
    /// The number of the poll that last brought an end, by place.
    read_in: Vec<u64>,
    /// Since when offsets have waited behind the last stable offset without its moving; seconds, by place.
    waiting_since: Vec<Option<f64>>,
    is_present: Vec<bool>,
    polls: u64,
    ids: HashMap<Topic, [u8; 16]>,
    places: HashMap<TopicPartition, usize>,
}

impl LogView {
    /// Takes the log ends of `topics`; `false` when not one could be read.
    pub(super) fn read(&mut self, topics: &[Topic], snapshot: &Snapshot) -> bool {
        self.polls += 1;
        self.renewed.clear();
        let (mut fresh, mut likely) = (0, 0);
        let read = |seen: &&TopicEnds| topics.contains(&seen.topic) && seen.partitions.is_ok();
        let ends_at = snapshot.topics.iter().filter(read).map(|seen| seen.read_at).max();
        let ends_at = ends_at.map_or(self.ends_at, Instant::as_seconds);
        let mut new: Vec<(&Topic, &PartitionEnds)> = Vec::new();
        for topic in snapshot.topics.iter().filter(read) {
            let Ok(partitions) = &topic.partitions else { continue };
            if !partitions.is_empty() {
                self.identify(&topic.topic, topic.id);
                if let Some(retention) = topic.retention {
                    self.retention.insert(topic.topic.clone(), retention);
                }
            }
            for ends in partitions {
                let Some(place) = self.place(&topic.topic, ends.partition, likely) else {
                    new.push((&topic.topic, ends));
                    continue;
                };
                likely = place + 1;
                fresh += usize::from(self.take(place, ends, ends_at));
            }
        }
        new.sort_by_key(|(topic, ends)| (*topic, ends.partition));
        for (topic, ends) in new {
            let known = self.place(topic, ends.partition, usize::MAX);
            let place = known.unwrap_or_else(|| self.add(topic, ends.partition));
            fresh += usize::from(self.take(place, ends, ends_at));
        }
        self.fresh = fresh;
        self.present = self.is_present.iter().filter(|present| **present).count();
        if fresh > 0 {
            self.ends_at = ends_at;
            self.ages.push(ends_at, self.high_watermarks.iter().map(|end| end.map(|end| end as f64)));
        }
        fresh > 0
    }

    /// A topic under an old name but with a new id is another topic: nothing of the old one is true of it.
    fn identify(&mut self, topic: &Topic, id: Option<[u8; 16]>) {
        let Some(id) = id else { return };
        match self.ids.get(topic) {
            Some(known) if *known == id => return,
            Some(_) => self.renew(topic),
            None => {}
        }
        self.ids.insert(topic.clone(), id);
    }

    fn renew(&mut self, topic: &Topic) {
        self.retention.remove(topic);
        for place in (0..self.partitions.len()).filter(|place| self.partitions[*place].topic == *topic) {
            self.starts[place] = None;
            self.high_watermarks[place] = None;
            self.last_stable[place] = None;
            self.waiting_since[place] = None;
            self.is_present[place] = false;
            self.ages.forget(place);
            self.renewed.push(place);
        }
    }

    /// Takes both ends of one partition; whether its end was read.
    fn take(&mut self, place: usize, ends: &PartitionEnds, read_at: f64) -> bool {
        self.is_present[place] = true;
        self.starts[place] = ends.start.or(self.starts[place]);
        if let Ok(end) = &ends.end {
            self.high_watermarks[place] = Some(*end);
            self.read_in[place] = self.polls;
        }
        let before = self.last_stable[place];
        if let Some(Ok(stable)) = &ends.last_stable {
            self.last_stable[place] = Some(*stable);
        }
        let since = self.waiting_since[place].filter(|_| self.last_stable[place] == before);
        self.waiting_since[place] = self.waiting(place).map(|_| since.unwrap_or(read_at));
        ends.end.is_ok()
    }

    /// The place of a partition, if it has one; `likely` is tried first: polls bring the same order again.
    fn place(&self, topic: &Topic, partition: i32, likely: usize) -> Option<usize> {
        let there = self.partitions.get(likely);
        if there.is_some_and(|there| there.partition == partition && there.topic == *topic) {
            return Some(likely);
        }
        self.places.get(&TopicPartition::new(topic.clone(), partition)).copied()
    }

    /// The next place, for a partition that has none.
    fn add(&mut self, topic: &Topic, partition: i32) -> usize {
        let partition = TopicPartition::new(topic.clone(), partition);
        let place = self.partitions.len();
        let known = self.topics.iter().position(|known| known == topic);
        self.topic_of.push(known.unwrap_or(self.topics.len()));
        if known.is_none() {
            self.topics.push(topic.clone());
        }
        self.places.insert(partition.clone(), place);
        self.partitions.push(partition);
        self.starts.push(None);
        self.high_watermarks.push(None);
        self.last_stable.push(None);
        self.read_in.push(0);
        self.waiting_since.push(None);
        self.is_present.push(true);
        place
    }

    /// Whether the end in this place was read in the newest poll.
    pub(super) fn is_fresh(&self, place: usize) -> bool {
        self.read_in[place] == self.polls
    }

    /// Whether there is such a partition: a topic made anew may have fewer than before.
    pub(super) fn is_present(&self, place: usize) -> bool {
        self.is_present[place]
    }

    /// How long offsets have waited behind the last stable offset in this place, seconds, and how many; `None` where none
    /// do, or nobody reads it.
    pub(super) fn held_back(&self, place: usize, now: f64) -> Option<(f64, i64)> {
        Some(((now - self.waiting_since[place]?).max(0.0), self.waiting(place)?))
    }

    fn waiting(&self, place: usize) -> Option<i64> {
        let waiting = self.high_watermarks[place]? - self.last_stable[place]?;
        (waiting > 0).then_some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::{ReadError, ReadFault};

    fn ends(partition: i32, end: i64, stable: i64) -> PartitionEnds {
        PartitionEnds { partition, start: Some(0), end: Ok(end), last_stable: Some(Ok(stable)) }
    }

    fn seen(at: f64, id: u8, partitions: Vec<PartitionEnds>) -> Snapshot {
        let topic = Topic::new("orders");
        let topic = TopicEnds {
            topic,
            id: Some([id; 16]),
            read_at: Instant::from_seconds(at),
            partitions: Ok(partitions),
            retention: None,
        };
        Snapshot { groups: Vec::new(), topics: vec![topic] }
    }

    #[test]
    fn a_topic_made_anew_is_another_topic() {
        let (mut log, topics) = (LogView::default(), [Topic::new("orders")]);
        assert!(log.read(&topics, &seen(1.0, 1, vec![ends(0, 900, 900), ends(1, 800, 800)])));
        assert_eq!((log.present, log.fresh, log.renewed.len()), (2, 2, 0));
        assert!(log.read(&topics, &seen(2.0, 2, vec![ends(0, 5, 5)])));
        assert_eq!((log.present, log.fresh, log.renewed.as_slice()), (1, 1, &[0, 1][..]));
        assert_eq!(log.high_watermarks, [Some(5), None], "nothing of the old topic is left");
        assert!(log.read(&topics, &seen(3.0, 2, vec![ends(0, 6, 6), ends(1, 1, 1)])));
        assert_eq!((log.present, log.renewed.len()), (2, 0), "partition 1 is in its old place");
        assert_eq!(log.high_watermarks, [Some(6), Some(1)]);
    }

    #[test]
    fn an_id_that_is_not_told_changes_nothing() {
        let (mut log, topics) = (LogView::default(), [Topic::new("orders")]);
        log.read(&topics, &seen(1.0, 1, vec![ends(0, 900, 900)]));
        let mut silent = seen(2.0, 1, vec![ends(0, 901, 901)]);
        silent.topics[0].id = None;
        log.read(&topics, &silent);
        assert_eq!(log.renewed.len(), 0);
        log.read(&topics, &seen(3.0, 1, vec![ends(0, 902, 902)]));
        assert_eq!(log.renewed.len(), 0, "it is still the same");
    }

    #[test]
    fn an_open_transaction_is_seen_by_what_waits_behind_it() {
        let (mut log, topics) = (LogView::default(), [Topic::new("orders")]);
        log.read(&topics, &seen(1.0, 1, vec![ends(0, 100, 100)]));
        assert_eq!(log.held_back(0, 1.0), None);
        log.read(&topics, &seen(2.0, 1, vec![ends(0, 150, 120)]));
        assert_eq!(log.held_back(0, 2.0), Some((0.0, 30)), "it moved");
        log.read(&topics, &seen(9.0, 1, vec![ends(0, 500, 120)]));
        assert_eq!(log.held_back(0, 9.0), Some((7.0, 380)));
        log.read(&topics, &seen(10.0, 1, vec![ends(0, 501, 501)]));
        assert_eq!(log.held_back(0, 10.0), None);
    }

    #[test]
    fn an_end_that_was_not_read_is_kept_and_not_fresh() {
        let (mut log, topics) = (LogView::default(), [Topic::new("orders")]);
        log.read(&topics, &seen(1.0, 1, vec![ends(0, 100, 100), ends(1, 100, 100)]));
        let away = ReadError { fault: ReadFault::Unavailable, detail: String::new() };
        let lost = PartitionEnds { partition: 1, start: None, end: Err(away.clone()), last_stable: Some(Err(away)) };
        assert!(log.read(&topics, &seen(2.0, 1, vec![ends(0, 110, 110), lost.clone()])));
        assert_eq!((log.is_fresh(0), log.is_fresh(1), log.fresh, log.present), (true, false, 1, 2));
        assert_eq!((log.high_watermarks[1], log.starts[1]), (Some(100), Some(0)));
        assert!(!log.read(&topics, &seen(3.0, 1, vec![lost])), "not one could be read");
        assert_eq!(log.ends_at, 2.0);
    }
}
