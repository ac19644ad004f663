//! What the rows of one provisioned Resource say, put together from what was committed. Pure.

use plexlab_rules::phase::Phase;
use uuid::Uuid;

use crate::live::changes::{Noted, What};

/// A token that was minted for the Resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minted {
    /// Its id.
    pub id: Uuid,
    /// When its time ends, in microseconds since the epoch.
    pub expires_at: i64,
    /// It was redeemed or revoked.
    pub spent: bool,
}

/// The rows.
#[derive(Debug, Clone)]
pub struct Rows {
    resource: Uuid,
    /// The phase.
    pub phase: Phase,
    /// The tokens, in the order they were minted.
    pub tokens: Vec<Minted>,
    /// The Node that is registered.
    pub node: Option<Uuid>,
    /// That Node has a peer.
    pub anchored: bool,
}

impl Rows {
    /// Those of a Resource that was just accepted.
    pub fn of(resource: Uuid) -> Self {
        Self { resource, phase: Phase::Pending, tokens: Vec::new(), node: None, anchored: false }
    }

    /// Takes over a change; says whether it is one of this Resource.
    pub fn take(&mut self, noted: &Noted) -> bool {
        match &noted.what {
            What::Phase { resource, to, .. } if *resource == self.resource => self.phase = *to,
            What::Minted { token, resource, expires_at } if *resource == self.resource => {
                self.tokens.push(Minted { id: *token, expires_at: *expires_at, spent: false });
            }
            What::Consumed { token, .. } | What::Revoked { token } => {
                let Some(ours) = self.tokens.iter_mut().find(|ours| ours.id == *token) else { return false };
                ours.spent = true;
            }
            What::Node { node, resource, .. } if *resource == self.resource => self.node = Some(*node),
            What::Gone { node } if self.node == Some(*node) => (self.node, self.anchored) = (None, false),
            What::Anchored { node } if self.node == Some(*node) => self.anchored = true,
            _ => return false,
        }
        true
    }

    /// Whether a token can be redeemed at a moment of the control plane's clock, in microseconds since the epoch.
    pub fn redeemable(&self, token: Uuid, now: i64) -> bool {
        self.tokens.iter().any(|ours| ours.id == token && !ours.spent && now < ours.expires_at)
    }

    /// When the time of the next token that can be redeemed ends.
    pub fn next_expiry(&self, now: i64) -> Option<i64> {
        let live = self.tokens.iter().filter(|token| !token.spent && now < token.expires_at);
        live.map(|token| token.expires_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_what_was_committed_and_others_changes_are_not_theirs() {
        let (resource, token, node) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut rows = Rows::of(resource);
        let take =
            |rows: &mut Rows, what| rows.take(&Noted { transaction: "1".to_owned(), committed: 0, what });
        assert!(take(&mut rows, What::Minted { token, resource, expires_at: 100 }));
        assert!(rows.redeemable(token, 99) && !rows.redeemable(token, 100));
        assert_eq!((rows.next_expiry(0), rows.next_expiry(100)), (Some(100), None));
        let (from, to) = (Phase::Pending, Phase::Provisioning);
        assert!(take(&mut rows, What::Phase { resource, from, to }));
        assert!(!take(&mut rows, What::Phase { resource: Uuid::nil(), from, to: Phase::Failed }));
        assert_eq!(rows.phase, Phase::Provisioning);
        let (handle, address) = ("pr-1".to_owned(), "10.0.0.1".to_owned());
        assert!(take(&mut rows, What::Node { node, handle, resource, address }));
        assert!(take(&mut rows, What::Consumed { token, nonce: "n".to_owned(), node, at: 1 }));
        assert!(!rows.redeemable(token, 0) && rows.node == Some(node) && !rows.anchored);
        assert!(take(&mut rows, What::Anchored { node }) && rows.anchored);
        assert!(take(&mut rows, What::Gone { node }) && rows.node.is_none() && !rows.anchored);
        assert!(!take(&mut rows, What::Revoked { token: Uuid::nil() }));
    }
}
