//! What a demo record carries: who wrote it, its sequence number, when it was handed to the client.

use lagvalve::clock::Instant;

/// The least a record can be, bytes: producer, sequence number, time.
pub(super) const MIN_BYTES: usize = 24;

/// The head of every record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which writer.
    pub(super) producer: u32,
    /// Counts that writer's records from 0.
    pub(super) sequence: u64,
    /// When it was handed to the client, on this process's clock.
    pub(super) sent_at: Instant,
}

impl Stamp {
    /// Writes the stamp over the head of `value`, which is at least [`MIN_BYTES`] long.
    pub(super) fn write(self, value: &mut [u8]) {
        value[..4].copy_from_slice(&MAGIC.to_be_bytes());
        value[4..8].copy_from_slice(&self.producer.to_be_bytes());
        value[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        value[16..24].copy_from_slice(&self.sent_at.as_nanos().to_be_bytes());
    }

    /// `None` when `value` is not a record of this demo.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(value.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
        if word(0)? != MAGIC {
            return None;
        }
        Some(Self { producer: word(4)?, sequence: long(8)?, sent_at: Instant::from_nanos(long(16)?) })
    }
}

const MAGIC: u32 = 0x4c41_4756;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_wire_and_foreign_bytes_are_refused() {
        let stamp = Stamp { producer: 3, sequence: 1 << 40, sent_at: Instant::from_seconds(12.5) };
        let mut value = vec![b'x'; 100];
        stamp.write(&mut value);
        assert_eq!(Stamp::read(&value), Some(stamp));
        assert_eq!(Stamp::read(b"{\"id\":1}"), None);
        assert_eq!(Stamp::read(&value[..20]), None);
    }
}
