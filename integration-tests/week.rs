//! A week of one valve, a tick a second: what it remembers must not grow. A program of its own, because it looks at the
//! memory of the whole process.

use std::collections::HashMap;

use lagvalve::agent::{Quality, TickInput, ValveLoop};
use lagvalve::clock::Instant;
use lagvalve::id::{GroupId, Topic, TopicPartition};
use lagvalve::lag::{
    GroupCommits, GroupDescription, GroupKind, GroupState, PartitionEnds, ReadError, ReadFault, Snapshot, TopicEnds,
};
use lagvalve::{ProtectedGroup, ValveSettings};

const DAY: u64 = 86_400;
const PARTITIONS: usize = 12;
const GROUPS: [(&str, f64, u64); 2] = [("billing", 250.0, 5), ("search", 400.0, 30)];
/// A leak of one pointer a tick would be four times this.
const MOST_GROWTH: usize = 1 << 20;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads its memory from /proc/self/statm")]
fn memory_is_constant_over_a_week() {
    let mut week = Week::new();
    for second in 0..DAY {
        week.second(second);
    }
    let after_a_day = resident_bytes();
    for second in DAY..7 * DAY {
        week.second(second);
    }
    let after_a_week = resident_bytes();
    println!("{} ticks: {after_a_day} bytes after a day, {after_a_week} after a week", 7 * DAY);
    assert!(week.limited > 3 * DAY && week.unread > 1000 && week.resets == 6, "the week did not go as it was told");
    assert!(after_a_week < after_a_day + MOST_GROWTH, "{after_a_day} bytes after a day, {after_a_week} after a week");
}

/// One topic that a valve fills without end, and two groups: each is away for a minute and a half every hour, and goes back
/// by a thousand records every day. Every six hours nothing can be read for five minutes; every night the topic is made anew.
struct Week {
    valve: ValveLoop,
    descriptions: HashMap<GroupId, Result<GroupDescription, ReadError>>,
    rate: f64,
    sent: f64,
    end: f64,
    position: [f64; 2],
    committed: [f64; 2],
    /// Ticks that limited the writers.
    limited: u64,
    /// Ticks without a usable sample.
    unread: u64,
    /// Times that the topic was made anew.
    resets: u64,
}

impl Week {
    fn new() -> Self {
        let mut settings = ValveSettings::new("backfill", vec![Topic::new("orders")]);
        settings.protect = GROUPS.iter().map(|(name, ..)| ProtectedGroup::new(*name)).collect();
        Self {
            valve: ValveLoop::new(settings),
            descriptions: HashMap::new(),
            rate: 100.0,
            sent: 0.0,
            end: 0.0,
            position: [0.0; 2],
            committed: [0.0; 2],
            limited: 0,
            unread: 0,
            resets: 0,
        }
    }

    fn second(&mut self, second: u64) {
        if second > 0 && second.is_multiple_of(DAY) {
            (self.end, self.position, self.committed) = (0.0, [0.0; 2], [0.0; 2]);
            self.resets += 1;
        }
        let written = self.rate.min(1000.0 * PARTITIONS as f64);
        self.sent += written;
        self.end += written / PARTITIONS as f64;
        for (index, (name, capacity, interval)) in GROUPS.iter().enumerate() {
            let away = (second + 1700 * index as u64) % 3600 < 90;
            let pace = if away { 0.0 } else { capacity * (1.0 + 0.3 * (second as f64 / 9000.0).sin()) };
            self.position[index] = (self.position[index] + pace).min(self.end);
            if second % DAY == 40_000 {
                self.position[index] = (self.position[index] - 1000.0).max(0.0);
            }
            if !away && second.is_multiple_of(*interval) {
                self.committed[index] = self.position[index];
            }
            self.descriptions.insert(GroupId::new(*name), Ok(described(name, away)));
        }
        let blind = second % (6 * 3600) > 6 * 3600 - 300;
        let snapshot = self.poll(second, blind);
        let record = self.valve.tick(&TickInput {
            now: Instant::from_seconds(second as f64),
            unix_millis: second * 1000,
            snapshot: Some(&snapshot),
            descriptions: &self.descriptions,
            sent_total: self.sent as u64,
        });
        self.rate = record.rate_decided.as_f64();
        self.limited += u64::from(self.rate.is_finite());
        self.unread += u64::from(record.groups.iter().any(|group| group.quality != Quality::Fresh));
    }

    fn poll(&self, second: u64, blind: bool) -> Snapshot {
        let read_at = Instant::from_seconds(second as f64 - 0.01);
        let lost = || ReadError { fault: ReadFault::Unavailable, detail: "no answer".to_owned() };
        let group = |(index, (name, ..)): (usize, &(&str, f64, u64))| {
            let offset = |partition| (TopicPartition::new("orders", partition), self.committed[index] as i64);
            let commits = if blind { Err(lost()) } else { Ok((0..PARTITIONS as i32).map(offset).collect()) };
            GroupCommits { group: GroupId::new(*name), read_at, commits }
        };
        let end = |partition| PartitionEnds { partition, start: Some(0), end: Ok(self.end as i64), last_stable: None };
        Snapshot {
            groups: GROUPS.iter().enumerate().map(group).collect(),
            topics: vec![TopicEnds {
                topic: Topic::new("orders"),
                id: Some([self.resets as u8; 16]),
                read_at,
                partitions: if blind { Err(lost()) } else { Ok((0..PARTITIONS as i32).map(end).collect()) },
                retention: None,
            }],
        }
    }
}

fn described(name: &str, away: bool) -> GroupDescription {
    let (state, members) = if away { (GroupState::Empty, 0) } else { (GroupState::Stable, 3) };
    let assigned_partitions = if away { 0 } else { PARTITIONS };
    GroupDescription { group: GroupId::new(name), state, members, assigned_partitions, kind: GroupKind::Classic }
}

/// Resident memory of this process: the second field of statm, in pages of 4 KiB.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field is a number") * 4096
}
