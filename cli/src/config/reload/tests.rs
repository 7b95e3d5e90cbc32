//! The steps from any configuration to any other, on a model of the receiver that knows its rules.

use proptest::prelude::*;

use super::*;

fn wanted(text: &str) -> Wanted {
    let (name, text) = text.split_once('=').map_or((None, text), |(name, text)| (Some(name.to_owned()), text));
    Wanted { name, subscription: text.parse().expect(text) }
}

fn currents(texts: &[&str]) -> Vec<Current> {
    texts
        .iter()
        .map(|text| wanted(text))
        .map(|wanted| Current { live: Some(wanted.subscription.clone()), wanted })
        .collect()
}

fn planned(old: &[&str], new: &[&str]) -> Plan {
    plan(&currents(old), &new.iter().map(|text| wanted(text)).collect::<Vec<_>>())
}

fn sources(text: &str) -> BTreeSet<IpAddr> {
    text.split(',').map(|source| source.parse().expect(source)).collect()
}

#[test]
fn what_stays_needs_no_step() {
    let all = ["a=10.0.0.1@232.1.1.1:5000", "10.0.0.2@232.1.1.1:5000", "239.1.1.1:1"];
    let same = planned(&all, &all);
    assert_eq!((same.kept.len(), same.steps), (3, vec![]));
    let renamed = planned(&["a=10.0.0.1@232.1.1.1:5000"], &["b=10.0.0.1@232.1.1.1:5000"]);
    assert_eq!((renamed.kept, renamed.steps), (vec![(0, 0)], vec![]));
}

#[test]
fn joins_come_before_leaves_unless_they_take_a_place_that_is_left() {
    let plan = planned(&["10.0.0.1@232.1.1.1:5000"], &["10.0.0.1@232.1.1.2:5000"]);
    assert_eq!(plan.steps, [Step::Join(vec![0]), Step::Leave(vec![0])]);
    let plan = planned(&["239.1.1.1:5000"], &["10.0.0.1@239.1.1.1:5000"]);
    assert_eq!(plan.steps, [Step::Leave(vec![0]), Step::Join(vec![0])]);
}

#[test]
fn sources_change_in_place() {
    let plan = planned(&["10.0.0.1,10.0.0.2@232.1.1.1:1"], &["10.0.0.2,10.0.0.3@232.1.1.1:1"]);
    assert_eq!(plan.steps, [Step::SetSources(0, sources("10.0.0.2,10.0.0.3"))]);
    let plan = planned(&["239.1.1.1:1"], &["!10.0.0.9@239.1.1.1:1"]);
    assert_eq!(plan.steps, [Step::SetSources(0, sources("10.0.0.9"))]);
    // Two subscriptions exchange a source: each gives it up before the other one takes it.
    let plan = planned(
        &["a=10.0.0.1,10.0.0.4@232.1.1.1:1", "b=10.0.0.2,10.0.0.5@232.1.1.1:1"],
        &["a=10.0.0.2,10.0.0.4@232.1.1.1:1", "b=10.0.0.1,10.0.0.5@232.1.1.1:1"],
    );
    let set = |at, text| Step::SetSources(at, sources(text));
    assert_eq!(
        plan.steps,
        [set(0, "10.0.0.4"), set(1, "10.0.0.5"), set(0, "10.0.0.2,10.0.0.4"), set(1, "10.0.0.1,10.0.0.5")]
    );
}

#[test]
fn what_clients_changed_stays_unless_the_file_changes_it() {
    let mut old = currents(&["10.0.0.1@232.1.1.1:1", "239.1.1.1:1"]);
    old[0].live = None;
    old[1].live = Some("!10.0.0.9@239.1.1.1:1".parse().expect("a block"));
    let same: Vec<Wanted> = old.iter().map(|current| current.wanted.clone()).collect();
    let plan_same = plan(&old, &same);
    assert_eq!((plan_same.steps, plan_same.kept), (vec![], vec![(1, 1)]));
    let other = [wanted("10.0.0.1,10.0.0.2@232.1.1.1:1"), wanted("!10.0.0.8@239.1.1.1:1")];
    let steps = plan(&old, &other).steps;
    assert_eq!(steps, [Step::Join(vec![0]), Step::SetSources(1, sources("10.0.0.8"))]);
}

/// What the receiver would refuse.
fn overlaps(one: &Subscription, other: &Subscription) -> bool {
    let (a, b) = (one.filter(), other.filter());
    place(one) == place(other) && (a.is_exclude() || b.is_exclude() || !a.sources().is_disjoint(b.sources()))
}

fn configuration() -> impl Strategy<Value = Vec<Wanted>> {
    let name = prop_oneof![Just(None), (0..4_u8).prop_map(|n| Some(format!("n{n}")))];
    let one = (name, 0..2_u8, 0..4_u8, prop::collection::btree_set(1..6_u8, 0..4));
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let mut list: Vec<Wanted> = Vec::new();
        for (name, group, kind, sources) in all {
            let names: Vec<String> = sources.iter().map(|n| format!("10.0.0.{n}")).collect();
            let text = match (kind, names.is_empty()) {
                (_, true) => format!("239.1.1.{group}:1"),
                (0, _) => format!("!{}@239.1.1.{group}:1", names.join(",")),
                _ => format!("{}@239.1.1.{group}:1", names.join(",")),
            };
            let name = name.filter(|name| list.iter().all(|other| other.name.as_ref() != Some(name)));
            let subscription: Subscription = text.parse().expect("a subscription");
            if list.iter().all(|other| !overlaps(&other.subscription, &subscription)) {
                list.push(Wanted { name, subscription });
            }
        }
        list
    })
}

proptest! {
    #[test]
    fn each_step_is_legal_and_the_last_one_leads_to_the_new_configuration(
        old in configuration(),
        new in configuration(),
    ) {
        let current: Vec<Current> = old
            .iter()
            .map(|wanted| Current { wanted: wanted.clone(), live: Some(wanted.subscription.clone()) })
            .collect();
        let plan = plan(&current, &new);
        // By old position, or by new position after those.
        let mut live: BTreeMap<usize, Subscription> =
            old.iter().map(|wanted| wanted.subscription.clone()).enumerate().collect();
        for step in &plan.steps {
            match step {
                Step::Join(all) => {
                    for &to in all {
                        let joined = &new[to].subscription;
                        prop_assert!(live.values().all(|other| !overlaps(other, joined)), "{joined} in {live:?}");
                        live.insert(old.len() + to, joined.clone());
                    }
                }
                Step::Leave(all) => {
                    for from in all {
                        prop_assert!(live.remove(from).is_some());
                    }
                }
                Step::SetSources(from, sources) => {
                    let before = live.remove(from).expect("it is joined");
                    let after = before.with_filter(match before.filter().is_exclude() {
                        true => SourceFilter::Exclude(sources.clone()),
                        false => SourceFilter::Include(sources.clone()),
                    }).expect("legal sources");
                    prop_assert!(live.values().all(|other| !overlaps(other, &after)), "{after} in {live:?}");
                    // Nothing that stays is ever given up.
                    let to = plan.kept.iter().find(|(old, _)| old == from).expect("it is kept").1;
                    let stays = old[*from].subscription.filter().sources() & new[to].subscription.filter().sources();
                    prop_assert!(before.filter().is_exclude() || stays.is_subset(sources));
                    live.insert(*from, after);
                }
            }
        }
        let mut expected: Vec<String> = new.iter().map(|wanted| wanted.subscription.to_string()).collect();
        let mut reached: Vec<String> = live.values().map(ToString::to_string).collect();
        expected.sort();
        reached.sort();
        prop_assert_eq!(reached, expected);
        // A subscription that is in both is not touched.
        for wanted in &new {
            if let Some(from) = old.iter().position(|other| other.subscription == wanted.subscription) {
                let touched = plan.steps.iter().any(|step| match step {
                    Step::Leave(all) => all.contains(&from),
                    Step::SetSources(at, _) => *at == from,
                    Step::Join(_) => false,
                });
                prop_assert!(!touched, "{}", wanted.subscription);
            }
        }
    }
}
