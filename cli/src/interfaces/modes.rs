//! The receive modes that an interface can have: by what its driver and the kernel report, or by trying each.

use receiver::{Holder, Interface, ReceiveMode, Receiver, Refused};
use receiver_host::XdpFeatures;

/// The largest MTU whose packets fit one buffer with every driver that the receiver knows, ice's 3 KB less headers.
const ONE_BUFFER: u32 = 3050;

/// Whether a mode can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// With the reason.
    No(String),
    Unknown,
}

/// Each mode with its answer, fastest first.
pub type Modes = Vec<(ReceiveMode, Answer)>;

/// The modes by what the driver and the kernel report. Nothing is attached.
pub fn expected(interface: &Interface, features: Option<XdpFeatures>, holder: Option<&Holder>) -> Modes {
    ReceiveMode::ALL.into_iter().map(|mode| (mode, judge(mode, interface, features, holder))).collect()
}

/// The modes by trying each: a program is attached for a moment.
pub fn tried(interface: &Interface) -> Modes {
    let answer = |mode| match Receiver::builder(&interface.name).mode(mode).build() {
        Ok(receiver) => {
            // An interface that is gone by now has nothing left to be undone.
            let _ = receiver.handle().shutdown();
            Answer::Yes
        }
        Err(error) => Answer::No(error.to_string()),
    };
    ReceiveMode::ALL.into_iter().map(|mode| (mode, answer(mode))).collect()
}

fn judge(mode: ReceiveMode, interface: &Interface, features: Option<XdpFeatures>, holder: Option<&Holder>) -> Answer {
    let name = &interface.name;
    let no = |reason: &str| Answer::No(reason.to_owned());
    if interface.loopback {
        return no("multicast from a network never arrives on the loopback interface");
    }
    if !interface.multicast {
        return Answer::No(format!("it does not do multicast; allow it with `ip link set {name} multicast on`"));
    }
    if mode == ReceiveMode::Socket {
        return Answer::Yes;
    }
    if !interface.ethernet {
        return no("its frames have no Ethernet header");
    }
    if holder.is_some() {
        return no("an XDP program is there already");
    }
    if mode == ReceiveMode::Generic {
        return Answer::Yes;
    }
    let Some(features) = features else { return Answer::Unknown };
    match features {
        XdpFeatures { native: false, .. } => no("its driver reports no XDP"),
        XdpFeatures { several_buffers: false, .. } if interface.mtu > ONE_BUFFER => Answer::No(format!(
            "packets of its MTU, {}, need several buffers, which its driver's XDP does not support; lower it with `ip \
             link set {name} mtu 1500`",
            interface.mtu
        )),
        XdpFeatures { redirect: false, .. } if mode != ReceiveMode::Mapped => no("its driver's XDP does not redirect"),
        XdpFeatures { zero_copy: false, .. } if mode == ReceiveMode::ZeroCopy => {
            no("its driver reports no zero-copy receive")
        }
        _ => Answer::Yes,
    }
}

/// The modes that can be had, in a few words.
pub fn in_words(modes: &Modes) -> String {
    let of = |wanted: fn(&Answer) -> bool| {
        let names = modes.iter().filter(|(_, answer)| wanted(answer)).map(|(mode, _)| mode.name());
        names.collect::<Vec<_>>().join(", ")
    };
    let (yes, unknown) = (of(|answer| *answer == Answer::Yes), of(|answer| *answer == Answer::Unknown));
    match (yes.as_str(), unknown.as_str()) {
        ("", "") => "none".to_owned(),
        (_, "") => yes,
        _ => format!("{yes} ({unknown} unknown; --probe tries them)"),
    }
}

/// The modes that cannot be had.
pub fn refused(modes: &Modes) -> Vec<Refused> {
    let refused = modes.iter().filter_map(|(mode, answer)| match answer {
        Answer::No(reason) => Some(Refused { mode: *mode, reason: reason.clone() }),
        Answer::Yes | Answer::Unknown => None,
    });
    refused.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_words_and_reasons() {
        let no = |reason: &str| Answer::No(reason.to_owned());
        let answers = [no("a"), no("a"), no("b"), Answer::Yes, Answer::Yes];
        let modes: Modes = ReceiveMode::ALL.into_iter().zip(answers).collect();
        assert_eq!(in_words(&modes), "generic, socket");
        let refused = refused(&modes);
        let reasons: Vec<_> = Refused::by_reason(&refused).collect();
        assert_eq!(reasons, [("zero-copy, mapped".to_owned(), "a"), ("copy".to_owned(), "b")]);
        let answers = [Answer::Unknown, Answer::Unknown, Answer::Unknown, Answer::Yes, Answer::Yes];
        let modes: Modes = ReceiveMode::ALL.into_iter().zip(answers).collect();
        let words = "generic, socket (zero-copy, mapped, copy unknown; --probe tries them)";
        assert_eq!(in_words(&modes), words);
        assert_eq!(in_words(&ReceiveMode::ALL.into_iter().map(|mode| (mode, no("a"))).collect()), "none");
    }
}
