//! A server that speaks nothing newer than TLS 1.1: what a client does that must not go below 1.2.
//!
//! It answers the first record with a ServerHello of TLS 1.1 and looks at what comes back. Written by hand, because no
//! maintained library speaks TLS 1.1 any more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plexlab_harness::run::Failure;
use plexlab_lab::bind_loopback;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::ways::{Reached, Ways};

/// TLS record types.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The alert for a version that is not supported.
const PROTOCOL_VERSION: u8 = 70;

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Refused the version, or cut the connection.
    Refused(String),
    /// Went on.
    WentOn(String),
}

/// A running server.
#[derive(Debug)]
pub struct Downgrade {
    /// Where it is, for pods.
    pub address: SocketAddr,
    _reached: Reached,
    seen: Arc<Mutex<Vec<Reaction>>>,
    task: JoinHandle<()>,
}

impl Drop for Downgrade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Downgrade {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no port, or no way to it.
    pub async fn start(ways: &Ways) -> Result<Self, Failure> {
        let listener = bind_loopback(([127, 0, 0, 1], 0).into()).await?;
        let reached = ways.to(listener.local_addr()?).await?;
        let seen = Arc::<Mutex<Vec<Reaction>>>::default();
        let into = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let meeting = tokio::time::timeout(Duration::from_secs(5), meet(stream)).await;
                if let Ok(Some(reaction)) = meeting {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(reaction);
                }
            }
        });
        Ok(Self { address: reached.address, _reached: reached, seen, task })
    }

    /// What clients did so far.
    pub fn reactions(&self) -> Vec<Reaction> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// None when the client says nothing that is TLS.
async fn meet(mut stream: TcpStream) -> Option<Reaction> {
    let (kind, _) = record(&mut stream).await?;
    if kind != HANDSHAKE {
        return None;
    }
    stream.write_all(&server_hello()).await.ok()?;
    Some(match record(&mut stream).await {
        None => Reaction::Refused("the connection was cut".into()),
        Some((ALERT, body)) => match body.get(1) {
            Some(&PROTOCOL_VERSION) => Reaction::Refused("alert protocol_version".into()),
            Some(other) => Reaction::Refused(format!("alert {other}")),
            None => Reaction::Refused("an alert without a description".into()),
        },
        Some((kind, body)) => Reaction::WentOn(format!("a record of type {kind} with {} bytes", body.len())),
    })
}

async fn record(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[0], body))
}

/// A ServerHello: version 3.2 (TLS 1.1), random, no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
fn server_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    let mut message = vec![2, 0, 0];
    message.push(u8::try_from(hello.len()).unwrap_or(u8::MAX));
    message.extend(hello);
    let mut whole = vec![HANDSHAKE, 3, 2, 0];
    whole.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
    whole.extend(message);
    whole
}
