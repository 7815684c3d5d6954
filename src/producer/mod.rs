//! Writing through a valve: its handle, and a producer that waits for it.
//!
//! [`Valve`] throttles anything ([`Valve::acquire`]); [`ThrottledProducer`] is rdkafka's `FutureProducer` behind one.

mod admission;
mod delivery;
mod queue;
mod record;
mod sink;
mod throttled;
mod valve;

pub use delivery::DeliveryFuture;
pub use record::OwnedRecord;
pub use sink::{SinkError, ThrottledSink};
pub use throttled::{Closed, ProducerState, Sending, ThrottledProducer, TrySendError};
pub use valve::{Demand, Throttled, Valve, ValveDriver};
