//! Offsets of one partition → its lag, or why there is none. Every awkward case is decided here.

use serde::{Deserialize, Serialize};

/// What is known of one partition for one group, in offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// Committed offset: the next one the group would read. `None`: no commit.
    pub committed: Option<i64>,
    /// Log start offset, where it was read.
    pub log_start: Option<i64>,
    /// The end the group can read to: high watermark or last stable offset. `None`: could not be read.
    pub end: Option<i64>,
}

/// A lag, in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// Offsets between commit and end that still exist: never negative.
    pub messages: i64,
    /// Offsets that retention deleted before the group read them.
    pub lost: i64,
}

/// Why a partition has no lag. Never zero instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmeasured {
    /// The log end could not be read.
    EndUnknown,
    /// The group has no commit here: where it would begin depends on its own `auto.offset.reset`.
    NeverCommitted,
    /// The commit is beyond the end: the log was cut or made anew, and the commit speaks of another one.
    BeyondEnd,
}

impl PartitionOffsets {
    /// `lag = end − max(committed, log start)`.
    ///
    /// A commit beyond the end is no lag of zero: commits are read before ends, so it means that the log was truncated or
    /// that the topic was recreated. The group will begin where its `auto.offset.reset` says.
    ///
    /// ```
    /// use lagvalve::lag::PartitionOffsets;
    /// let read = PartitionOffsets { committed: Some(4), log_start: Some(10), end: Some(30) };
    /// let lag = read.lag().unwrap();
    /// assert_eq!((lag.messages, lag.lost), (20, 6));
    /// ```
    ///
    /// # Errors
    /// [`Unmeasured`] when the end or the commit is not known, or they do not belong together.
    pub fn lag(self) -> Result<PartitionLag, Unmeasured> {
        let end = self.end.ok_or(Unmeasured::EndUnknown)?;
        let committed = self.committed.ok_or(Unmeasured::NeverCommitted)?;
        if committed > end {
            return Err(Unmeasured::BeyondEnd);
        }
        // An old end under a newer log start: everything up to it is gone.
        let first_unread = committed.max(self.log_start.unwrap_or(committed));
        Ok(PartitionLag { messages: (end - first_unread).max(0), lost: first_unread - committed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_awkward_case_has_a_verdict() {
        let table = [
            ("plain", Some(10), Some(0), Some(30), Ok((20, 0))),
            ("caught up", Some(30), Some(0), Some(30), Ok((0, 0))),
            ("start never read", Some(10), None, Some(30), Ok((20, 0))),
            ("retention overtook the group", Some(4), Some(10), Some(30), Ok((20, 6))),
            ("everything deleted", Some(4), Some(30), Some(30), Ok((0, 26))),
            ("the end is older than the start", Some(4), Some(50), Some(30), Ok((0, 46))),
            ("commit beyond a truncated log", Some(40), Some(0), Some(30), Err(Unmeasured::BeyondEnd)),
            ("no commit is not lag zero", None, Some(0), Some(30), Err(Unmeasured::NeverCommitted)),
            ("no commit on an empty log", None, Some(0), Some(0), Err(Unmeasured::NeverCommitted)),
            ("end unreadable is not lag zero", Some(10), Some(0), None, Err(Unmeasured::EndUnknown)),
            ("nothing known", None, None, None, Err(Unmeasured::EndUnknown)),
        ];
        for (case, committed, log_start, end, verdict) in table {
            let lag = PartitionOffsets { committed, log_start, end }.lag();
            assert_eq!(lag.map(|lag| (lag.messages, lag.lost)), verdict, "{case}");
        }
    }
}
