//! Gives capabilities up, for good: of the calling thread, and of the threads and programs that it starts afterwards.
//!
//! Linux keeps capabilities for each thread. So a process gives them up before it starts its first thread; a thread
//! that has to keep more for a while is started before that, and calls [`keep_only`] itself.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::privilege::Capability;

/// Takes every capability from the calling thread but those of `kept` that it has: the effective, the permitted, the
/// inheritable, the ambient and, with CAP_SETPCAP, the bounding ones. Programs that it executes get no more than it has
/// (`no_new_privs`). Where CAP_SYS_ADMIN stands in for CAP_BPF or CAP_PERFMON, it is kept in place of them.
///
/// # Errors
/// A seccomp filter or a security module forbids it. The thread may have given up a part then.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    let before = capabilities(None)?;
    let keep = kept_bits(kept, before.permitted);
    set_no_new_privs(true)?;
    if before.permitted.difference(keep).is_empty() {
        // Nothing to give up, in a service with a bounding set. Its seccomp filter may know no capset(2).
        return Ok(());
    }
    if before.effective.contains(CapabilitySet::SETPCAP) {
        shrink_bounding_set(keep)?;
    }
    clear_ambient_capability_set()?;
    let (effective, permitted) = (before.effective & keep, before.permitted & keep);
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?)
}

/// Runs `act` while the calling thread does without a capability.
///
/// # Errors
/// A seccomp filter or a security module forbids it.
pub fn without<T>(capability: Capability, act: impl FnOnce() -> T) -> io::Result<T> {
    let before = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: before.effective - capability.bits(), ..before })?;
    let result = act();
    set_capabilities(None, before)?;
    Ok(result)
}

fn kept_bits(kept: &[Capability], permitted: CapabilitySet) -> CapabilitySet {
    let bits = |capability: &Capability| {
        let own = capability.bits();
        if permitted.contains(own) { own } else { capability.enough() }
    };
    kept.iter().map(bits).fold(CapabilitySet::empty(), CapabilitySet::union)
}

fn shrink_bounding_set(keep: CapabilitySet) -> io::Result<()> {
    for bit in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        match capability_is_in_bounding_set(bit) {
            Ok(true) if !keep.contains(bit) => remove_capability_from_bounding_set(bit)?,
            Ok(_) => {}
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_stands_in_for_what_was_split_off() {
        let all = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN | CapabilitySet::NET_RAW;
        let wanted = [Capability::Bpf, Capability::NetRaw];
        assert_eq!(kept_bits(&wanted, all), CapabilitySet::BPF | CapabilitySet::NET_RAW);
        let without_bpf = kept_bits(&wanted, all - CapabilitySet::BPF);
        assert!(without_bpf.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_RAW));
    }

    /// On a thread of its own, as what it gives up is gone.
    #[test]
    fn a_thread_keeps_what_it_names_and_its_children_have_no_more() {
        let sets = |kept: &'static [Capability]| {
            let thread = std::thread::spawn(move || {
                keep_only(kept).expect("it is allowed");
                keep_only(kept).expect("it is allowed twice");
                let inner = std::thread::spawn(|| capabilities(None).expect("capget"));
                (capabilities(None).expect("capget"), inner.join().expect("a thread"))
            });
            thread.join().expect("a thread")
        };
        let held = capabilities(None).expect("capget").permitted;
        for kept in [&[Capability::NetRaw][..], &[]] {
            let (own, inherited) = sets(kept);
            assert_eq!(own.permitted, held & kept_bits(kept, held));
            assert!(own.effective.difference(own.permitted).is_empty() && own.inheritable.is_empty());
            assert_eq!(inherited.permitted, own.permitted);
        }
        assert_eq!(capabilities(None).expect("capget").permitted, held, "other threads keep theirs");
    }

    #[test]
    fn one_is_left_out_for_a_moment() {
        let thread = std::thread::spawn(|| {
            let before = capabilities(None).expect("capget");
            let during = without(Capability::DacOverride, || capabilities(None).expect("capget")).expect("capset");
            assert!(!during.effective.contains(CapabilitySet::DAC_OVERRIDE));
            assert_eq!(capabilities(None).expect("capget").effective, before.effective);
        });
        thread.join().expect("a thread");
    }
}
