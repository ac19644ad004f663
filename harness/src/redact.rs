//! Secrets out of every output.
//!
//! Two nets: values that are known to be secret (registered as they are drawn or received) in every
//! encoding that an output may give them, and the shapes of plexsphere's and Kubernetes' credentials,
//! for values that nobody registered.

use std::borrow::Cow;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use regex::Regex;

/// What stands in a secret's place.
pub const REDACTED: &str = "<redacted>";

/// Shapes of credentials: bootstrap tokens, API tokens, node secret key envelopes, JWTs, PEM private keys.
const SHAPES: &str = r"psb_[a-z]+_[a-z2-7]+_(?:node|bridge)_[a-z2-7]{8,}|psk_[a-z]+_[a-z2-7]{8,}_[A-Za-z0-9]{8,}|nsk_[a-z]+_[A-Za-z0-9_-]{16,}|hvs\.[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)";

/// Shorter values are not registered: replacing them would garble outputs and protect nothing.
const SHORTEST: usize = 8;

/// Replaces secrets in texts. Cloning shares the registered values.
#[derive(Clone)]
pub struct Redactor {
    shapes: Arc<Regex>,
    values: Arc<RwLock<Vec<String>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Default for Redactor {
    fn default() -> Self {
        let shapes = Regex::new(SHAPES).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"));
        Self { shapes: Arc::new(shapes), values: Arc::default() }
    }
}

impl Redactor {
    /// From now on this value, and its usual encodings, are replaced.
    pub fn register(&self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let mut values = self.values.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if values.iter().any(|known| known == secret) {
            return;
        }
        values.extend(encodings(secret));
        // Longest first, so that an encoding is never cut by a shorter one inside it.
        values.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        values.dedup();
    }

    /// The text without secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = self.shapes.replace_all(text, REDACTED);
        let values = self.values.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for value in values.iter() {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), REDACTED));
            }
        }
        text
    }
}

/// The value itself; base64 at its three offsets (as inside a longer text), standard and URL-safe;
/// hex in both cases; percent-encoded; JSON-escaped.
fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned()];
    for offset in 0..3 {
        let mut shifted = vec![b'x'; offset];
        shifted.extend_from_slice(bytes);
        // Only characters that depend on the secret alone: not those shared with what is around it.
        let head = [0, 2, 3][offset];
        let whole = shifted.len() / 3 * 3;
        for encoded in [STANDARD.encode(&shifted[..whole]), URL_SAFE_NO_PAD.encode(&shifted[..whole])] {
            if encoded.len() > head + SHORTEST {
                all.push(encoded[head..].to_owned());
            }
        }
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    all.push(hex.to_uppercase());
    all.push(hex);
    let percent: String = bytes
        .iter()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    all.push(percent);
    if let Ok(json) = serde_json::to_string(secret) {
        all.push(json[1..json.len() - 1].to_owned());
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_recognised_by_their_shape() {
        let redactor = Redactor::default();
        for secret in [
            "psb_dev_aebagbafaydqqbrhibbsa3kqaq_node_k3qk3qk3qk3qk3qk3qk3q",
            "psk_dev_aebagbafaydqqbrhibbsa3kqaq_k3qk3qk3qk3q",
            "nsk_plexd_AQIDBAUGBwgJCgsMDQ4PEBES",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0aaaa.c2lnbmF0dXJl",
        ] {
            let text = format!("token={secret}, more");
            assert_eq!(redactor.redact(&text), "token=<redacted>, more");
        }
    }

    proptest! {
        #[test]
        fn a_registered_value_is_gone_in_every_encoding(
            secret in "[ -~]{12,40}",
            before in "[a-z]{0,5}",
            after in "[a-z]{0,5}",
        ) {
            let redactor = Redactor::default();
            redactor.register(&secret);
            let inside = format!("{before}{secret}{after}");
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let json = serde_json::to_string(&secret).unwrap();
            let core = STANDARD.encode(&inside);
            for text in [inside.clone(), hex.clone(), json, core.clone()] {
                let shown = redactor.redact(&text).into_owned();
                prop_assert!(shown.contains(REDACTED), "{text} became {shown}");
                prop_assert!(!shown.contains(&secret) && !shown.contains(&hex));
            }
        }
    }
}
