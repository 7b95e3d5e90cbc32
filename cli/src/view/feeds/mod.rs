//! Feeds in words and as rows: the same for the summary, the table, `receiver ctl` and the dashboard.

mod rows;
mod states;
#[cfg(test)]
pub mod tests;
mod words;

pub use rows::{Part, TITLES, Tone, cells, grid, table, tone};
pub use states::worst_first;
pub use words::{details, interval_line, lost_leg, paragraph, sentence, with_subscription};
