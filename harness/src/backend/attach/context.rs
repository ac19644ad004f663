//! Which cluster a kubeconfig leads to, and whether a stack may be put there.
//!
//! Nothing here changes the file: a stack gets a kubeconfig of its own with the one context in it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{AuthInfo, Kubeconfig};
use secrecy::SecretString;

use super::super::options::BackendOptions;

/// The cluster cannot be chosen, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No file was given.
    #[error(
        "the kubeconfig backend needs `--kubeconfig FILE`, and `--context NAME` unless its current one is meant"
    )]
    NotGiven,
    /// The file cannot be used.
    #[error("use the kubeconfig {path}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It has no such context.
    #[error("the kubeconfig {path} has no context `{name}`; it has {known}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The cluster may be somebody else's.
    #[error(
        "the context `{name}` leads to {url}, {why}; a stack installs operators and cluster-wide roles there: if that is \
         meant, add `--allow-context {name}`"
    )]
    NotAllowed {
        /// The context.
        name: String,
        /// The API server.
        url: String,
        /// What speaks against it.
        why: String,
    },
    /// The client certificate is over.
    #[error("the certificate of the context `{name}` expired at {at}; have a new one issued, and try again")]
    Expired {
        /// The context.
        name: String,
        /// When.
        at: Timestamp,
    },
}

/// A cluster that was chosen.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Name of the context.
    pub context: String,
    /// Base URL of its API server.
    pub url: String,
    /// A kubeconfig with this context alone, files that it named written out.
    pub kubeconfig: Kubeconfig,
}

impl Chosen {
    /// The kubeconfig as YAML.
    ///
    /// # Errors
    /// When it cannot be written as YAML.
    pub fn yaml(&self) -> Result<String, serde_norway::Error> {
        serde_norway::to_string(&self.kubeconfig)
    }
}

/// Chooses the cluster.
///
/// # Errors
/// [`ContextError`].
pub fn choose(options: &BackendOptions, now: Timestamp) -> Result<Chosen, ContextError> {
    let path = options.kubeconfig.as_deref().ok_or(ContextError::NotGiven)?;
    let unusable = |why: String| ContextError::Unusable { path: path.to_owned(), why };
    let mut file = Kubeconfig::read_from(path).map_err(|error| unusable(error.to_string()))?;
    let name = options.context.clone().or_else(|| file.current_context.clone());
    let name = name.ok_or_else(|| unusable("it has no current context; give `--context NAME`".into()))?;
    let known = || file.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = || ContextError::Unknown { path: path.to_owned(), name: name.clone(), known: known() };
    let named = file.contexts.iter().find(|context| context.name == name).cloned().ok_or_else(missing)?;
    let context = named.context.clone().unwrap_or_default();
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster).cloned();
    let cluster = cluster.ok_or_else(|| unusable(format!("it has no cluster `{}`", context.cluster)))?;
    let inner = cluster.cluster.clone().unwrap_or_default();
    let url = inner
        .server
        .clone()
        .ok_or_else(|| unusable(format!("the cluster `{}` has no server", cluster.name)))?;
    let doubt = match (&inner.proxy_url, on_loopback(&url)) {
        (Some(_), _) => Some("through a proxy".to_owned()),
        (None, false) => Some("which is not on this machine".to_owned()),
        (None, true) => [&name, &cluster.name]
            .into_iter()
            .find(|name| looks_like_production(name))
            .map(|name| format!("and `{name}` looks like a production cluster")),
    };
    if let Some(why) = doubt.filter(|_| options.allow_context.as_ref() != Some(&name)) {
        return Err(ContextError::NotAllowed { name, url, why });
    }
    file.clusters = vec![cluster];
    file.contexts = vec![named];
    file.auth_infos.retain(|user| Some(&user.name) == context.user.as_ref());
    file.current_context = Some(name.clone());
    file.extensions = None;
    file.preferences = None;
    for user in file.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
        write_out(user).map_err(&unusable)?;
        if let Some(at) = user.client_certificate_data.as_deref().and_then(expiry).filter(|at| *at <= now) {
            return Err(ContextError::Expired { name, at });
        }
    }
    if let Some(cluster) = file.clusters.iter_mut().find_map(|cluster| cluster.cluster.as_mut())
        && let Some(authority) = cluster.certificate_authority.take()
    {
        cluster.certificate_authority_data = Some(encoded(Path::new(&authority)).map_err(&unusable)?);
    }
    Ok(Chosen { context: name, url, kubeconfig: file })
}

/// Puts the files that a user's entry names into it: the stack's own kubeconfig must not depend on them.
fn write_out(user: &mut AuthInfo) -> Result<(), String> {
    if let Some(path) = user.client_certificate.take() {
        user.client_certificate_data = Some(encoded(Path::new(&path))?);
    }
    if let Some(path) = user.client_key.take() {
        user.client_key_data = Some(SecretString::from(encoded(Path::new(&path))?));
    }
    Ok(())
}

fn encoded(path: &Path) -> Result<String, String> {
    std::fs::read(path)
        .map(|bytes| STANDARD.encode(bytes))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn on_loopback(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a name has a word that begins with `prod`, or the word `live`.
fn looks_like_production(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut words = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word.starts_with("prod") || word == "live")
}

/// When a certificate ends: base64 of PEM.
fn expiry(data: &str) -> Option<Timestamp> {
    let pem = String::from_utf8(STANDARD.decode(data.trim()).ok()?).ok()?;
    let body = pem.split("-----BEGIN CERTIFICATE-----").nth(1)?.split("-----END").next()?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    // Certificate, its signed part; there: version (tagged), serial number, algorithm, issuer, validity.
    let (certificate, _) = element(&der)?;
    let (mut rest, _) = element(certificate.1)?;
    let mut fields = Vec::new();
    while let Some((field, after)) = element(rest.1) {
        fields.push(field);
        rest.1 = after;
        if fields.len() == 5 {
            break;
        }
    }
    let is_versioned = fields.first()?.0 == 0xa0;
    let validity = fields.get(if is_versioned { 4 } else { 3 })?.1;
    let (_, after) = element(validity)?;
    let ((tag, text), _) = element(after)?;
    let text = std::str::from_utf8(text).ok()?;
    // UTCTime has two digits of the year, and means 1950 to 2049.
    let text = match tag {
        0x17 if text < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    written.parse().ok()
}

/// Tag and contents.
type Element<'b> = (u8, &'b [u8]);

/// The first DER element: its tag and contents, and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    let (length, start) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = bytes.get(2..2 + count)?;
        (digits.iter().fold(0usize, |sum, digit| (sum << 8) | usize::from(*digit)), 2 + count)
    };
    Some(((tag, bytes.get(start..start + length)?), &bytes[start + length..]))
}

/// Whether the kubeconfig holds a secret as such; used by tests of outputs.
#[cfg(test)]
fn key_of(chosen: &Chosen) -> Option<String> {
    use secrecy::ExposeSecret as _;
    let user = chosen.kubeconfig.auth_infos.first()?.auth_info.as_ref()?;
    user.client_key_data.as_ref().map(|key| key.expose_secret().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn file(directory: &Path, server: &str, context: &str, user: &str) -> BackendOptions {
        let path = directory.join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             clusters: [{{name: here, cluster: {{server: '{server}'}}}}, {{name: other, cluster: {{server: 'https://x'}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: here, user: me}}}}, {{name: second, context: {{cluster: other, user: you}}}}]\n\
             users: [{{name: me, user: {{{user}}}}}, {{name: you, user: {{token: not-mine}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        BackendOptions { kubeconfig: Some(path), ..BackendOptions::default() }
    }

    #[rstest]
    #[case("https://127.0.0.1:6443", "kind-dev", None, None)]
    #[case("https://localhost:6443", "kind-dev", None, None)]
    #[case("https://[::1]:6443", "kind-dev", None, None)]
    #[case("https://10.0.0.1:6443", "kind-dev", None, Some("not on this machine"))]
    #[case("https://127.0.0.1.example.com", "kind-dev", None, Some("not on this machine"))]
    #[case("https://k8s.example.com", "team", Some("team"), None)]
    #[case("https://k8s.example.com", "team", Some("other"), Some("--allow-context team"))]
    #[case("https://127.0.0.1:6443", "acme-production", None, Some("looks like a production cluster"))]
    #[case("https://127.0.0.1:6443", "eu-prod-1", None, Some("looks like a production cluster"))]
    #[case("https://127.0.0.1:6443", "reproduction", None, None)]
    fn a_cluster_that_may_be_somebody_elses_must_be_named(
        #[case] server: &str,
        #[case] context: &str,
        #[case] allowed: Option<&str>,
        #[case] refusal: Option<&str>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let options = file(directory.path(), server, context, "token: mine");
        let options = BackendOptions { allow_context: allowed.map(str::to_owned), ..options };
        match (choose(&options, Timestamp::UNIX_EPOCH), refusal) {
            (Ok(chosen), None) => {
                assert_eq!((chosen.context.as_str(), chosen.url.as_str()), (context, server))
            }
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_stacks_own_kubeconfig_has_one_context_and_no_others_credentials() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), "a key").unwrap();
        let key = directory.path().join("key");
        let user = format!("client-key: '{}'", key.display());
        let chosen =
            choose(&file(directory.path(), "https://127.0.0.1:1", "dev", &user), Timestamp::UNIX_EPOCH);
        let chosen = chosen.unwrap();
        let text = chosen.yaml().unwrap();
        assert!(!text.contains("second") && !text.contains("not-mine"), "{text}");
        assert_eq!(key_of(&chosen).as_deref(), Some(STANDARD.encode("a key").as_str()));
        let again: Kubeconfig = serde_norway::from_str(&text).unwrap();
        assert_eq!(again.current_context.as_deref(), Some("dev"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let options = file(directory.path(), "https://127.0.0.1:1", "dev", "token: mine");
        let unknown = BackendOptions { context: Some("devv".into()), ..options };
        let message = choose(&unknown, Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(message.contains("no context `devv`; it has dev, second"), "{message}");
        assert!(matches!(
            choose(&BackendOptions::default(), Timestamp::UNIX_EPOCH),
            Err(ContextError::NotGiven)
        ));
        let gone = BackendOptions { kubeconfig: Some("/no/such/file".into()), ..BackendOptions::default() };
        assert!(matches!(choose(&gone, Timestamp::UNIX_EPOCH), Err(ContextError::Unusable { .. })));
    }

    #[test]
    fn a_certificate_that_is_over_is_refused_with_its_date() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2025, 2, 3);
        let pem = parameters.self_signed(&key).unwrap().pem();
        let directory = tempfile::tempdir().unwrap();
        let user = format!("client-certificate-data: {}", STANDARD.encode(pem));
        let options = file(directory.path(), "https://127.0.0.1:1", "dev", &user);
        let end: Timestamp = "2025-02-03T00:00:00Z".parse().unwrap();
        match choose(&options, end) {
            Err(ContextError::Expired { at, .. }) => assert_eq!(at, end),
            other => panic!("{other:?}"),
        }
        assert!(choose(&options, "2025-02-02T23:59:59Z".parse().unwrap()).is_ok());
    }
}
