//! Measures: seeds a minute, a thousand agents for one token, a million operations judged.
//! `cargo run --release -p plexlab-race --example figures`

use std::time::Instant;

use plexlab_race::checkers;
use plexlab_race::explore::{play, search};
use plexlab_race::history::{Call, Change, Entry, Event, Ground, History, ProjectGround, Reply, TokenGround};
use plexlab_race::scenario::{Options, SCENARIOS, find};
use plexlab_rules::registration::Refused;

fn main() {
    for scenario in SCENARIOS {
        let began = Instant::now();
        let options = scenario.options(2);
        let schedules = 20_000;
        let failure = search(scenario, &options, 1, schedules);
        let seconds = began.elapsed().as_secs_f64();
        let rate = 60.0 * schedules as f64 / seconds;
        println!("{}: {rate:.0} schedules a minute, failure: {}", scenario.name, failure.is_some());
    }
    if let Some(scenario) = find("token-race") {
        let began = Instant::now();
        let (schedule, history) =
            play(scenario.start(&Options { agents: 1000, ..scenario.options(0) }), 1, 0);
        let found = checkers::check(&history);
        let (steps, seconds) = (schedule.len(), began.elapsed().as_secs_f64());
        println!("1,000 agents: {steps} steps, {} violations, {seconds:.3} s", found.len());
    }
    let history = million();
    let began = Instant::now();
    let found = checkers::check(&history);
    let seconds = began.elapsed().as_secs_f64();
    println!("1,000,000 operations over 10,000 tokens: {} violations, {seconds:.3} s", found.len());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak known"));
}

/// A hundred agents for each of ten thousand tokens.
fn million() -> History {
    let mut history = History {
        ground: Ground {
            tokens: vec![TokenGround { project: 0, expires_at: 1 }; 10_000],
            projects: vec![ProjectGround { domain: 0, sub_range: None }],
            pools: vec!["10.0.0.0/8".to_owned()],
            ..Ground::default()
        },
        settled: true,
        ..History::default()
    };
    let mut add = |event| history.entries.push(Entry { at: 0, event });
    for token in 0..10_000 {
        let first = token * 100;
        for op in first..first + 100 {
            add(Event::Invoke { op, by: 0, call: Call::Redeem { token, nonce: op } });
        }
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + token).into();
        add(Event::Changed(vec![
            Change::Node { node: token, token, resource: token, address },
            Change::Consumed { token, nonce: first, node: token, at: 0 },
        ]));
        add(Event::Return { op: first, reply: Reply::Won { node: token, address } });
        for op in first + 1..first + 100 {
            add(Event::Return { op, reply: Reply::Refused(Refused::TokenConsumed) });
        }
    }
    history
}
