//! Seeds give the same histories in every build; the checker keeps up with a million operations.

use plexlab_race::checkers;
use plexlab_race::explore::play;
use plexlab_race::history::{Call, Change, Entry, Event, Ground, History, ProjectGround, Reply, TokenGround};
use plexlab_race::scenario::SCENARIOS;
use plexlab_rules::registration::Refused;

/// Of 10,000 seeds, in debug and optimised builds alike. It changes when the simulation does.
const DIGEST: u64 = 0x978e_f7d9_af79_3d4b;

#[test]
fn ten_thousand_seeds_give_the_same_histories_in_every_build() {
    let mut digest = 0_u64;
    for seed in 0..10_000_u64 {
        let scenario = &SCENARIOS[seed as usize % SCENARIOS.len()];
        let (_, history) = play(scenario.start(&scenario.options(2)), seed, seed / 9);
        digest = digest.rotate_left(7) ^ history.digest();
    }
    assert_eq!(digest, DIGEST, "{digest:#018x}");
}

/// So many agents race for each token; the first wins.
fn races(tokens: u32, agents: u32) -> History {
    let mut history = History {
        ground: Ground {
            tokens: vec![TokenGround { project: 0, expires_at: 1_000_000_000 }; tokens as usize],
            projects: vec![ProjectGround { domain: 0, sub_range: None }],
            pools: vec!["10.0.0.0/8".to_owned()],
            ..Ground::default()
        },
        ..History::default()
    };
    let mut add = |event| history.entries.push(Entry { at: 0, event });
    for token in 0..tokens {
        let first = token * agents;
        for op in first..first + agents {
            add(Event::Invoke { op, by: 0, call: Call::Redeem { token, nonce: op } });
        }
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + token).into();
        add(Event::Changed(vec![
            Change::Node { node: token, token, resource: token, address },
            Change::Consumed { token, nonce: first, node: token, at: 0 },
        ]));
        add(Event::Return { op: first, reply: Reply::Won { node: token, address } });
        for op in first + 1..first + agents {
            add(Event::Return { op, reply: Reply::Refused(Refused::TokenConsumed) });
        }
    }
    history.settled = true;
    history
}

#[test]
fn a_million_operations_over_ten_thousand_tokens_are_judged() {
    // A tenth of it unoptimised: the figure is `examples/figures.rs`'s.
    let agents = if cfg!(debug_assertions) { 10 } else { 100 };
    let mut history = races(10_000, agents);
    assert_eq!(checkers::check(&history), []);
    // One wrong answer among them is found.
    let last = history.entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
        Event::Return { reply, .. } => Some(reply),
        _ => None,
    });
    *last.unwrap() = Reply::Refused(Refused::TokenExpired);
    assert_eq!(
        checkers::check(&history).iter().map(|found| found.rule.as_str()).collect::<Vec<_>>(),
        ["codes"]
    );
}
