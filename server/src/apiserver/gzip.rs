//! Compression of answers, whole or as a stream.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};

/// Compresses what is in memory already.
pub(super) fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    // The sink is memory: writing cannot fail.
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it").into()
}

/// Compresses chunks as they come.
pub(super) fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> impl Stream<Item = Bytes> + Send + 'static {
    async_stream::stream! {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            encoder.write_all(&chunk).expect("memory takes it");
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                yield Bytes::from(ready);
            }
        }
        yield encoder.finish().expect("memory takes it").into();
    }
}
