//! The receive queues that a user asks for.

/// Which receive queues are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All that the interface has.
    #[default]
    All,
    /// The first N.
    First(u32),
    /// These. Wanted frames on the others take the kernel path.
    These(Vec<u32>),
}
