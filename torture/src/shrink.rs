//! Makes the plan of a failed episode smaller: it leaves out steps as long as what is left still fails.

use std::time::Instant;

use crate::plan::Plan;

/// The smallest plan that was seen to fail, within the time. `fails` carries out a plan.
pub fn shrink(plan: &Plan, deadline: Instant, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut share = best.steps.len().div_ceil(2);
    while share > 0 && Instant::now() < deadline {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < best.steps.len() && Instant::now() < deadline {
            let numbers = best.numbers();
            let end = (at + share).min(numbers.len());
            let rest: Vec<usize> = [&numbers[..at], &numbers[end..]].concat();
            let smaller = best.keeping(&rest);
            if fails(&smaller) {
                best = smaller;
                has_shrunk = true;
            } else {
                at += share;
            }
        }
        share = match share {
            1 if has_shrunk => 1,
            share => share / 2,
        };
    }
    best
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_steps_that_fail_together_are_what_is_left() {
        let plan = Plan::of(11);
        let last = plan.steps.len();
        let deadline = Instant::now() + Duration::from_secs(60);
        let smallest = shrink(&plan, deadline, |plan| [2, last].iter().all(|number| plan.numbers().contains(number)));
        assert_eq!(smallest.numbers(), [2, last]);
        assert_eq!(shrink(&plan, Instant::now(), |_| true), plan, "no time");
        assert!(shrink(&plan, deadline, |_| true).steps.is_empty(), "it fails by itself");
    }
}
