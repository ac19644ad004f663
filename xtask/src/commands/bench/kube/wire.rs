//! HTTP/1.1 over TLS as far as a client needs it that measures: one request at a time, answers of a known length or in
//! chunks. It costs a fraction of what a general client does, and on a machine of few cores a client's own costs
//! are in every figure.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Heads are shorter.
const LONGEST_HEAD: usize = 64 * 1024;
/// So much is read at once, at least.
const READ: usize = 16 * 1024;

/// What came was not understood, or did not come.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was closed before the answer's end.
    #[error("the connection was closed")]
    Closed,
    /// Something that is no answer in HTTP/1.1.
    #[error("no HTTP/1.1: {0:?}")]
    Garbled(String),
}

/// How much of an answer's body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// So many bytes.
    Known(usize),
    /// A chunk of which so many bytes are left; at 0 the next one's length follows.
    Chunk(usize),
    /// Nothing.
    Over,
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TlsStream<TcpStream>,
    read: BytesMut,
    rest: Rest,
}

impl Wire {
    /// Over this stream.
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, read: BytesMut::new(), rest: Rest::Over }
    }

    /// Sends a request, head and body, and reads the head of its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<StatusCode, WireError> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.read.split_to(end + 4);
                let (status, rest) = head_of(&head)?;
                self.rest = rest;
                return Ok(status);
            }
            if self.read.len() > LONGEST_HEAD {
                return Err(garbled(&self.read));
            }
            self.more().await?;
        }
    }

    /// The next part of the answer's body; none at its end.
    pub async fn data(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            match next(&mut self.read, &mut self.rest)? {
                Next::Data(data) => return Ok(Some(data)),
                Next::End => return Ok(None),
                Next::More => self.more().await?,
            }
        }
    }

    /// The whole body.
    pub async fn body(&mut self) -> Result<Bytes, WireError> {
        let Some(first) = self.data().await? else { return Ok(Bytes::new()) };
        let mut body = BytesMut::from(first);
        while let Some(data) = self.data().await? {
            body.extend_from_slice(&data);
        }
        Ok(body.freeze())
    }

    async fn more(&mut self) -> Result<(), WireError> {
        self.read.reserve(READ);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }
}

fn garbled(bytes: &[u8]) -> WireError {
    WireError::Garbled(String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned())
}

/// What the head of an answer says.
fn head_of(head: &[u8]) -> Result<(StatusCode, Rest), WireError> {
    let text = std::str::from_utf8(head).map_err(|_| garbled(head))?;
    let mut lines = text.split("\r\n");
    let code = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status = code.and_then(|code| code.parse().ok()).ok_or_else(|| garbled(head))?;
    let mut rest = Rest::Over;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            rest = match value.trim().parse().map_err(|_| garbled(head))? {
                0 => Rest::Over,
                length => Rest::Known(length),
            };
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            rest = Rest::Chunk(0);
        }
    }
    Ok((status, rest))
}

enum Next {
    Data(Bytes),
    More,
    End,
}

/// Takes the next part of a body from what was read.
fn next(read: &mut BytesMut, rest: &mut Rest) -> Result<Next, WireError> {
    loop {
        match *rest {
            Rest::Over => return Ok(Next::End),
            Rest::Known(_) | Rest::Chunk(1..) if read.is_empty() => return Ok(Next::More),
            Rest::Known(left) => {
                let data = read.split_to(left.min(read.len())).freeze();
                *rest = if data.len() == left { Rest::Over } else { Rest::Known(left - data.len()) };
                return Ok(Next::Data(data));
            }
            // The two bytes behind a chunk's data count as part of it.
            Rest::Chunk(left @ 3..) => {
                let data = read.split_to((left - 2).min(read.len())).freeze();
                *rest = Rest::Chunk(left - data.len());
                return Ok(Next::Data(data));
            }
            Rest::Chunk(left @ 1..3) => {
                let skipped = left.min(read.len());
                read.advance(skipped);
                *rest = Rest::Chunk(left - skipped);
            }
            Rest::Chunk(0) => {
                let Some(end) = read.windows(2).position(|bytes| bytes == b"\r\n") else {
                    return if read.len() > LONGEST_HEAD { Err(garbled(read)) } else { Ok(Next::More) };
                };
                let length = std::str::from_utf8(&read[..end]).ok();
                let length = length.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
                let length = length.ok_or_else(|| garbled(read))?;
                if length > 0 {
                    read.advance(end + 2);
                    *rest = Rest::Chunk(length + 2);
                } else if read.len() < end + 4 {
                    // Neither server sends trailers.
                    return Ok(Next::More);
                } else {
                    read.advance(end + 4);
                    *rest = Rest::Over;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body that comes in pieces of this size.
    fn read_in(pieces: usize, rest: Rest, text: &[u8]) -> Vec<u8> {
        let (mut read, mut rest, mut pieces) = (BytesMut::new(), rest, text.chunks(pieces));
        let mut body = Vec::new();
        loop {
            match next(&mut read, &mut rest).unwrap() {
                Next::Data(data) => body.extend_from_slice(&data),
                Next::More => read.extend_from_slice(pieces.next().expect("there is more")),
                Next::End => break,
            }
        }
        assert!(read.is_empty() && pieces.next().is_none(), "nothing is left");
        body
    }

    #[test]
    fn a_body_is_the_same_however_it_comes() {
        let chunked = b"5\r\nhello\r\n1\r\n,\r\n0a\r\n new\nworld\r\n0\r\n\r\n";
        for pieces in 1..chunked.len() {
            assert_eq!(read_in(pieces, Rest::Chunk(0), chunked), b"hello, new\nworld");
            assert_eq!(read_in(pieces, Rest::Known(16), b"hello, new\nworld"), b"hello, new\nworld");
        }
    }

    #[test]
    fn a_head_says_how_its_body_comes() {
        let head = |text: &str| head_of(text.as_bytes()).ok().map(|(status, rest)| (status.as_u16(), rest));
        let known = "HTTP/1.1 201 Created\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(head(known), Some((201, Rest::Known(12))));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked), Some((200, Rest::Chunk(0))));
        assert_eq!(head("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, Rest::Over)));
        assert_eq!(head("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
