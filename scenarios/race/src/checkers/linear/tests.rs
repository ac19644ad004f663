//! The linear checker against one that tries every order, and against stateright's.

use proptest::prelude::*;
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

use super::*;
use crate::history::{Entry, Event, TokenGround};

/// What one token is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Unspent,
    Consumed(u32),
    Revoked,
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    call: Call,
    invoked: usize,
    returned: usize,
    reply: Option<Reply>,
}

/// The states after this operation with this reply; none when the reply cannot be.
fn after(state: State, operation: &Operation) -> Option<State> {
    let refused = |code| operation.reply == Some(Reply::Refused(code));
    match (operation.call, operation.reply) {
        (Call::Redeem { nonce, .. }, None | Some(Reply::Unavailable)) => {
            (state == State::Unspent).then_some(State::Consumed(nonce))
        }
        (Call::Revoke { .. }, None | Some(Reply::Unavailable)) => {
            (state == State::Unspent).then_some(State::Revoked)
        }
        (Call::Redeem { nonce, .. }, Some(Reply::Won { .. })) => {
            (state == State::Unspent).then_some(State::Consumed(nonce))
        }
        (Call::Redeem { nonce, .. }, Some(_)) => {
            let right = match state {
                State::Unspent => refused(Refused::TokenExpired) || refused(Refused::PoolExhausted),
                State::Consumed(other) => refused(Refused::TokenConsumed) && other != nonce,
                State::Revoked => refused(Refused::TokenRevoked) || refused(Refused::TokenExpired),
            };
            right.then_some(state)
        }
        (Call::Revoke { .. }, Some(Reply::Done)) => (state == State::Unspent).then_some(State::Revoked),
        (Call::Revoke { .. }, Some(_)) => (state != State::Unspent).then_some(state),
        (Call::Read { .. }, Some(Reply::State { consumed, revoked })) => {
            let same =
                consumed == matches!(state, State::Consumed(_)) && revoked == (state == State::Revoked);
            same.then_some(state)
        }
        _ => Some(state),
    }
}

/// Whether some order explains everything; what has no answer may have happened or not.
fn some_order(left: &[Operation], state: State) -> bool {
    if left.iter().all(|operation| matches!(operation.reply, None | Some(Reply::Unavailable))) {
        return true;
    }
    let first_end = left.iter().map(|operation| operation.returned).min().unwrap_or(usize::MAX);
    for (index, operation) in left.iter().enumerate() {
        if operation.invoked > first_end {
            continue;
        }
        let rest: Vec<Operation> =
            left.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| *other).collect();
        let unknown = matches!(operation.reply, None | Some(Reply::Unavailable));
        if unknown && some_order(&rest, state) {
            return true;
        }
        if let Some(next) = after(state, operation)
            && some_order(&rest, next)
        {
            return true;
        }
    }
    false
}

fn call() -> impl Strategy<Value = (Call, Option<Reply>)> {
    let won = Reply::Won { node: 0, address: [10, 0, 0, 1].into() };
    let replies = prop::sample::select(vec![
        Some(won),
        Some(Reply::Refused(Refused::TokenConsumed)),
        Some(Reply::Refused(Refused::TokenConsumed)),
        Some(Reply::Refused(Refused::TokenExpired)),
        Some(Reply::Refused(Refused::TokenRevoked)),
        Some(Reply::Refused(Refused::PoolExhausted)),
        Some(Reply::Unavailable),
        None,
    ]);
    let state = (any::<bool>(), any::<bool>())
        .prop_filter("never both", |(consumed, revoked)| !(*consumed && *revoked))
        .prop_map(|(consumed, revoked)| (Call::Read { token: 0 }, Some(Reply::State { consumed, revoked })));
    prop_oneof![
        4 => (0_u32..3, replies).prop_map(|(nonce, reply)| (Call::Redeem { token: 0, nonce }, reply)),
        1 => prop::sample::select(vec![Some(Reply::Done), Some(Reply::Terminal), Some(Reply::Unavailable), None])
            .prop_map(|reply| (Call::Revoke { token: 0 }, reply)),
        1 => state,
    ]
}

/// Calls whose begins and ends lie at random.
fn history() -> impl Strategy<Value = (History, Vec<Operation>)> {
    prop::collection::vec((call(), any::<u16>(), any::<u16>()), 1..7).prop_map(|calls| {
        let mut ends = Vec::new();
        for (op, ((_, reply), one, other)) in calls.iter().enumerate() {
            ends.push((*one.min(other), 0, op, true));
            if reply.is_some() {
                ends.push((*one.max(other), 1, op, false));
            }
        }
        ends.sort_unstable();
        let mut history = History::default();
        history.ground.tokens.push(TokenGround { project: 0, expires_at: 0 });
        let mut operations: Vec<Operation> = calls
            .iter()
            .map(|((call, reply), ..)| Operation {
                call: *call,
                invoked: 0,
                returned: usize::MAX,
                reply: *reply,
            })
            .collect();
        for (_, _, op, begins) in ends {
            let at = history.entries.len();
            let number = u32::try_from(op).unwrap();
            let event = if begins {
                operations[op].invoked = at;
                Event::Invoke { op: number, by: 0, call: operations[op].call }
            } else {
                operations[op].returned = at;
                Event::Return { op: number, reply: operations[op].reply.unwrap() }
            };
            history.entries.push(Entry { at: 0, event });
        }
        (history, operations)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn it_judges_as_trying_every_order_does((history, operations) in history()) {
        let mut findings = Findings { rule: "linearizable", found: Vec::new() };
        linearizable(&history, &mut findings);
        prop_assert_eq!(findings.found.is_empty(), some_order(&operations, State::Unspent), "{:#?}", operations);
    }

    #[test]
    fn it_judges_as_stateright_does((history, operations) in history()) {
        let mut findings = Findings { rule: "linearizable", found: Vec::new() };
        linearizable(&history, &mut findings);
        prop_assert_eq!(findings.found.is_empty(), stateright(&history, &operations), "{:#?}", operations);
    }
}

/// A token as stateright's tester runs it, one operation after another.
#[derive(Debug, Clone, PartialEq)]
struct OneToken(State);

/// An answer; when it was 503, whether the operation was done all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    reply: Option<Reply>,
    done: bool,
}

impl SequentialSpec for OneToken {
    type Op = Call;
    type Ret = Told;

    /// What has no answer may have been done.
    fn invoke(&mut self, call: &Call) -> Told {
        let done = self.is_valid_step(call, &Told { reply: None, done: true });
        Told { reply: None, done }
    }

    fn is_valid_step(&mut self, call: &Call, told: &Told) -> bool {
        let unknown = matches!(told.reply, None | Some(Reply::Unavailable));
        if unknown && !told.done {
            return true;
        }
        let operation = Operation { call: *call, invoked: 0, returned: 0, reply: told.reply };
        match after(self.0, &operation) {
            Some(next) => {
                self.0 = next;
                true
            }
            None => false,
        }
    }
}

/// Whether stateright finds an order. Its tester wants to know of each 503 whether it was done: every answer is tried.
fn stateright(history: &History, operations: &[Operation]) -> bool {
    let unclear: Vec<usize> =
        (0..operations.len()).filter(|op| operations[*op].reply == Some(Reply::Unavailable)).collect();
    (0..1_u32 << unclear.len()).any(|guess| {
        let mut tester = LinearizabilityTester::new(OneToken(State::Unspent));
        for entry in &history.entries {
            match entry.event {
                // Each operation is a thread of its own: callers wait for nobody.
                Event::Invoke { op, call, .. } => {
                    tester.on_invoke(op, call).unwrap();
                }
                Event::Return { op, reply } => {
                    let place = unclear.iter().position(|unclear| *unclear == op as usize);
                    let done = place.is_none_or(|place| guess >> place & 1 == 1);
                    tester.on_return(op, Told { reply: Some(reply), done }).unwrap();
                }
                _ => {}
            }
        }
        tester.is_consistent()
    })
}
