//! Waiting until the addresses that a stack tells can be used: what is ready is still out of reach until whoever leads a
//! Service's connections to it has heard so, and until then breaks them.

use std::time::Duration;

use plexlab_lab::{Check, TimedOut, eventually};
use tokio_postgres::NoTls;

use crate::backend::attach::cluster::chain;

/// Waits until each of these URLs is answered, whatever the answer, and the database of this connection string takes a
/// connection; at most for `within`, each.
///
/// # Errors
/// [`TimedOut`] for one that is not, with what was seen last.
pub(super) async fn wait(urls: &[String], dsn: Option<&str>, within: Duration) -> Result<(), TimedOut> {
    let urls = futures::future::try_join_all(urls.iter().map(|url| answered(url, within)));
    let database = async {
        match dsn {
            Some(dsn) => connected(dsn, within).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(urls, database).map(drop)
}

async fn answered(url: &str, within: Duration) -> Result<(), TimedOut> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    eventually(format!("an answer of {url}"), within, || async {
        let asked = match &client {
            Ok(client) => client.get(url).send().await,
            Err(error) => return Check::NotYet(error.to_string()),
        };
        match asked {
            Ok(_) => Check::Done(()),
            Err(error) => Check::NotYet(chain(&error)),
        }
    })
    .await
}

async fn connected(dsn: &str, within: Duration) -> Result<(), TimedOut> {
    eventually("the database to take a connection", within, || async {
        match tokio_postgres::connect(dsn, NoTls).await {
            Ok(_) => Check::Done(()),
            // Its own refusal is an answer, too: whoever connects is told it.
            Err(error) if error.as_db_error().is_some() => Check::Done(()),
            Err(error) => Check::NotYet(chain(&error)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A Service whose first connections are broken, as long as nobody has heard of an endpoint.
    async fn service(broken: u32) -> (String, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicU32::new(0));
        let count = taken.clone();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                if count.fetch_add(1, Ordering::SeqCst) < broken {
                    connection.set_zero_linger().unwrap();
                    continue;
                }
                let mut request = [0; 1024];
                let _ = connection.read(&mut request).await;
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = connection.write_all(answer).await;
            }
        });
        (url, taken)
    }

    #[tokio::test]
    async fn connections_that_are_broken_are_tried_again_until_there_is_any_answer() {
        plexlab_lab::tls::install_provider();
        let (url, taken) = service(3).await;
        wait(&[url], None, Duration::from_secs(60)).await.unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn one_that_never_answers_is_named_with_what_was_seen() {
        plexlab_lab::tls::install_provider();
        let (fine, _) = service(0).await;
        let (url, _) = service(u32::MAX).await;
        let error = wait(&[fine.clone(), url.clone()], None, Duration::from_millis(300)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&url) && !text.contains(&fine) && text.contains("onnection"), "{text}");
        let dsn = url.replace("http://", "postgres://plexsphere@");
        let error = wait(&[], Some(&dsn), Duration::from_millis(300)).await.unwrap_err();
        assert!(error.to_string().contains("the database to take a connection"), "{error}");
    }
}
