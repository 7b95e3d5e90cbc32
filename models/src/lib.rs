//! Protocols between threads, each in `tests/`: loom compiles the receiver's own source file with its types instead of
//! the standard library's, and runs it in every interleaving and with every value that the memory model allows a load
//! to return.
