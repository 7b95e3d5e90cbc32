//! Reads many values of a per-CPU array map by one system call: BPF_MAP_LOOKUP_BATCH of bpf(2), which aya does not
//! have. Linux has it for per-CPU arrays since 5.13.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Pod;

/// The command's number (include/uapi/linux/bpf.h).
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The part of `union bpf_attr` that BPF_MAP_*_BATCH use.
#[repr(C)]
struct Attribute {
    /// Address of the key after which to begin; 0: at the first key.
    in_batch: u64,
    /// Address where the kernel writes the last key that it read.
    out_batch: u64,
    /// Addresses of arrays with room for `count` keys, and for the values of as many.
    keys: u64,
    values: u64,
    /// How many elements to read; the kernel replaces it by how many it has read.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The values of elements `first` to `first + count` of a per-CPU array, those of all `cpus` possible CPUs for each
/// element. Fewer where the map ends before.
///
/// # Errors
/// `EINVAL` or `ENOTSUPP` of a kernel without the command, and what bpf(2) returns of a map.
///
/// # Panics
/// If a value's size is not a multiple of 8 bytes: the kernel would pad it.
pub(super) fn read_per_cpu<T: Pod + Default>(
    map: BorrowedFd<'_>,
    first: u32,
    count: u32,
    cpus: usize,
) -> io::Result<Vec<T>> {
    const { assert!(size_of::<T>().is_multiple_of(8), "the kernel would pad each value to 8 bytes") };
    let mut keys = vec![0_u32; count as usize];
    let mut values = vec![T::default(); count as usize * cpus];
    let before = first.wrapping_sub(1);
    let mut last = 0_u32;
    let mut attribute = Attribute {
        in_batch: if first == 0 { 0 } else { address(&raw const before) },
        out_batch: address(&raw mut last),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads and writes the attribute, whose size it is given. Through its addresses it reads
    // `before`, writes a key to `last`, and up to `count` keys and values. All of them live until the call returns, and
    // are as long: a value is `cpus` times the size of `T`, which is not padded. Any bytes are a valid `T` (`Pod`) or
    // `u32`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attribute, size_of::<Attribute>() as libc::c_uint)
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        // The map ended before `count` elements were read.
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
    }
    values.truncate(attribute.count.min(count) as usize * cpus);
    Ok(values)
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}
