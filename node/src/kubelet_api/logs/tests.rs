//! Log lines as the runtime writes them, and as clients get them.

use std::io::Write as _;

use super::*;

const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one
2026-01-01T00:00:01Z stdout P tw
2026-01-01T00:00:02Z stdout F o
2026-01-01T00:00:03Z stderr F three
not a line
2026-01-01T00:00:04Z stdout F 
2026-01-01T00:00:05Z stdout F five words in a line
";

fn options(query: &str) -> Options {
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    Options::parse(pairs, "2026-01-01T00:00:10Z".parse().expect("a time")).expect("options")
}

async fn show(text: &str, query: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("0.log");
    std::fs::write(&path, text).expect("a log");
    let (sink, mut source) = mpsc::channel(64);
    send(path, options(query), std::future::pending(), sink)
        .await
        .expect("sent");
    let mut shown = Vec::new();
    while let Some(chunk) = source.recv().await {
        shown.extend_from_slice(&chunk.expect("bytes"));
    }
    String::from_utf8(shown).expect("text")
}

#[tokio::test]
async fn options_choose_what_is_shown() {
    for (query, expect) in [
        ("", "one\ntwo\nthree\n\nfive words in a line\n"),
        ("tailLines=0", ""),
        ("tailLines=1", "five words in a line\n"),
        ("tailLines=4", "two\nthree\n\nfive words in a line\n"),
        ("tailLines=5", "one\ntwo\nthree\n\nfive words in a line\n"),
        ("tailLines=50", "one\ntwo\nthree\n\nfive words in a line\n"),
        ("limitBytes=5", "one\nt"),
        ("limitBytes=0", ""),
        ("sinceSeconds=7", "three\n\nfive words in a line\n"),
        (
            "sinceTime=2026-01-01T00:00:05Z&timestamps=true",
            "2026-01-01T00:00:05Z five words in a line\n",
        ),
        ("stream=Stderr", "three\n"),
        (
            "timestamps=true&tailLines=4&limitBytes=25",
            "2026-01-01T00:00:01Z two\n",
        ),
    ] {
        assert_eq!(show(LOG, query).await, expect, "{query}");
    }
}

#[tokio::test]
async fn tail_crosses_blocks() {
    let line = |number: u32| format!("2026-01-01T00:00:00Z stdout F {number} {}\n", "x".repeat(100));
    let text: String = (0..2_000).map(line).collect();
    let shown = show(&text, "tailLines=1500").await;
    assert_eq!(shown.lines().count(), 1_500);
    assert!(shown.starts_with("500 "));
}

#[tokio::test]
async fn following_sees_additions_rotation_and_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("0.log");
    std::fs::write(&path, "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z std").expect("a log");
    let (sink, mut source) = mpsc::channel(64);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let sending = tokio::spawn(send(
        path.clone(),
        options("follow=true"),
        async { drop(ended.await) },
        sink,
    ));
    let mut next =
        async || String::from_utf8(source.recv().await.expect("a chunk").expect("bytes").to_vec()).expect("text");
    assert_eq!(next().await, "one\n");
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .expect("the log");
        file.write_all(text.as_bytes()).expect("written");
    };
    append("out F two\n");
    assert_eq!(next().await, "two\n");
    std::fs::rename(&path, dir.path().join("0.log.1")).expect("renamed");
    append("2026-01-01T00:00:01Z stdout F three\n");
    assert_eq!(next().await, "three\n");
    append("2026-01-01T00:00:02Z stdout F four\n");
    end.send(()).expect("still following");
    assert_eq!(next().await, "four\n");
    sending.await.expect("no panic").expect("sent");
}
