//! Right control planes break no rule, wrong ones are noticed, and shrunk schedules still show it.

use std::collections::BTreeSet;

use plexlab_race::explore::{READABLE, exhaust, minimise, play, replay, search};
use plexlab_race::history::{Event, History, Reply};
use plexlab_race::mutants::MUTANTS;
use plexlab_race::scenario::{Options, SCENARIOS, find};
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_race::turns::texts;
use plexlab_race::{checkers, explore};
use plexlab_rules::registration::Refused;

/// Within so many schedules a mutant must be caught.
const SCHEDULES: u64 = 500;
/// To so many steps what it needs must be shrunk; what one actor does several times in a row is one.
const STEPS: usize = READABLE;

#[test]
fn a_right_control_plane_breaks_no_rule_whatever_breaks_around_it() {
    for scenario in SCENARIOS {
        for faults in 0..4 {
            let options = scenario.options(faults);
            if let Some(failure) = search(scenario, &options, 7, 2000) {
                let history = replay(scenario.start(&options), &failure.schedule);
                panic!("{}: {:#?}\n{}", scenario.name, failure.violations, history.lines());
            }
        }
    }
}

#[test]
fn every_mutant_is_caught_by_its_rule_and_by_no_other() {
    let mut wrong = Vec::new();
    let mut noticed = BTreeSet::new();
    for mutant in MUTANTS {
        let (scenario, options) = mutant.world().unwrap();
        let Some(first) = search(scenario, &options, 1, SCHEDULES) else {
            wrong.push(format!("{} survives", mutant.name()));
            continue;
        };
        // All that the first schedules break, not only the first failure.
        let mut broken = BTreeSet::new();
        for number in 0..SCHEDULES {
            let (_, history) = play(scenario.start(&options), 1, number);
            broken.extend(checkers::check(&history).into_iter().map(|violation| violation.rule));
        }
        noticed.extend(broken.iter().cloned());
        let expected: BTreeSet<String> = mutant.rules.iter().map(|rule| (*rule).to_owned()).collect();
        if !broken.is_subset(&expected) {
            wrong.push(format!(
                "{} (schedule {}) breaks {broken:?}, expected {:?}",
                mutant.name(),
                first.number,
                mutant.rules
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(MUTANTS.len() >= 25);
    let idle: Vec<_> = checkers::RULES.iter().filter(|rule| !noticed.contains(rule.name)).collect();
    assert!(idle.is_empty(), "no mutant breaks {idle:?}");
}

#[test]
fn what_check_then_act_needs_is_at_most_six_steps_and_replays_every_time() {
    let mutant = plexlab_race::mutants::named("check-then-act").unwrap();
    let (scenario, options) = mutant.world().unwrap();
    let failure = search(scenario, &options, 1, SCHEDULES).unwrap();
    let (options, schedule) = minimise(scenario, &options, &failure.schedule, &failure.violations);
    assert!(schedule.len() <= STEPS, "{schedule:?}");
    assert_eq!(options.agents, 2);
    let first = replay(scenario.start(&options), &schedule).lines();
    for _ in 0..100 {
        let again = replay(scenario.start(&options), &schedule);
        assert!(checkers::check(&again).iter().any(|violation| violation.rule == "one-winner"));
        assert_eq!(again.lines(), first);
    }
}

/// A failure that nobody can read in a minute is no report.
#[test]
fn what_every_mutant_needs_is_at_most_six_steps() {
    let mut long = Vec::new();
    for mutant in MUTANTS {
        let (scenario, options) = mutant.world().unwrap();
        let Some(failure) = search(scenario, &options, 1, SCHEDULES) else { continue };
        let (options, schedule) = minimise(scenario, &options, &failure.schedule, &failure.violations);
        let history = replay(scenario.start(&options), &schedule);
        assert_ne!(checkers::check(&history), [], "{}: {schedule:?}", mutant.name());
        let steps = texts(&schedule);
        if steps.len() > STEPS {
            long.push(format!("{}: {} steps: {}", mutant.name(), steps.len(), steps.join(", ")));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_recorded_schedule_gives_the_same_history_again() {
    for scenario in SCENARIOS {
        for number in 0..200 {
            let options = scenario.options(2);
            let (schedule, history) = play(scenario.start(&options), 3, number);
            assert_eq!(replay(scenario.start(&options), &schedule).lines(), history.lines());
        }
    }
}

/// What a history comes to, without the order of what does not meet: calls are named for who makes them.
fn outcome(history: &History) -> Vec<String> {
    let mut caller = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Invoke { by, .. } => caller.push(*by),
            Event::Return { op, reply } => lines.push(format!("{} {reply:?}", caller[*op as usize])),
            other => lines.push(format!("{other:?}")),
        }
    }
    lines.sort_unstable();
    lines
}

#[test]
fn leaving_out_orders_that_do_not_differ_leaves_out_no_outcome() {
    for (name, agents) in [("token-race", 2), ("revocation-race", 1), ("nonce-race", 2), ("full-pool", 2)] {
        let scenario = find(name).unwrap();
        let options = Options { agents, ..scenario.options(0) };
        let outcomes = |reduce| {
            let mut outcomes = BTreeSet::new();
            let found = exhaust(scenario.start(&options), 200_000, reduce, &mut |history| {
                outcomes.insert(outcome(history));
            });
            assert!(found.failure.is_none(), "{name}: {:?}", found.failure);
            (outcomes, found)
        };
        let (reduced, few) = outcomes(true);
        let (all, many) = outcomes(false);
        assert!(few.complete, "{name}");
        if many.complete {
            assert_eq!(reduced, all, "{name}");
        } else {
            assert!(all.is_subset(&reduced), "{name}");
        }
        println!("{name}: {} orders instead of {}", few.orders, many.orders);
        assert!(few.orders < many.orders, "{name}");
    }
}

#[test]
fn every_order_finds_check_then_act() {
    let mutant = plexlab_race::mutants::named("check-then-act").unwrap();
    let (scenario, options) = mutant.world().unwrap();
    let options = Options { agents: 2, ..options };
    let found = explore::exhaust(scenario.start(&options), 1_000_000, true, &mut |_| {});
    assert!(found.failure.is_some());
}

#[test]
fn a_lost_answer_has_spent_its_token_and_the_second_try_is_told_so() {
    let scenario = find("token-race").unwrap();
    let options = Options { agents: 1, ..scenario.options(1) };
    let mut schedule = vec![Choice::Agent(0)];
    schedule.extend([Choice::Server(0, 0); 10]);
    schedule.push(Choice::Fault(Fault::LoseReply(0)));
    let history = replay(scenario.start(&options), &schedule);
    assert_eq!(checkers::check(&history), []);
    let last = history.entries.last().map(|entry| entry.event.clone());
    assert_eq!(last, Some(Event::Return { op: 1, reply: Reply::Refused(Refused::NonceCollision) }));
}

#[test]
fn two_parties_meet_every_fault_that_real_ones_do() {
    let scenario = find("two-parties").unwrap();
    let (mut broken, mut lost, mut unavailable) = (BTreeSet::new(), false, false);
    for number in 0..500 {
        let (_, history) = play(scenario.start(&scenario.options(3)), 11, number);
        for entry in &history.entries {
            match &entry.event {
                Event::Fault(what) => {
                    broken.insert(what.split(' ').next().unwrap().to_owned());
                }
                Event::Lost { .. } => lost = true,
                Event::Return { reply: Reply::Unavailable, .. } => unavailable = true,
                _ => {}
            }
        }
    }
    let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
    let all = ["disk-full", "duplicate", "kill-server", "lose-reply", "reset", "restart-database"];
    assert_eq!((broken.as_slice(), lost, unavailable), (&all[..], true, true));
}
