//! What a document's text asks for beside its blocks. Pure.

use std::sync::LazyLock;

use regex::Regex;
use secrecy::SecretString;

use super::document::SignIn;

/// Which block may be refused for a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryNote {
    /// The one after the text.
    NextBlock,
    /// The one with this command.
    Command(String),
}

#[expect(clippy::unwrap_used, reason = "the patterns are constants, and each is tested")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static SIGN_IN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)sign-?in in the browser as\s+(\S+@[\w.-]*\w)\s+with the (?:dev )?password\s+([^\s:;,]*[^\s:;,.])",
    )
});
static RETRY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?is)\bif (the next command|[\w -]+?) returns permission denied\b.*?\b(?:wait|re-?run|try again)",
    )
});
static APPLY: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bapply\b"));

/// "complete sign-in in the browser as X with the password Y".
pub fn sign_in(text: &str) -> Option<SignIn> {
    let plain = unquoted(text);
    let found = SIGN_IN.captures(&plain)?;
    Some(SignIn { login: found[1].to_owned(), password: SecretString::from(&found[2]) })
}

/// "If the next command returns Permission Denied, wait a second and re-run it".
pub fn retry(text: &str) -> Option<RetryNote> {
    let plain = unquoted(text);
    let found = RETRY.captures(&plain)?;
    Some(match &found[1] {
        next if next.eq_ignore_ascii_case("the next command") => RetryNote::NextBlock,
        command => RetryNote::Command(command.to_owned()),
    })
}

/// Whether the text asks to apply what follows.
pub fn asks_to_apply(text: &str) -> bool {
    APPLY.is_match(text)
}

/// Without the marks of code, and with single spaces.
fn unquoted(text: &str) -> String {
    text.replace(['`', '*'], "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_sign_in_is_found_however_it_is_quoted() {
        for text in [
            "Run the login below, then complete sign-in in the browser as operator@example.com with the password password:",
            "completing sign-in in the browser\nas `operator@example.com` with the password `password`.",
        ] {
            let found = sign_in(text).unwrap();
            assert_eq!(
                (found.login.as_str(), found.password.expose_secret()),
                ("operator@example.com", "password")
            );
        }
        assert!(sign_in("Both accounts sign in with the dev password password.").is_none());
    }

    #[test]
    fn a_retry_names_the_block_it_is_for() {
        assert_eq!(
            retry(
                "Give it a moment. If the next command returns Permission Denied, wait a second and re-run it."
            ),
            Some(RetryNote::NextBlock)
        );
        assert_eq!(
            retry(
                "Another grant. If `resource create` returns `Permission Denied: project not authorised`, wait a second and re-run it"
            ),
            Some(RetryNote::Command("resource create".into()))
        );
        assert_eq!(retry("resource create returns 202 Accepted"), None);
    }
}
