//! The views beside the display: each gets the same figures, and the failure of one concerns it alone.

use super::traits::View;
use crate::figures::{Facts, Figures};

/// Views that pass the figures on to files or programs.
pub struct Exporters(Vec<Box<dyn View>>);

impl Exporters {
    /// These views.
    pub fn new(views: Vec<Box<dyn View>>) -> Self {
        Self(views)
    }

    /// At the start, once.
    pub fn start(&mut self, facts: &Facts) {
        self.each(|view| view.start(facts));
    }

    /// After each interval.
    pub fn interval(&mut self, facts: &Facts, figures: &Figures) {
        self.each(|view| view.interval(facts, figures));
    }

    /// At the end, once.
    ///
    /// # Errors
    /// That of the first view that fails; the others get the summary as well.
    pub fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        let mut result = Ok(());
        for view in &mut self.0 {
            result = result.and(view.summary(facts, figures));
        }
        result
    }

    /// A view that fails is called no more, and the run goes on.
    fn each(&mut self, mut call: impl FnMut(&mut dyn View) -> anyhow::Result<()>) {
        self.0.retain_mut(|view| match call(view.as_mut()) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("{error:#}; no more figures go there");
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use receiver::ReceiveMode;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Counts its calls, and fails at the start if it is asked to.
    struct Counting {
        calls: Rc<Cell<u32>>,
        fails: bool,
    }

    impl View for Counting {
        fn start(&mut self, _: &Facts) -> anyhow::Result<()> {
            self.calls.set(self.calls.get() + 1);
            if self.fails { bail!("no reader") } else { Ok(()) }
        }

        fn interval(&mut self, _: &Facts, _: &Figures) -> anyhow::Result<()> {
            Ok(())
        }

        fn summary(&mut self, _: &Facts, _: &Figures) -> anyhow::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_that_fails_is_called_no_more_and_the_others_are() {
        let facts = Facts {
            interface: "eth1".into(),
            mode: ReceiveMode::Copy,
            share: false,
            refused: Vec::new(),
            queues: Vec::new(),
            subscriptions: Vec::new(),
        };
        let calls = [true, false].map(|fails| (Rc::new(Cell::new(0)), fails));
        let views = calls
            .iter()
            .map(|(calls, fails)| Box::new(Counting { calls: Rc::clone(calls), fails: *fails }) as Box<dyn View>);
        let mut exporters = Exporters::new(views.collect());
        exporters.start(&facts);
        exporters.start(&facts);
        assert_eq!(calls.map(|(calls, _)| calls.get()), [1, 2]);
    }
}
