//! Capture files: [`Reader`] reads the packets of pcap and pcapng, also compressed with zstd ([`Content`]), and
//! [`Frames`] finds the UDP datagrams in them and puts fragments together.

mod capture;
mod compressed;
mod frame;

pub use capture::{CaptureError, Captured, Ended, LARGEST_BLOCK, Reader, Step, UNDELIVERED, packets_within};
pub use compressed::Content;
pub use frame::{ETHERNET, Found, FrameCounts, Frames, RAW, addresses, network};
