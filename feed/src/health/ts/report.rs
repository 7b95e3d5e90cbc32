//! What was found about a transport stream, as plain data.

/// Errors by ETSI TR 101 290, section 5.2. Each counts how often the condition arose; conditions that last are counted
/// once each time that the specification's period passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tr101290 {
    /// 1.1: two or more sync bytes in a row are wrong.
    pub sync_loss: u64,
    /// 1.2: a sync byte is wrong.
    pub sync_byte: u64,
    /// 1.3: no PAT for 0.5 s, another table on PID 0, or PID 0 scrambled.
    pub pat: u64,
    /// 1.4: continuity counter.
    pub continuity: u64,
    /// 1.5: no PMT for 0.5 s, or its PID is scrambled.
    pub pmt: u64,
    /// 1.6: a PID that a PMT refers to does not occur for 5 s.
    pub pid: u64,
    /// 2.1: the transport error indicator is set.
    pub transport: u64,
    /// 2.2: the CRC of a table is wrong.
    pub crc: u64,
    /// 2.3a: more than 100 ms between two clock references.
    pub pcr_repetition: u64,
    /// 2.3b: two clock references differ by more than 100 ms, and no discontinuity is signalled.
    pub pcr_discontinuity: u64,
    /// 2.4: a clock reference is more than 500 ns off. `None` if arrival times are too coarse to measure that.
    pub pcr_accuracy: Option<u64>,
    /// 2.5: more than 700 ms between presentation times.
    pub pts: u64,
    /// 2.6: scrambled packets but no CAT, or another table on PID 1.
    pub cat: u64,
}

impl Tr101290 {
    /// Errors of priority 1.
    #[must_use]
    pub fn priority_1(&self) -> u64 {
        self.sync_loss + self.sync_byte + self.pat + self.continuity + self.pmt + self.pid
    }

    /// Errors of priority 2, as far as they can be measured.
    #[must_use]
    pub fn priority_2(&self) -> u64 {
        let clock = self.pcr_repetition + self.pcr_discontinuity + self.pcr_accuracy.unwrap_or(0);
        self.transport + self.crc + clock + self.pts + self.cat
    }
}

/// The clock references of one PID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PcrReport {
    /// Clock references.
    pub count: u64,
    /// The longest time between two, by arrival.
    pub max_interval_ns: u64,
    /// How far the arrival intervals differ from the clock's, smoothed as RFC 3550 does.
    pub jitter_ns: u64,
    /// The largest such difference.
    pub max_deviation_ns: u64,
    /// Bit rate of the whole stream between the last two references, in bits per second of the stream's own clock.
    pub bit_rate: u64,
}

/// One PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PidReport {
    /// The PID.
    pub pid: u16,
    /// Packets.
    pub packets: u64,
    /// Continuity errors.
    pub continuity_errors: u64,
    /// Packets that the counters say are missing. A loss of 16 or a multiple of it shows in no counter.
    pub missing: u64,
    /// Packets sent twice, which is legal once in a row.
    pub duplicates: u64,
    /// Scrambled packets.
    pub scrambled: u64,
    /// Its clock references, if it has any.
    pub pcr: Option<PcrReport>,
}

/// One elementary stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElementaryStream {
    /// Its PID.
    pub pid: u16,
    /// Its type: 0x1b is H.264, 0x24 HEVC, 0x0f AAC, 0x02 MPEG-2 video, …
    pub stream_type: u8,
}

/// One program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// Its number: the service id.
    pub number: u16,
    /// PID of its PMT.
    pub pmt_pid: u16,
    /// PID of its clock references, once its PMT has come.
    pub pcr_pid: Option<u16>,
    /// Its elementary streams.
    pub streams: Vec<ElementaryStream>,
    /// Service name, from the SDT.
    pub service: Option<String>,
    /// Provider name, from the SDT.
    pub provider: Option<String>,
}

/// A transport stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TsReport {
    /// Packets, null packets included.
    pub packets: u64,
    /// Null packets.
    pub null_packets: u64,
    /// Bit rate by arrival over the last full second, in bits per second; `None` before one has passed.
    pub bit_rate: Option<u64>,
    /// Transport stream id, from the PAT.
    pub transport_stream_id: Option<u16>,
    /// Errors by TR 101 290.
    pub errors: Tr101290,
    /// Programs, in the order of the PAT.
    pub programs: Vec<Program>,
    /// PIDs, in the order in which they appeared.
    pub pids: Vec<PidReport>,
    /// Packets of PIDs beyond the 254 that are tracked.
    pub untracked: u64,
}
