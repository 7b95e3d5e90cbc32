//! What the second opinions need: packets as they were on the wire, damage by a seed, and the programs that read them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netlab::Lab;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::command::Scratch;

/// An IP packet, and when it was seen in nanoseconds since 1970.
pub type Packet = (u64, Vec<u8>);

/// Sees the IPv4 packets that the lab's sending end sends and receives, until it is stopped.
pub struct Tap {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Packet>>,
}

impl Tap {
    pub fn start(lab: &Lab) -> Self {
        const ETH_P_ALL: u16 = 3;
        let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let tap = lab.tx().run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))).expect("the namespace");
        let mut tap = tap.expect("a packet socket");
        tap.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&tap, 32 << 20).expect("a buffer");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 70_000]);
            loop {
                // What was sent before the stop is in the socket's buffer by then.
                let last = stopped.load(Ordering::Acquire);
                match tap.read(&mut buffer) {
                    Ok(length) if length > 28 && buffer[0] == 0x45 => {
                        let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
                        all.push((at, buffer[..length].to_vec()));
                    }
                    Ok(_) => {}
                    Err(_) if last => return all,
                    Err(_) => {}
                }
            }
        });
        Self { stop, thread }
    }

    /// The UDP datagrams to a multicast group that were seen.
    pub fn stop(self) -> Vec<Packet> {
        self.stop.store(true, Ordering::Release);
        let mut all = self.thread.join().expect("a thread");
        all.retain(|(_, packet)| packet[9] == 17 && packet[16] >> 4 == 14);
        all
    }
}

/// The destination port of an IPv4 packet without options.
pub fn port(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet.1[22], packet.1[23]])
}

/// The UDP payload of an IPv4 packet without options.
pub fn payload(packet: &Packet) -> &[u8] {
    &packet.1[28..]
}

/// Numbers that a seed determines (xorshift64*).
pub struct Luck(u64);

impl Luck {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns true once in `of` times.
    pub fn strikes(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// Runs a program with this standard input, and returns its standard output and error. It must succeed.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> (Vec<u8>, String) {
    let mut command = Command::new(program);
    // No settings of a user.
    command.args(arguments).env("WIRESHARK_CONFIG_DIR", "/nonexistent").env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // A program may end before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("output")
    });
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    (output.stdout, error)
}

/// What `receiver analyze` finds in a capture.
pub fn analyze(file: &[u8], arguments: &[&str]) -> Value {
    let (out, _) = run(env!("CARGO_BIN_EXE_receiver"), &[&["analyze", "-", "--json"], arguments].concat(), file);
    serde_json::from_slice(&out).expect("JSON")
}

/// The only stream to this port.
pub fn stream(analysis: &Value, port: u16) -> &Value {
    let streams = analysis["streams"].as_array().expect("streams");
    let mut found = streams.iter().filter(|stream| stream["port"] == port);
    let stream = found.next().unwrap_or_else(|| panic!("no stream to port {port}: {analysis}"));
    assert!(found.next().is_none(), "{analysis}");
    stream
}

/// These numbers of an object.
pub fn numbers<const N: usize>(object: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| object[name].as_u64().unwrap_or_else(|| panic!("{name}: {object}")))
}

/// Fields that tshark finds in each packet that passes a filter: a row for each packet, a list for each field.
pub fn tshark(file: &[u8], options: &[&str], filter: &str, fields: &[&str]) -> Vec<Vec<Vec<String>>> {
    let scratch = Scratch::with(file);
    let mut arguments = vec!["-n", "-r", scratch.name(), "-Y", filter, "-T", "fields"];
    arguments.extend(["-E", "separator=|", "-E", "occurrence=a", "-E", "aggregator=,"]);
    arguments.extend(options);
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let (out, _) = run("tshark", &arguments, b"");
    let list = |text: &str| text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    String::from_utf8(out).expect("text").lines().map(|line| line.split('|').map(list).collect()).collect()
}

/// A number as tshark writes it.
pub fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// How often the demultiplexer of ffmpeg finds a continuity counter wrong, by PID.
pub fn continuity_of_ffmpeg(transport_stream: &[u8]) -> BTreeMap<u64, u64> {
    // What it reads to find the streams it reads twice; nothing is wrong there.
    let arguments = ["-hide_banner", "-v", "debug", "-probesize", "20000", "-f", "mpegts", "-i", "-"];
    let output = ["-map", "0", "-c", "copy", "-f", "null", "-"];
    let (_, error) = run("ffmpeg", &[&arguments[..], &output].concat(), transport_stream);
    let mut all = BTreeMap::new();
    for line in error.lines() {
        if let Some((_, rest)) = line.split_once("Continuity check failed for pid ") {
            let pid = rest.split(' ').next().expect("a PID").parse().expect("a number");
            *all.entry(pid).or_default() += 1;
        }
    }
    all
}
