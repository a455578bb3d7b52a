//! SPDY/3.1, as far as kubectl uses it: streams with headers, data in both directions, half-close and reset.
//!
//! [`serve`] starts two tasks: one reads frames and hands out streams and their data, one writes. Flow control is left
//! out, as every Kubernetes client leaves it out: a stream whose reader is slow holds up its connection.

use std::collections::HashMap;
use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const VERSION: u16 = 3;
const CONTROL: u32 = 1 << 31;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
const RST_CANCEL: u32 = 5;
/// Control frames are small; a larger one is no SPDY.
const CONTROL_MAX_BYTES: usize = 64 << 10;
const HEADERS_MAX_BYTES: usize = 256 << 10;
/// Frames that wait for a stream's reader, and for the connection.
const QUEUE: usize = 16;
/// Data is cut into frames of at most this.
const DATA_MAX_BYTES: usize = 32 << 10;

/// The words of the protocol's dictionary, each with its length before it there.
const DICTIONARY_WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding \
    content-language content-length content-location content-md5 content-range content-type date etag expect expires \
    from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location \
    max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer \
    transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 \
    url public set-cookie keep-alive origin";
/// What follows the words.
const DICTIONARY_TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504\
    505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 \
    Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun \
    Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,\
    image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// A stream that the client opened.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) headers: HashMap<String, String>,
    /// What the client sends, until it closes its half.
    pub(super) incoming: mpsc::Receiver<Bytes>,
    pub(super) outgoing: Outgoing,
    /// Cancelled when the whole connection is gone.
    pub(super) gone: CancellationToken,
}

/// Our half of a stream.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

#[derive(Debug)]
enum Frame {
    Reply(u32),
    Data(u32, Bytes, bool),
    Reset(u32),
    Pong(u32),
}

impl Outgoing {
    /// Sends data; `false` when the connection is gone.
    pub(super) async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(DATA_MAX_BYTES));
            if self.frames.send(Frame::Data(self.id, part, false)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Closes our half.
    pub(super) async fn finish(&self) {
        let _ = self.frames.send(Frame::Data(self.id, Bytes::new(), true)).await;
    }

    /// Ends both halves.
    pub(super) async fn reset(&self) {
        let _ = self.frames.send(Frame::Reset(self.id)).await;
    }
}

/// Serves a connection; returns the streams that the client opens, until it goes.
pub(super) fn serve<S>(connection: S) -> mpsc::Receiver<Stream>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(connection);
    let (accept, streams) = mpsc::channel(QUEUE);
    let (frames, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = read_frames(read, accept, frames).await
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::debug!("a SPDY connection ended: {error}");
        }
    });
    tokio::spawn(async move {
        let _ = write_frames(write, queue).await;
    });
    streams
}

async fn read_frames<R>(mut read: R, accept: mpsc::Sender<Stream>, frames: mpsc::Sender<Frame>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut headers = HeaderReader::new();
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let gone = CancellationToken::new();
    let _cancels = gone.clone().drop_guard();
    loop {
        let word = read.read_u32().await?;
        let flags_and_length = read.read_u32().await?;
        let (flags, length) = ((flags_and_length >> 24) as u8, (flags_and_length & 0xff_ffff) as usize);
        if word & CONTROL == 0 {
            data_frame(&mut read, word, length, &open).await?;
            if flags & FLAG_FIN != 0 {
                open.remove(&word);
            }
            continue;
        }
        if length > CONTROL_MAX_BYTES || (word & !CONTROL) >> 16 != u32::from(VERSION) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).await?;
        let number = |at: usize| {
            body.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_be_bytes)
                .ok_or(io::ErrorKind::InvalidData)
        };
        match word as u16 {
            SYN_STREAM => {
                let id = number(0)? & !CONTROL;
                let (sender, incoming) = mpsc::channel(QUEUE);
                let headers = headers.read(body.get(10..).unwrap_or_default())?;
                if flags & FLAG_FIN == 0 {
                    open.insert(id, sender);
                }
                let _ = frames.send(Frame::Reply(id)).await;
                let outgoing = Outgoing {
                    id,
                    frames: frames.clone(),
                };
                if accept
                    .send(Stream {
                        headers,
                        incoming,
                        outgoing,
                        gone: gone.clone(),
                    })
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
            RST_STREAM => _ = open.remove(&(number(0)? & !CONTROL)),
            PING => _ = frames.send(Frame::Pong(number(0)?)).await,
            GOAWAY => return Ok(()),
            _ => {}
        }
    }
}

/// Passes one data frame on, piece by piece; that of a stream that is closed goes nowhere.
async fn data_frame<R>(
    read: &mut R,
    id: u32,
    mut length: usize,
    open: &HashMap<u32, mpsc::Sender<Bytes>>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    while length > 0 {
        let mut data = BytesMut::zeroed(length.min(DATA_MAX_BYTES));
        read.read_exact(&mut data).await?;
        length -= data.len();
        if let Some(stream) = open.get(&id) {
            let _ = stream.send(data.freeze()).await;
        }
    }
    Ok(())
}

async fn write_frames<W>(mut write: W, mut queue: mpsc::Receiver<Frame>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut compress = Compress::new(Compression::fast(), true);
    compress.set_dictionary(&dictionary()).map_err(io::Error::other)?;
    while let Some(frame) = queue.recv().await {
        let mut bytes = BytesMut::new();
        match frame {
            Frame::Reply(id) => {
                // No headers: their count alone, compressed.
                let mut block = Vec::with_capacity(64);
                compress
                    .compress_vec(&[0; 4], &mut block, FlushCompress::Sync)
                    .map_err(io::Error::other)?;
                control(&mut bytes, SYN_REPLY, &[&id.to_be_bytes()[..], &block].concat());
            }
            Frame::Data(id, data, fin) => {
                bytes.reserve(8 + data.len());
                bytes.put_u32(id);
                bytes.put_u32(u32::from(if fin { FLAG_FIN } else { 0 }) << 24 | data.len() as u32);
                bytes.put_slice(&data);
            }
            Frame::Reset(id) => control(
                &mut bytes,
                RST_STREAM,
                &[id.to_be_bytes(), RST_CANCEL.to_be_bytes()].concat(),
            ),
            Frame::Pong(id) => control(&mut bytes, PING, &id.to_be_bytes()),
        }
        write.write_all(&bytes).await?;
        if queue.is_empty() {
            write.flush().await?;
        }
    }
    write.shutdown().await
}

fn control(bytes: &mut BytesMut, kind: u16, body: &[u8]) {
    bytes.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
    bytes.put_u32(body.len() as u32);
    bytes.put_slice(body);
}

/// The headers of a connection are one compressed stream, cut into blocks.
struct HeaderReader {
    inflate: Decompress,
    dictionary: Vec<u8>,
}

impl HeaderReader {
    fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
            dictionary: dictionary(),
        }
    }

    fn read(&mut self, mut block: &[u8]) -> io::Result<HashMap<String, String>> {
        let mut plain = Vec::with_capacity(1 << 10);
        loop {
            let before = self.inflate.total_in();
            let result = self.inflate.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            block = &block[(self.inflate.total_in() - before) as usize..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate
                        .set_dictionary(&self.dictionary)
                        .map_err(io::Error::other)?;
                }
                Err(error) => return Err(io::Error::other(error)),
                Ok(Status::StreamEnd) => break,
                Ok(_) if block.is_empty() && plain.len() < plain.capacity() => break,
                Ok(_) if plain.len() < HEADERS_MAX_BYTES => plain.reserve(plain.capacity()),
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        parse_headers(&plain).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn parse_headers(mut bytes: &[u8]) -> Option<HashMap<String, String>> {
    fn number(bytes: &mut &[u8]) -> Option<usize> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(u32::from_be_bytes(*head) as usize)
    }
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let length = number(bytes)?;
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        String::from_utf8(head.to_vec()).ok()
    }
    let count = number(&mut bytes)?;
    (0..count)
        .map(|_| Some((text(&mut bytes)?.to_ascii_lowercase(), text(&mut bytes)?)))
        .collect()
}

fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1_423);
    for word in DICTIONARY_WORDS.split_ascii_whitespace() {
        let word = word.replace('_', " ");
        dictionary.extend_from_slice(&(word.len() as u32).to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(DICTIONARY_TAIL.as_bytes());
    dictionary
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identifier of the protocol's dictionary, which every compressed block of headers starts with.
    const DICTIONARY_ADLER: u32 = 0xe3c6_a7c2;

    #[test]
    fn dictionary_is_the_protocols() {
        let mut compress = Compress::new(Compression::fast(), true);
        assert_eq!(
            compress.set_dictionary(&dictionary()).expect("a dictionary"),
            DICTIONARY_ADLER
        );
    }

    /// A client's side of the wire.
    struct Client {
        connection: tokio::io::DuplexStream,
        compress: Compress,
    }

    impl Client {
        async fn open(&mut self, id: u32, headers: &[(&str, &str)]) {
            let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
            for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
            let mut block = Vec::with_capacity(4 << 10);
            self.compress
                .compress_vec(&plain, &mut block, FlushCompress::Sync)
                .expect("a block");
            let mut frame = BytesMut::new();
            control(
                &mut frame,
                SYN_STREAM,
                &[&id.to_be_bytes()[..], &[0; 6], &block].concat(),
            );
            self.connection.write_all(&frame).await.expect("written");
        }

        async fn send(&mut self, id: u32, data: &[u8], fin: bool) {
            let flags = if fin { 1 << 24 } else { 0 };
            let head = [id.to_be_bytes(), (flags | data.len() as u32).to_be_bytes()].concat();
            self.connection
                .write_all(&[&head, data].concat())
                .await
                .expect("written");
        }

        /// The first word, the flags and the body of the next frame.
        async fn frame(&mut self) -> (u32, u8, Vec<u8>) {
            let word = self.connection.read_u32().await.expect("a frame");
            let length = self.connection.read_u32().await.expect("a length");
            let mut body = vec![0; (length & 0xff_ffff) as usize];
            self.connection.read_exact(&mut body).await.expect("a body");
            (word, (length >> 24) as u8, body)
        }
    }

    #[tokio::test]
    async fn streams_carry_headers_and_data_both_ways() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut streams = serve(ours);
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&dictionary()).expect("a dictionary");
        let mut client = Client {
            connection: theirs,
            compress,
        };
        for (id, kind) in [(1, "error"), (3, "data")] {
            client
                .open(id, &[("streamType", kind), ("port", "8080"), ("requestID", "0")])
                .await;
            let (word, _, body) = client.frame().await;
            assert_eq!(word, CONTROL | 3 << 16 | u32::from(SYN_REPLY));
            assert_eq!(body[..4], u32::to_be_bytes(id));
            let mut stream = streams.recv().await.expect("a stream");
            assert_eq!(stream.headers["streamtype"], kind);
            assert_eq!(stream.headers["port"], "8080");
            client.send(id, b"ping", false).await;
            client.send(id, b"", true).await;
            assert_eq!(stream.incoming.recv().await.as_deref(), Some(&b"ping"[..]));
            assert_eq!(
                stream.incoming.recv().await,
                None,
                "a half-close ends the stream's input"
            );
            assert!(stream.outgoing.send(Bytes::from_static(b"pong")).await);
            stream.outgoing.finish().await;
            assert_eq!(client.frame().await, (id, 0, b"pong".to_vec()));
            assert_eq!(client.frame().await, (id, FLAG_FIN, Vec::new()));
        }
        drop(client);
        assert!(streams.recv().await.is_none());
    }
}
