//! Records that own their data, and what a record weighs.

use rdkafka::message::{Headers, Message, OwnedHeaders, OwnedMessage, Timestamp, ToBytes};
use rdkafka::producer::FutureRecord;

/// A record that owns its data: what a [`ThrottledSink`](super::ThrottledSink) takes.
#[derive(Clone, Debug, Default)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: String,
    /// The partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch; `None` is the time it enters librdkafka.
    pub timestamp: Option<i64>,
    /// The headers.
    pub headers: Option<OwnedHeaders>,
}

impl OwnedRecord {
    /// A record for `topic` without key or value.
    #[must_use]
    pub fn to(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Sets the time, milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(mut self, headers: OwnedHeaders) -> Self {
        self.headers = Some(headers);
        self
    }

    /// The same record, borrowed. The headers are copied, if there are any.
    #[must_use]
    pub fn as_record(&self) -> FutureRecord<'_, [u8], [u8]> {
        FutureRecord {
            topic: &self.topic,
            partition: self.partition,
            payload: self.payload.as_deref(),
            key: self.key.as_deref(),
            timestamp: self.timestamp,
            headers: self.headers.clone(),
        }
    }
}

impl From<OwnedMessage> for OwnedRecord {
    /// The record of a failed delivery, to be sent again. The failed attempt's time is kept; a partition that the
    /// partitioner had chosen is kept too.
    fn from(mut message: OwnedMessage) -> Self {
        Self {
            topic: message.topic().to_owned(),
            partition: (message.partition() >= 0).then_some(message.partition()),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers: message.detach_headers(),
        }
    }
}

/// What a record weighs against limits in bytes: key, value and headers.
pub(super) fn weight<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(record: &FutureRecord<'_, K, P>) -> u64 {
    let headers = record
        .headers
        .as_ref()
        .map_or(0, |headers| headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum());
    let key = record.key.map_or(0, |key| key.to_bytes().len());
    let payload = record.payload.map_or(0, |payload| payload.to_bytes().len());
    (headers + key + payload) as u64
}

/// The record as rdkafka hands back what it could not send.
pub(super) fn to_message<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(record: FutureRecord<'_, K, P>) -> OwnedMessage {
    OwnedMessage::new(
        record.payload.map(|payload| payload.to_bytes().to_vec()),
        record.key.map(|key| key.to_bytes().to_vec()),
        record.topic.to_owned(),
        record.timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime),
        record.partition.unwrap_or(-1),
        0,
        record.headers,
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Header;

    use super::*;

    #[test]
    fn a_record_weighs_its_key_value_and_headers() {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "ab", value: Some("cde") })
            .insert(Header { key: "f", value: None::<&str> });
        let record = OwnedRecord::to("t").key("key").payload("value").headers(headers);
        assert_eq!(weight(&record.as_record()), 3 + 5 + 2 + 3 + 1);
        assert_eq!(weight(&OwnedRecord::to("t").as_record()), 0);
    }

    #[test]
    fn what_comes_back_can_be_sent_again() {
        let record = OwnedRecord::to("t").key("key").payload("value").timestamp(7);
        let again = OwnedRecord::from(to_message(record.as_record()));
        assert_eq!((again.topic.as_str(), again.partition, again.timestamp), ("t", None, Some(7)));
        assert_eq!((again.key, again.payload), (record.key, record.payload));
    }
}
