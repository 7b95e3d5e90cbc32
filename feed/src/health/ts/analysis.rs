//! The analysis of one transport stream, packet by packet.

use super::packet::{Bytes, NULL_PID, TsPacket};
use super::pcr::PcrClock;
use super::psi::{self, Section, Sections};
use super::report::{ElementaryStream, PidReport, Program, Tr101290, TsReport};
use crate::protocol::TS_PACKET_LEN;

const SYNC_BYTE: u8 = 0x47;
/// Sync bytes in a row that end and begin synchronization (TR 101 290, 1.1, and ISO/IEC 13818-1, annex G).
const SYNC_LOST_AFTER: u32 = 2;
const SYNC_FOUND_AFTER: u32 = 5;
const PAT_PID: u16 = 0;
const CAT_PID: u16 = 1;
const SDT_PID: u16 = 0x11;
/// A PAT and each PMT must come within 0.5 s.
const TABLE_PERIOD_NS: u64 = 500_000_000;
const PTS_PERIOD_NS: u64 = 700_000_000;
/// How often the periods are looked at.
const CHECK_NS: u64 = 50_000_000;
/// Programs tracked: four full sections of a PAT.
const MAX_PROGRAMS: usize = 1024;
/// PIDs tracked; the index has a byte for each.
const MAX_PIDS: usize = 254;
const NO_PID: u8 = u8::MAX;

/// How a transport stream is analyzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TsConfig {
    pid_period_ns: u64,
    precise_arrivals: bool,
}

impl Default for TsConfig {
    fn default() -> Self {
        Self { pid_period_ns: 5_000_000_000, precise_arrivals: false }
    }
}

impl TsConfig {
    /// How long a PID that a PMT refers to may be absent: 5 s.
    pub fn pid_period_ns(self, pid_period_ns: u64) -> Self {
        Self { pid_period_ns, ..self }
    }

    /// Arrival times are those of the hardware, one for each packet: PCR accuracy is measured. Otherwise it is reported
    /// as not measurable.
    pub fn precise_arrivals(self) -> Self {
        Self { precise_arrivals: true, ..self }
    }
}

#[derive(Clone, Debug)]
struct Pid {
    report: PidReport,
    continuity: Option<u8>,
    fingerprint: u64,
    /// The last packet was sent twice already.
    repeated: bool,
    last_ns: u64,
    clock: Option<Box<PcrClock>>,
    /// When the clock's lateness was counted last.
    clock_late_ns: u64,
    pts_ns: Option<u64>,
    sections: Option<Box<Sections>>,
}

#[derive(Clone, Debug)]
struct Table {
    program: Program,
    /// The version of the PAT that listed it last.
    pat_version: u8,
    /// Checksum of the PMT that `program` was read from.
    crc: Option<u32>,
    /// When its PMT came last, or should have been there.
    pmt_ns: u64,
    /// When each elementary stream was missed last.
    missed_ns: u64,
}

/// The PAT that is in force.
#[derive(Clone, Copy, Debug, Default)]
struct Pat {
    version: u8,
    /// A bit for each section that came, by its number.
    sections: [u128; 2],
    /// Checksum of its only section; `None` if there are several.
    crc: Option<u32>,
}

impl Pat {
    /// Notes a section. Returns true if all sections up to `last` have come.
    fn is_whole(&mut self, version: u8, number: u8, last: u8) -> bool {
        if self.version != version {
            (self.version, self.sections) = (version, [0; 2]);
        }
        let half = |number: u8| usize::from(number / 128);
        self.sections[half(number)] |= 1 << (number % 128);
        (0..=last).all(|number| self.sections[half(number)] >> (number % 128) & 1 != 0)
    }
}

/// The health of one transport stream.
///
/// ```
/// use receiver_feed::health::{TsConfig, TsHealth};
///
/// let mut health = TsHealth::new(TsConfig::default());
/// for (counter, arrived_ns) in [(0, 0), (1, 1_000), (3, 2_000)] {
///     let mut packet = [0; 188];
///     packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | counter]);
///     health.observe(&packet, arrived_ns);
/// }
/// assert_eq!(health.report().errors.continuity, 1);
/// ```
#[derive(Clone, Debug)]
pub struct TsHealth {
    config: TsConfig,
    /// Position of each PID in `pids`.
    index: Box<[u8; 8192]>,
    pids: Vec<Pid>,
    programs: Vec<Table>,
    errors: Tr101290,
    packets: u64,
    null_packets: u64,
    untracked: u64,
    transport_stream_id: Option<u16>,
    in_sync: bool,
    sync_run: u32,
    began_ns: Option<u64>,
    next_check_ns: u64,
    pat_ns: u64,
    pat: Pat,
    cat_seen: bool,
    scrambled_ns: Option<u64>,
    second_ns: u64,
    second_packets: u64,
    bit_rate: Option<u64>,
}

impl TsHealth {
    /// Nothing observed yet.
    #[must_use]
    pub fn new(config: TsConfig) -> Self {
        let pcr_accuracy = config.precise_arrivals.then_some(0);
        Self {
            config,
            index: Box::new([NO_PID; 8192]),
            pids: Vec::new(),
            programs: Vec::new(),
            errors: Tr101290 { pcr_accuracy, ..Tr101290::default() },
            packets: 0,
            null_packets: 0,
            untracked: 0,
            transport_stream_id: None,
            in_sync: true,
            sync_run: 0,
            began_ns: None,
            next_check_ns: 0,
            pat_ns: 0,
            pat: Pat::default(),
            cat_seen: false,
            scrambled_ns: None,
            second_ns: 0,
            second_packets: 0,
            bit_rate: None,
        }
    }

    /// Takes the packets of one datagram, in order. A rest shorter than a packet counts as a wrong sync byte.
    pub fn observe(&mut self, packets: &[u8], arrived_ns: u64) {
        if self.began_ns.is_none() {
            self.began_ns = Some(arrived_ns);
            (self.pat_ns, self.second_ns, self.next_check_ns) = (arrived_ns, arrived_ns, arrived_ns + CHECK_NS);
        }
        self.poll(arrived_ns);
        let (packets, rest) = packets.as_chunks::<TS_PACKET_LEN>();
        for packet in packets {
            self.packet(packet, arrived_ns);
        }
        if !rest.is_empty() {
            self.wrong_sync_byte();
        }
    }

    /// Looks for what should have come. [`TsHealth::observe`] does it by itself; call this when nothing arrives.
    #[inline]
    pub fn poll(&mut self, now_ns: u64) {
        if self.began_ns.is_some() && now_ns >= self.next_check_ns {
            self.check(now_ns);
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> TsReport {
        let pid = |pid: &Pid| PidReport { pcr: pid.clock.as_ref().and_then(|clock| clock.report()), ..pid.report };
        TsReport {
            packets: self.packets,
            null_packets: self.null_packets,
            bit_rate: self.bit_rate,
            transport_stream_id: self.transport_stream_id,
            errors: self.errors,
            programs: self.programs.iter().map(|table| table.program.clone()).collect(),
            pids: self.pids.iter().map(pid).collect(),
            untracked: self.untracked,
        }
    }

    #[cold]
    fn wrong_sync_byte(&mut self) {
        self.errors.sync_byte += 1;
        self.sync_run = if self.in_sync { self.sync_run + 1 } else { 0 };
        if self.in_sync && self.sync_run >= SYNC_LOST_AFTER {
            self.errors.sync_loss += 1;
            (self.in_sync, self.sync_run) = (false, 0);
        }
    }

    fn packet(&mut self, bytes: &Bytes, arrived_ns: u64) {
        self.packets += 1;
        self.second_packets += 1;
        if bytes[0] != SYNC_BYTE {
            return self.wrong_sync_byte();
        }
        if self.in_sync {
            self.sync_run = 0;
        } else {
            self.sync_run += 1;
            if self.sync_run < SYNC_FOUND_AFTER {
                return;
            }
            (self.in_sync, self.sync_run) = (true, 0);
            // Counters before the loss say nothing about those after it.
            self.pids.iter_mut().for_each(|pid| pid.continuity = None);
        }
        let packet = TsPacket::new(bytes);
        if packet.transport_error() {
            self.errors.transport += 1;
            return;
        }
        let number = packet.pid();
        if number == NULL_PID {
            self.null_packets += 1;
            return;
        }
        let Some(at) = self.find(number, arrived_ns) else {
            self.untracked += 1;
            return;
        };
        let pid = &mut self.pids[at];
        pid.report.packets += 1;
        pid.last_ns = arrived_ns;
        if packet.scrambled() {
            pid.report.scrambled += 1;
            self.scrambled_ns.get_or_insert(arrived_ns);
            self.errors.pat += u64::from(number == PAT_PID);
            self.errors.pmt += u64::from(self.programs.iter().any(|table| table.program.pmt_pid == number));
        }
        if !pid.follow(packet, &mut self.errors) {
            return;
        }
        if let Some(pcr) = packet.pcr() {
            let (offset, precise) = (self.packets * TS_PACKET_LEN as u64, self.config.precise_arrivals);
            let clock = pid.clock.get_or_insert_default();
            let faults = clock.observe(pcr, arrived_ns, offset, packet.discontinuity(), precise);
            // A lateness that was counted while it lasted is not counted again when it ends.
            let counted = std::mem::take(&mut pid.clock_late_ns) > 0;
            self.errors.pcr_repetition += u64::from(faults.repetition && !counted);
            self.errors.pcr_discontinuity += u64::from(faults.discontinuity);
            if let Some(accuracy) = &mut self.errors.pcr_accuracy {
                *accuracy += u64::from(faults.accuracy);
            }
        }
        if packet.has_pts()
            && let Some(last_ns) = pid.pts_ns.replace(arrived_ns)
        {
            self.errors.pts += u64::from(arrived_ns.saturating_sub(last_ns) > PTS_PERIOD_NS);
        }
        if pid.sections.is_some() && packet.has_payload() && !packet.scrambled() {
            self.tables(at, number, packet, arrived_ns);
        }
    }

    #[inline]
    fn find(&mut self, number: u16, arrived_ns: u64) -> Option<usize> {
        let at = self.index[usize::from(number)];
        if at != NO_PID { Some(at.into()) } else { self.add(number, arrived_ns) }
    }

    #[cold]
    fn add(&mut self, number: u16, arrived_ns: u64) -> Option<usize> {
        let at = self.pids.len();
        if at >= MAX_PIDS {
            return None;
        }
        self.index[usize::from(number)] = at as u8;
        let (packets, continuity_errors, missing, duplicates, scrambled) = (0, 0, 0, 0, 0);
        let report = PidReport { pid: number, packets, continuity_errors, missing, duplicates, scrambled, pcr: None };
        let table = [PAT_PID, CAT_PID, SDT_PID].contains(&number)
            || self.programs.iter().any(|table| table.program.pmt_pid == number);
        self.pids.push(Pid {
            report,
            continuity: None,
            fingerprint: 0,
            repeated: false,
            last_ns: arrived_ns,
            clock: None,
            clock_late_ns: 0,
            pts_ns: None,
            sections: table.then(|| Box::new(Sections::new())),
        });
        Some(at)
    }

    /// Takes a packet with sections.
    #[cold]
    fn tables(&mut self, at: usize, number: u16, packet: TsPacket<'_>, arrived_ns: u64) {
        let Some(mut sections) = self.pids[at].sections.take() else { return };
        sections.take(packet, |bytes| self.section(number, bytes, arrived_ns));
        self.pids[at].sections = Some(sections);
    }

    fn section(&mut self, number: u16, bytes: &[u8], arrived_ns: u64) {
        let Some(section) = Section::parse(bytes) else { return };
        let expected: &[u8] = match number {
            PAT_PID => &[0x00],
            CAT_PID => &[0x01],
            // SDT of this stream, of others, BAT, and stuffing.
            SDT_PID => &[0x42],
            _ => &[0x02],
        };
        if !expected.contains(&section.table_id) {
            self.errors.pat += u64::from(number == PAT_PID);
            self.errors.cat += u64::from(number == CAT_PID);
            return;
        }
        if psi::crc32(bytes) != 0 {
            self.errors.crc += 1;
            return;
        }
        match number {
            PAT_PID => {
                self.pat_ns = arrived_ns;
                if section.current {
                    self.pat(&section, arrived_ns);
                }
            }
            CAT_PID => self.cat_seen = true,
            SDT_PID => {
                for (service, provider, name) in psi::sdt(section.body) {
                    if let Some(table) = self.programs.iter_mut().find(|table| table.program.number == service) {
                        (table.program.provider, table.program.service) = (Some(provider), Some(name));
                    }
                }
            }
            _ => self.pmt(number, &section, arrived_ns),
        }
    }

    fn pat(&mut self, section: &Section<'_>, arrived_ns: u64) {
        let alone = section.number == (0, 0);
        // Sent several times a second, and almost always the same.
        if alone && self.pat.crc == Some(section.crc) {
            return;
        }
        self.pat.crc = alone.then_some(section.crc);
        self.transport_stream_id = Some(section.extension);
        let listed: Vec<_> = psi::pat(section.body).collect();
        for (number, pmt_pid) in &listed {
            let known = |table: &&mut Table| (table.program.number, table.program.pmt_pid) == (*number, *pmt_pid);
            if let Some(table) = self.programs.iter_mut().find(known) {
                table.pat_version = section.version;
                continue;
            }
            if self.programs.len() == MAX_PROGRAMS {
                break;
            }
            let program = Program { number: *number, pmt_pid: *pmt_pid, ..Program::default() };
            let (pat_version, crc) = (section.version, None);
            self.programs.push(Table { program, pat_version, crc, pmt_ns: arrived_ns, missed_ns: arrived_ns });
            let at = self.index[usize::from(*pmt_pid)];
            if let Some(pid) = self.pids.get_mut(usize::from(at)) {
                pid.sections.get_or_insert_with(|| Box::new(Sections::new()));
            }
        }
        // A table of several sections says which programs are gone once all of them have come.
        let (number, last) = section.number;
        let whole = self.pat.is_whole(section.version, number, last);
        self.programs.retain(|table| match alone {
            true => listed.contains(&(table.program.number, table.program.pmt_pid)),
            false => !whole || table.pat_version == section.version,
        });
    }

    fn pmt(&mut self, number: u16, section: &Section<'_>, arrived_ns: u64) {
        let matches = |table: &&mut Table| table.program.pmt_pid == number && table.program.number == section.extension;
        let Some(table) = self.programs.iter_mut().find(matches) else { return };
        table.pmt_ns = arrived_ns;
        if table.crc == Some(section.crc) {
            return;
        }
        let Some((pcr_pid, streams)) = psi::pmt(section.body).filter(|_| section.current) else { return };
        table.program.pcr_pid = Some(pcr_pid);
        let stream = |(stream_type, pid)| ElementaryStream { pid, stream_type };
        table.program.streams = streams.into_iter().map(stream).collect();
        table.crc = Some(section.crc);
    }

    /// What should have come and has not.
    #[cold]
    fn check(&mut self, now_ns: u64) {
        self.next_check_ns = now_ns + CHECK_NS;
        // Counts an absence once each period.
        let absent = |since_ns: &mut u64, period_ns: u64| {
            let over = now_ns.saturating_sub(*since_ns) > period_ns;
            if over {
                *since_ns = now_ns;
            }
            u64::from(over)
        };
        self.errors.pat += absent(&mut self.pat_ns, TABLE_PERIOD_NS);
        for table in &mut self.programs {
            self.errors.pmt += absent(&mut table.pmt_ns, TABLE_PERIOD_NS);
            let period_ns = self.config.pid_period_ns;
            if now_ns.saturating_sub(table.missed_ns) > period_ns {
                table.missed_ns = now_ns;
                let pids = &self.pids;
                let gone = table.program.streams.iter().filter(|stream| {
                    let pid = pids.get(usize::from(self.index[usize::from(stream.pid)]));
                    pid.is_none_or(|pid| now_ns.saturating_sub(pid.last_ns) > period_ns)
                });
                self.errors.pid += gone.count() as u64;
            }
        }
        for pid in &mut self.pids {
            let late = pid.clock.as_ref().is_some_and(|clock| clock.is_late(now_ns));
            if late && pid.clock_late_ns == 0 {
                pid.clock_late_ns = now_ns;
                self.errors.pcr_repetition += 1;
            }
            if let Some(last_ns) = &mut pid.pts_ns {
                self.errors.pts += absent(last_ns, PTS_PERIOD_NS);
            }
        }
        if let Some(scrambled_ns) = &mut self.scrambled_ns
            && !self.cat_seen
        {
            self.errors.cat += absent(scrambled_ns, TABLE_PERIOD_NS);
        }
        let elapsed_ns = now_ns.saturating_sub(self.second_ns);
        if elapsed_ns >= 1_000_000_000 {
            let bits = u128::from(self.second_packets) * TS_PACKET_LEN as u128 * 8;
            self.bit_rate = Some((bits * 1_000_000_000 / u128::from(elapsed_ns)) as u64);
            (self.second_ns, self.second_packets) = (now_ns, 0);
        }
    }
}

impl Pid {
    /// Follows the continuity counter. Returns false if the packet is a repetition.
    #[inline]
    fn follow(&mut self, packet: TsPacket<'_>, errors: &mut Tr101290) -> bool {
        let counter = packet.continuity();
        let Some(last) = self.continuity.replace(counter).filter(|_| !packet.discontinuity()) else {
            (self.repeated, self.fingerprint) = (false, packet.fingerprint());
            return true;
        };
        let expected = if packet.has_payload() { (last + 1) & 0x0f } else { last };
        if counter == expected {
            if packet.has_payload() {
                (self.repeated, self.fingerprint) = (false, packet.fingerprint());
            }
            return true;
        }
        if packet.has_payload() && counter == last && !self.repeated && packet.fingerprint() == self.fingerprint {
            self.repeated = true;
            self.report.duplicates += 1;
            return false;
        }
        self.report.continuity_errors += 1;
        self.report.missing += u64::from(counter.wrapping_sub(expected) & 0x0f);
        errors.continuity += 1;
        (self.repeated, self.fingerprint) = (false, packet.fingerprint());
        if let Some(sections) = &mut self.sections {
            sections.reset();
        }
        true
    }
}
