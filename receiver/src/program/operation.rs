//! What is done with the XDP program, in words that follow "could not" in an error.

macro_rules! operations {
    ($($name:ident = $text:literal;)+) => {
        $(pub(super) const $name: &str = $text;)+

        /// All of them.
        #[cfg(test)]
        pub(crate) const OPERATIONS: &[&str] = &[$($name),+];
    };
}

operations! {
    LOAD = "load the XDP program";
    LOG = "open the XDP program's log";
    MAP = "map the XDP filter's memory";
    MAP_RINGS = "map the packet memory";
    MAP_TAP = "map the memory of the tap";
    MAKE_WAKER = "make what wakes the consumer of a mapped ring";
    SET_SOCKET = "give the frames of a queue to its AF_XDP socket";
    UNSET_SOCKET = "take the frames of a queue from its AF_XDP socket";
    CHANGE_FILTER = "change the XDP filter";
    COUNTER = "read a counter of the XDP program";
    READ_MAP = "read a map of the XDP program";
    OPEN_MAP = "open a map of the XDP program";
    TEST = "run a frame through the XDP program";
    ATTACH = "attach the XDP program";
    DETACH = "detach the XDP program";
    ASK = "read the id of the XDP program";
    FIND = "find the XDP program in its object file";
}
