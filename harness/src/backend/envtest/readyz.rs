//! One look at whether an API server is ready.
//!
//! A Kubernetes client would tell the log of each refusal as an error; before a server is ready, a refusal is none.

use std::time::Duration;

use plexlab_lab::Check;
use secrecy::{ExposeSecret as _, SecretString};

/// How long one look may take: a server that is not ready yet may leave a request lying for a minute.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Asks `/readyz`.
#[derive(Debug)]
pub struct Readyz {
    http: reqwest::Client,
    url: String,
    token: SecretString,
}

impl Readyz {
    /// For the server at `base`, whose authority is `ca_pem`, as the user of `token`.
    ///
    /// # Errors
    /// When no client can be made of them.
    pub fn new(base: &str, ca_pem: &str, token: SecretString) -> Result<Self, reqwest::Error> {
        let authority = reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes())?;
        let http =
            reqwest::Client::builder().no_proxy().timeout(LOOK_WITHIN).tls_certs_only(authority).build()?;
        Ok(Self { http, url: format!("{base}/readyz"), token })
    }

    /// Whether it is ready, or what it said instead.
    pub async fn look(&self) -> Check<()> {
        match self.http.get(&self.url).bearer_auth(self.token.expose_secret()).send().await {
            Ok(answer) if answer.status().is_success() => Check::Done(()),
            Ok(answer) => {
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                // A line for each check; `[-]` begins those that fail.
                let failing: Vec<&str> = text.lines().filter(|line| line.starts_with("[-]")).collect();
                Check::NotYet(format!("{status} {}", failing.join(", ")))
            }
            Err(error) => Check::NotYet(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::observe::complaints::DriverLog;

    #[tokio::test]
    async fn a_server_that_is_not_ready_yet_says_why_and_nobody_complains() {
        plexlab_lab::tls::install_provider();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let not_yet = "[+]ping ok\n[-]poststarthook/rbac failed: reason withheld\n";
            for (status, text) in [("500 Internal Server Error", not_yet), ("200 OK", "ok")] {
                let (mut connection, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = connection.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
                );
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        let log = DriverLog::default();
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let readyz = Readyz::new(&base, &authority, SecretString::from("canary")).unwrap();
        let why = |check| match check {
            Check::NotYet(why) => why,
            Check::Done(()) => "ready".to_owned(),
        };
        let refused = why(readyz.look().await);
        assert_eq!(refused, "500 Internal Server Error [-]poststarthook/rbac failed: reason withheld");
        assert_eq!(why(readyz.look().await), "ready");
        server.join().unwrap();
        let gone = why(readyz.look().await);
        assert!(gone.contains("/readyz") && !gone.contains("canary"), "{gone}");
        assert_eq!(log.take(), []);
    }
}
