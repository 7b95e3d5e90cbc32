//! Steps on a model of the receiver that refuses one of its calls.

use std::cell::RefCell;
use std::collections::BTreeMap;

use receiver::SourceFilter;

use super::*;

/// Refuses the call with this number, counted from 0.
struct Model {
    live: RefCell<BTreeMap<u32, Subscription>>,
    next: RefCell<u32>,
    calls: RefCell<usize>,
    refused: usize,
}

impl Model {
    fn call(&self) -> Result<(), Error> {
        let number = self.calls.replace_with(|calls| *calls + 1);
        if number == self.refused { Err(Error::Stopped) } else { Ok(()) }
    }
}

impl Steer for Model {
    type Id = u32;

    fn join(&self, subscriptions: &[Subscription]) -> Result<Vec<u32>, Error> {
        self.call()?;
        let join = |subscription: &Subscription| {
            let id = self.next.replace_with(|next| *next + 1);
            self.live.borrow_mut().insert(id, subscription.clone());
            id
        };
        Ok(subscriptions.iter().map(join).collect())
    }

    fn leave(&self, ids: &[u32]) -> Result<(), Error> {
        self.call()?;
        for id in ids {
            assert!(self.live.borrow_mut().remove(id).is_some(), "{id} is not joined");
        }
        Ok(())
    }

    fn set_sources(&self, id: u32, sources: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.call()?;
        let mut live = self.live.borrow_mut();
        let one = live.get_mut(&id).expect("it is joined");
        *one = one.with_filter(SourceFilter::Include(sources)).expect("sources");
        Ok(())
    }
}

fn texts(live: &BTreeMap<u32, Subscription>) -> Vec<String> {
    let mut texts: Vec<String> = live.values().map(ToString::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn a_refusal_at_any_step_restores_what_was() {
    let list = |texts: &[&str]| -> Vec<Wanted> {
        texts.iter().map(|text| Wanted { name: None, subscription: text.parse().expect(text) }).collect()
    };
    let old = list(&["10.0.0.1@232.1.1.1:1", "10.0.0.1,10.0.0.2@232.1.1.2:1", "239.1.1.1:1"]);
    let new = list(&["10.0.0.1,10.0.0.3@232.1.1.2:1", "10.0.0.5@239.1.1.1:1", "239.1.1.9:1", "10.0.0.2@232.1.1.2:1"]);
    let current: Vec<Current> =
        old.iter().map(|wanted| Current { live: Some(wanted.subscription.clone()), wanted: wanted.clone() }).collect();
    let plan = plan(&current, &new);
    assert!(plan.steps.len() >= 4, "{:?}", plan.steps);
    for refused in 0..=plan.steps.len() {
        let live: BTreeMap<u32, Subscription> =
            (0..).zip(old.iter().map(|wanted| wanted.subscription.clone())).collect();
        let before = texts(&live);
        let model = Model { live: RefCell::new(live), next: RefCell::new(10), calls: RefCell::new(0), refused };
        let applied = apply(&model, &[0, 1, 2], &current, &new, &plan);
        let after = texts(&model.live.borrow());
        match applied {
            Err(undone) => {
                assert_eq!(after, before, "step {refused}");
                assert!(undone.failed.is_empty());
                for (at, id) in undone.rejoined {
                    assert_eq!(model.live.borrow()[&id], old[at].subscription);
                }
            }
            Ok(ids) => {
                assert_eq!(refused, plan.steps.len());
                for (id, wanted) in ids.iter().zip(&new) {
                    assert_eq!(model.live.borrow()[id], wanted.subscription);
                }
            }
        }
    }
}
