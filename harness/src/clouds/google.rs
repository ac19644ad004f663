//! Service accounts of a stack's Google Cloud, each with a key that the stack draws anew.
//!
//! `rsa` finds the primes; the operator's library signs with RSA only.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RsaKeyPair, RsaPublicKeyComponents};
use rsa::pkcs8::EncodePrivateKey as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::GOOGLE_PROJECT;
use crate::redact::Redactor;

/// Where tokens are had.
pub const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Bits of a key: what Google's have.
const BITS: usize = 2048;

/// No key could be had.
#[derive(Debug, thiserror::Error)]
#[error("make a key of a Google service account: {0}")]
pub struct KeyError(String);

/// A service account with one key.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// Its name.
    pub email: String,
    /// The id of the key.
    pub key_id: String,
    /// The public half, a JSON Web Key.
    pub jwk: Value,
    /// The private half, PEM.
    pub private_key: SecretString,
}

impl ServiceAccount {
    /// Draws a key, which takes some tenths of a second, and registers it for redaction.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn draw(name: &str, redactor: &Redactor) -> Result<Self, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let private = rsa::PrivateKey::new(&mut rand::rng(), BITS).map_err(|error| failed(&error))?;
        let document = private.to_pkcs8_der().map_err(|error| failed(&error))?;
        let pair = RsaKeyPair::from_pkcs8(document.as_bytes()).map_err(|error| failed(&error))?;
        let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
        let digest = ring::digest::digest(&ring::digest::SHA256, &public.n);
        let key_id = digest.as_ref().iter().take(20).map(|byte| format!("{byte:02x}")).collect();
        let body = STANDARD.encode(document.as_bytes());
        let lines: Vec<&str> =
            (0..body.len()).step_by(64).filter_map(|at| body.get(at..(at + 64).min(body.len()))).collect();
        // The line breaks are written in different ways in different files.
        lines.iter().filter(|line| line.len() == 64).for_each(|line| redactor.register(line));
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let (n, e) = (URL_SAFE_NO_PAD.encode(&public.n), URL_SAFE_NO_PAD.encode(&public.e));
        Ok(Self {
            email: email(name),
            key_id,
            jwk: json!({"kty": "RSA", "n": n, "e": e}),
            private_key: pem.into(),
        })
    }

    /// For a plan that is only printed.
    pub fn placeholder(name: &str) -> Self {
        let drawn = "<drawn at start>";
        Self { email: email(name), key_id: drawn.into(), jwk: json!(drawn), private_key: drawn.into() }
    }

    /// The key's file, as Google hands it out.
    pub fn file(&self) -> Value {
        json!({
            "type": "service_account",
            "project_id": GOOGLE_PROJECT,
            "private_key_id": self.key_id,
            "private_key": self.private_key.expose_secret(),
            "client_email": self.email,
            "token_uri": TOKEN_URI,
            "universe_domain": "googleapis.com",
        })
    }
}

fn email(name: &str) -> String {
    format!("{name}@{GOOGLE_PROJECT}.iam.gserviceaccount.com")
}
