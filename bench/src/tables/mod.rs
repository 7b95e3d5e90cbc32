//! One file for each table.

pub mod burst;
pub mod control;
pub mod feeds;
pub mod flood;
pub mod idle;
pub mod joins;
pub mod latency;
pub mod loss_free;
pub mod memory;
pub mod nats;
pub mod pauses;
pub mod receive_cost;
pub mod record;
pub mod replay;
pub mod rules;
pub mod scrape;
pub mod sizes;
pub mod streams;
pub mod throughput;
pub mod transport;
pub mod wrong_source;
