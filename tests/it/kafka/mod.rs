//! The log in a Kafka topic, against real brokers: what every log promises, what is refused, what is survived.

mod conformance;
