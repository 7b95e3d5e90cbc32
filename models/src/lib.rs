//! Protocols between threads, each in `tests/`: the receiver's own source file, compiled against loom in place of the standard
//! library, and run in every interleaving and with every value that the memory model lets a load return.
