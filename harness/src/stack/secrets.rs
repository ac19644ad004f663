//! The secrets that each stack draws anew, and the Secret objects that carry them into the cluster.

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clouds::Clouds;
use crate::clouds::secrets::{CloudSecrets, DrawError};
use crate::redact::Redactor;

/// The secrets of one stack.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// API token of the seeded platform operator: `psk_dev_<base32 of a UUID>_<random>` (contract: control plane,
    /// 2.1).
    pub operator_token: SecretString,
    /// API token of the seeded project owner, of the same form.
    pub owner_token: SecretString,
    /// What the control plane shows the identity provider.
    pub idp_client_secret: SecretString,
    /// Root token of the secret store.
    pub vault_token: SecretString,
    /// The credentials at the stack's clouds, if it has any.
    pub clouds: CloudSecrets,
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Secrets {
    /// Draws new secrets and registers them for redaction.
    ///
    /// # Errors
    /// When the system has no randomness for certificates and keys.
    pub fn draw(clouds: &Clouds, redactor: &Redactor) -> Result<Self, DrawError> {
        let api_token = || {
            let id = base32(Uuid::now_v7().as_bytes());
            SecretString::from(format!("psk_dev_{id}_{}", random_text(32)))
        };
        let secrets = Self {
            operator_token: api_token(),
            owner_token: api_token(),
            idp_client_secret: random_text(40).into(),
            vault_token: format!("hvs.{}", random_text(32)).into(),
            clouds: CloudSecrets::draw(clouds, redactor)?,
        };
        redactor.register(secrets.operator_token.expose_secret());
        redactor.register(secrets.owner_token.expose_secret());
        redactor.register(secrets.idp_client_secret.expose_secret());
        redactor.register(secrets.vault_token.expose_secret());
        Ok(secrets)
    }

    /// With the owner's API token at a control plane that runs elsewhere, which is registered for redaction.
    #[must_use]
    pub fn with_owner(self, token: SecretString, redactor: &Redactor) -> Self {
        redactor.register(token.expose_secret());
        Self { owner_token: token, ..self }
    }

    /// Values for a plan that is only printed.
    pub fn placeholders() -> Self {
        let drawn = "<drawn at start>";
        Self {
            operator_token: drawn.into(),
            owner_token: drawn.into(),
            idp_client_secret: drawn.into(),
            vault_token: drawn.into(),
            clouds: CloudSecrets::placeholders(&Clouds::new()),
        }
    }

    /// The Secret objects that hold them; those of the control plane only where it is part of the stack.
    pub fn objects(&self, with_control_plane: bool) -> Vec<Value> {
        let secret = |namespace: &str, name: &str, token: &SecretString| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "type": "Opaque",
                "stringData": {"token": token.expose_secret()},
            })
        };
        let mut objects = Vec::new();
        if with_control_plane {
            objects.extend([
                secret("default", "plexsphere-operator", &self.operator_token),
                secret("default", "plexsphere-owner", &self.owner_token),
                secret("default", "plexsphere-idp-client", &self.idp_client_secret),
            ]);
        }
        objects.extend([
            secret("vault", "vault-root-token", &self.vault_token),
            secret("external-secrets", "vault-token", &self.vault_token),
        ]);
        objects.extend(self.clouds.objects());
        objects
    }
}

fn random_text(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(BASE32[random.random_range(0..BASE32.len())])).collect()
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(BASE32[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(BASE32[(buffer << (5 - bits) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(redactor: &Redactor) -> Secrets {
        Secrets::draw(&Clouds::new(), redactor).unwrap()
    }

    #[test]
    fn two_stacks_never_share_a_secret_and_debug_shows_none() {
        let redactor = Redactor::default();
        let (one, two) = (drawn(&redactor), drawn(&redactor));
        assert_ne!(one.vault_token.expose_secret(), two.vault_token.expose_secret());
        let shown = format!("{one:?}");
        for token in [&one.operator_token, &one.owner_token] {
            assert!(!shown.contains(token.expose_secret()), "{shown}");
            assert!(!redactor.redact(token.expose_secret()).contains(token.expose_secret()));
        }
        let dump = serde_json::to_string(&one.objects(true)).unwrap();
        assert!(!redactor.redact(&dump).contains(one.vault_token.expose_secret()));
    }

    #[test]
    fn an_operator_token_embeds_its_id_in_base32() {
        let redactor = Redactor::default();
        let secrets = drawn(&redactor);
        let parts: Vec<&str> = secrets.operator_token.expose_secret().split('_').collect();
        assert_eq!((parts[0], parts[1], parts[2].len()), ("psk", "dev", 26));
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
    }
}
