//! Two legs of a feed of MoldUDP64.
#![allow(dead_code)] // Each test binary uses its part.

/// The legs: each has its own source, group and port.
pub const A: &str = "10.0.0.1@232.1.1.1:5000";
pub const B: &str = "10.0.0.2@232.1.1.2:5001";
pub const LEGS: [&str; 2] = [A, B];
pub const GROUPS: [(&str, u16); 2] = [("232.1.1.1", 5000), ("232.1.1.2", 5001)];

/// The header of MoldUDP64.
pub fn header(session: &str, first: u64, count: u16) -> Vec<u8> {
    let mut bytes = format!("{session:<10}").into_bytes();
    bytes.extend(first.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes
}
