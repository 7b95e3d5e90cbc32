//! MPEG-TS (ISO/IEC 13818-1) as it arrives: continuity, clock, tables, and the checks of ETSI TR 101 290, priorities 1
//! and 2.

mod analysis;
mod packet;
mod pcr;
mod psi;
mod report;
#[cfg(test)]
mod tests;

pub use analysis::{TsConfig, TsHealth};
pub use report::{ElementaryStream, PcrReport, PidReport, Program, Tr101290, TsReport};
