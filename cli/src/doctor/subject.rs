//! What the checks look at: the target, and what was tried and heard once for all of them.

use std::cell::OnceCell;
use std::ops::Deref;

use receiver::ReceiveMode;

use super::listen::Heard;
use super::target::Target;
use super::trial::Trial;

/// A target, and what was tried and heard of it.
pub struct Subject {
    target: Target,
    trial: OnceCell<Trial>,
    heard: OnceCell<Heard>,
}

impl Subject {
    pub fn new(target: Target) -> Self {
        Self { target, trial: OnceCell::new(), heard: OnceCell::new() }
    }

    /// The modes that were tried. They are tried on the first call.
    pub fn trial(&self) -> &Trial {
        self.trial.get_or_init(|| Trial::run(&self.target))
    }

    /// What was heard. The first call listens.
    pub fn heard(&self) -> &Heard {
        self.heard.get_or_init(|| Heard::listen(&self.target, self.trial().has(ReceiveMode::Mapped)))
    }
}

impl Deref for Subject {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}
