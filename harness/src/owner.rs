//! Who the project owner is at a control plane that runs elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Serialize;

/// A file that is longer holds no API token.
const LONGEST: usize = 4096;

/// The owner's credential, and where the owner may make Projects. The credential itself is read when a stack starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnerAccess {
    /// A file with the owner's API token and nothing else.
    pub token_file: PathBuf,
    /// Slug of the Domain in which the owner may make Projects.
    pub domain: String,
}

/// The owner's token cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("read the owner's API token from {path}: {why}; the file is to hold the token and nothing else")]
pub struct NoToken {
    path: PathBuf,
    why: String,
}

impl OwnerAccess {
    /// Reads the token.
    ///
    /// # Errors
    /// [`NoToken`], when the file cannot be read or holds no token; what it holds is not repeated.
    pub fn token(&self) -> Result<SecretString, NoToken> {
        read(&self.token_file).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::InvalidData => "it does not hold one word".to_owned(),
                _ => error.to_string(),
            };
            NoToken { path: self.token_file.clone(), why }
        })
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    let text = std::fs::read_to_string(path)?;
    let token = text.trim();
    if token.is_empty() || token.len() > LONGEST || token.contains(char::is_whitespace) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_is_one_word_and_what_is_none_is_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let owner = OwnerAccess { token_file: token_file.clone(), domain: "acme-corp".into() };
        let missing = owner.token().unwrap_err().to_string();
        assert!(missing.contains("token: ") && missing.contains("No such file"), "{missing}");
        std::fs::write(&token_file, "psk_dev_canary\n").unwrap();
        assert_eq!(owner.token().unwrap().expose_secret(), "psk_dev_canary");
        std::fs::write(&token_file, "canary: two words\n").unwrap();
        let garbled = owner.token().unwrap_err().to_string();
        assert!(garbled.contains("one word") && !garbled.contains("canary"), "{garbled}");
    }
}
