//! What a failed delivery means: the record's own fault, or the cluster's; and the sentence with the remedy.

use rdkafka::types::RDKafkaErrorCode as Code;

/// Whose fault it is that a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The record's, or that of a neighbour in its batch: sent alone it shows.
    Record,
    /// Everything else: no other record would fare better.
    Cluster,
}

/// Sorts `code`.
pub(super) fn fault_of(code: Code) -> Fault {
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::MessageBatchTooLarge
        | Code::InvalidTimestamp
        | Code::InvalidRecord
        | Code::InvalidDifferentRecord
        | Code::UnknownPartition
        | Code::InvalidArgument => Fault::Record,
        _ => Fault::Cluster,
    }
}

/// What `code` means for a record on its way to `topic`, with the remedy; a clause.
pub(super) fn reason(code: Code, topic: &str) -> String {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => format!(
            "the record is larger than allowed; raise max.message.bytes of topic {topic} and -X message.max.bytes=… here"
        ),
        Code::InvalidTimestamp => {
            format!(
                "the broker refuses its timestamp (message.timestamp.before.max.ms or …after.max.ms of topic {topic})"
            )
        }
        Code::InvalidRecord | Code::InvalidDifferentRecord => {
            format!("the broker refuses the record; a compacted topic ({topic}) takes none without a key")
        }
        Code::UnknownPartition => format!("topic {topic} does not have the partition that it names"),
        Code::TopicAuthorizationFailed => {
            format!(
                "writing to topic {topic} is not allowed; grant it: kafka-acls.sh --add --operation Write --topic {topic} …"
            )
        }
        Code::ClusterAuthorizationFailed => format!(
            "idempotent writing is not allowed on this cluster; grant it: kafka-acls.sh --add --operation Write --topic \
             {topic} … (before Kafka 2.8 also --operation IdempotentWrite --cluster)"
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            format!("topic {topic} does not exist any more; create it again, then resume")
        }
        Code::MessageTimedOut => {
            "no broker acknowledged it in time (-X delivery.timeout.ms=…); is the partition's leader up?".to_owned()
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            format!(
                "topic {topic} has fewer replicas in sync than min.insync.replicas; bring the brokers back, then resume"
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_record_can_cause_is_held_against_it() {
        assert_eq!(fault_of(Code::MessageSizeTooLarge), Fault::Record);
        for code in [Code::MessageTimedOut, Code::TopicAuthorizationFailed, Code::AllBrokersDown, Code::Fatal] {
            assert_eq!(fault_of(code), Fault::Cluster, "{code:?}");
        }
        assert!(reason(Code::TopicAuthorizationFailed, "orders").contains("--operation Write --topic orders"));
        assert!(!reason(Code::BrokerTransportFailure, "orders").is_empty());
    }
}
