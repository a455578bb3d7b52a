//! The log ring: how fast lines come in, and how long a filter takes over a million of them.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use mizzen_tui::logs::filter::{Filter, Pattern, Wanted};
use mizzen_tui::logs::ring::{LINES_MAX, Ring};

fn main() {
    divan::main();
}

/// A block as it comes from the network, of lines as programs print them.
fn block(lines: usize) -> Vec<u8> {
    let line = |n: usize| match n % 4 {
        0 => format!(
            "2026-01-01T00:00:{:02}.{:09}Z {{\"level\":\"info\",\"msg\":\"request served\",\"path\":\"/api/v1/items/{n}\",\"status\":200}}\n",
            n / 1000 % 60,
            n
        ),
        1 => format!(
            "2026-01-01T00:00:{:02}.{:09}Z 10.0.0.{} - - \"GET /items/{n} HTTP/1.1\" 200 512 \"-\" \"agent\"\n",
            n / 1000 % 60,
            n,
            n % 250
        ),
        2 => format!(
            "2026-01-01T00:00:{:02}.{:09}Z \x1b[32mINFO\x1b[0m worker {n} took a job from the queue\n",
            n / 1000 % 60,
            n
        ),
        _ => format!(
            "2026-01-01T00:00:{:02}.{:09}Z time=now level=warning msg=\"queue is long\" length={n}\n",
            n / 1000 % 60,
            n
        ),
    };
    (0..lines).flat_map(|n| line(n).into_bytes()).collect()
}

fn full() -> Ring {
    let mut ring = Ring::default();
    for _ in 0..LINES_MAX / 1000 {
        ring.ingest(0, &block(1000));
    }
    ring
}

/// 50,000 lines: what has to fit into a second.
#[divan::bench]
fn ingest_50_000_lines(bencher: Bencher<'_, '_>) {
    let block = block(50_000);
    let mut ring = full();
    bencher
        .counter(ItemsCount::new(50_000usize))
        .counter(BytesCount::of_slice(&block))
        .bench_local(|| ring.ingest(0, black_box(&block)));
}

/// A pattern over all lines: what follows a keystroke in the background.
#[divan::bench(args = ["4711", "level=warn.*length=9", "!request"])]
fn filter_a_million(bencher: Bencher<'_, '_>, pattern: &str) {
    let ring = full();
    bencher.counter(ItemsCount::new(ring.len())).bench_local(|| {
        let mut filter = Filter::default();
        filter.set(Wanted {
            pattern: Pattern::new(pattern),
            ..Wanted::default()
        });
        while !filter.advance(&ring, usize::MAX) {}
        filter.count(&ring)
    });
}

/// The first step after a keystroke: what the next frame waits for.
#[divan::bench]
fn filter_first_step(bencher: Bencher<'_, '_>) {
    let ring = full();
    bencher.bench_local(|| {
        let mut filter = Filter::default();
        filter.set(Wanted {
            pattern: Pattern::new("4711"),
            ..Wanted::default()
        });
        filter.advance(&ring, 16_384)
    });
}
