//! Linearizability of tokens: each is a register that changes once, so no search is needed.
//!
//! One operation spends the token (a redemption that was told so, a revocation, or one whose answer was lost). All
//! that saw it unspent must have begun before some moment in that operation's interval, all that saw it spent must
//! have ended after it. That is one comparison of a few extremes for each token.

use plexlab_rules::registration::Refused;

use super::{Findings, calls};
use crate::history::{Call, History, Reply};

/// How a token is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Redeemed { nonce: u32 },
    Revoked,
}

/// An operation that spends the token, or may have.
#[derive(Debug, Clone, Copy)]
struct Spender {
    how: Spent,
    invoked: usize,
    /// `usize::MAX` when no answer came.
    returned: usize,
}

/// What is known of one token.
#[derive(Debug, Clone)]
struct Token {
    certain: Option<Spender>,
    /// Two were told that they spent it.
    twice: Option<usize>,
    possible: Vec<Spender>,
    /// The latest begin of those that saw it neither consumed nor revoked, and of those that saw it not consumed.
    unspent: Option<usize>,
    unconsumed: Option<usize>,
    /// The earliest end of those that saw it consumed, revoked, or one of the two.
    consumed: usize,
    revoked: usize,
    spent: usize,
    /// Nonces of those that were told of another's consumption; sorted when all are known.
    others: Vec<u32>,
}

impl Token {
    fn new() -> Self {
        Self {
            certain: None,
            twice: None,
            possible: Vec::new(),
            unspent: None,
            unconsumed: None,
            consumed: usize::MAX,
            revoked: usize::MAX,
            spent: usize::MAX,
            others: Vec::new(),
        }
    }

    fn spend(&mut self, spender: Spender) {
        match self.certain {
            None => self.certain = Some(spender),
            Some(_) => self.twice = Some(spender.returned),
        }
    }

    /// Whether this operation can be the one.
    fn fits(&self, spender: &Spender) -> bool {
        let (wrong, seen, before) = match spender.how {
            Spent::Redeemed { nonce } => {
                if self.others.binary_search(&nonce).is_ok() {
                    return false;
                }
                (self.revoked, self.consumed, self.unspent.max(self.unconsumed))
            }
            Spent::Revoked => (self.consumed, self.revoked, self.unspent),
        };
        let end = spender.returned.min(seen).min(self.spent);
        // Between the latest begin and the earliest end there must be a moment.
        let begin = before.map_or(spender.invoked, |before| before.max(spender.invoked));
        wrong == usize::MAX && begin < end
    }

    /// The entry at which it went wrong.
    fn wrong(&self) -> Option<usize> {
        if self.twice.is_some() {
            return self.twice;
        }
        let earliest = self.consumed.min(self.revoked).min(self.spent);
        match &self.certain {
            Some(spender) => {
                let at = if earliest == usize::MAX { spender.returned } else { earliest };
                (!self.fits(spender)).then_some(at)
            }
            None if earliest == usize::MAX => None,
            None => (!self.possible.iter().any(|spender| self.fits(spender))).then_some(earliest),
        }
    }
}

pub(super) fn linearizable(history: &History, findings: &mut Findings) {
    let mut tokens: Vec<Token> = vec![Token::new(); history.ground.tokens.len()];
    for done in calls(history).into_iter().flatten() {
        let (Call::Redeem { token, .. } | Call::Revoke { token } | Call::Read { token }) = done.call else {
            continue;
        };
        let Some(state) = tokens.get_mut(token as usize) else { continue };
        let at = done.returned.map_or(usize::MAX, |(at, _)| at);
        let spender = match done.call {
            Call::Redeem { nonce, .. } => {
                Spender { how: Spent::Redeemed { nonce }, invoked: done.invoked, returned: at }
            }
            _ => Spender { how: Spent::Revoked, invoked: done.invoked, returned: at },
        };
        let reply = done.returned.map(|(_, reply)| reply);
        match (done.call, reply) {
            (
                Call::Redeem { .. } | Call::Revoke { .. },
                None | Some(Reply::Unavailable | Reply::Internal),
            ) => {
                state.possible.push(spender);
            }
            (Call::Redeem { .. }, Some(Reply::Won { .. })) | (Call::Revoke { .. }, Some(Reply::Done)) => {
                state.spend(spender);
            }
            (Call::Revoke { .. }, Some(Reply::Terminal)) => state.spent = state.spent.min(at),
            (Call::Read { .. }, Some(Reply::State { consumed, revoked })) => {
                if consumed {
                    state.consumed = state.consumed.min(at);
                }
                if revoked {
                    state.revoked = state.revoked.min(at);
                }
                if !consumed && !revoked {
                    state.unspent = state.unspent.max(Some(done.invoked));
                }
            }
            (Call::Redeem { nonce, .. }, Some(Reply::Refused(refused))) => match refused {
                Refused::TokenConsumed => {
                    state.consumed = state.consumed.min(at);
                    state.others.push(nonce);
                }
                Refused::TokenRevoked => state.revoked = state.revoked.min(at),
                // An expired token is called so whether it was revoked or not.
                Refused::TokenExpired => state.unconsumed = state.unconsumed.max(Some(done.invoked)),
                // Another token's nonce, perhaps.
                Refused::NonceCollision | Refused::UnknownToken => {}
                _ => state.unspent = state.unspent.max(Some(done.invoked)),
            },
            _ => {}
        }
    }
    for (number, token) in tokens.iter_mut().enumerate() {
        token.others.sort_unstable();
        if let Some(at) = token.wrong() {
            let at = at.min(history.entries.len().saturating_sub(1));
            findings.add(at, format!("no order of the operations on token {number} explains their answers"));
        }
    }
}

#[cfg(test)]
mod tests;
