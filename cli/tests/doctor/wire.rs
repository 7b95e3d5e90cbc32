//! What is sent to the receiving namespace while the doctor listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netlab::Lab;

use crate::support::{Sending, stream};

/// An IGMPv3 general query (RFC 3376, section 4.1), and an IGMPv2 one (RFC 2236, section 2).
pub const IGMPV3_QUERY: [u8; 12] = [0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 125, 0, 0];
pub const IGMPV2_QUERY: [u8; 8] = [0x11, 100, 0xee, 0x9b, 0, 0, 0, 0];

/// Sends probes until it is dropped.
pub fn sending(lab: &Lab, group: &str, port: u16, sources: &[&str]) -> Sending {
    let mut config = stream(lab, group, port, sources);
    (config.traffic.rate, config.traffic.count) = (500, None);
    Sending::start(lab, config)
}

/// Sends a packet again and again from the other end, until it is dropped.
pub struct Repeating(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Repeating {
    /// An IGMP message to all hosts.
    pub fn igmp(lab: &Lab, message: &'static [u8]) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = lab.tx().spawn(move || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(2.into()));
            let socket = socket.expect("a raw socket");
            socket.set_multicast_if_v4(&[10, 0, 0, 1].into()).expect("interface");
            let all_hosts = std::net::SocketAddr::from(([224, 0, 0, 1], 0));
            while !ended.load(Ordering::Relaxed) {
                socket.send_to(message, &all_hosts.into()).expect("sent");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self(end, Some(thread.expect("a thread")))
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}
