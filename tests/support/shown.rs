//! Shows a made-up bucket over HTTP, as a store would: enough of S3 to look, nothing to write.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use farshore::store::memory::MemoryStore;

/// Requests so far, like `GET /bucket/key?query`.
pub type Requests = Arc<Mutex<Vec<String>>>;

/// Serves a bucket as long as the test runs; its endpoint, and what it was asked.
pub fn show(bucket: &MemoryStore) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (bucket, requests) = (bucket.clone(), Requests::default());
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            answer(socket, &bucket, &seen).ok();
        }
    });
    (endpoint, requests)
}

fn answer(mut socket: TcpStream, bucket: &MemoryStore, seen: &Requests) -> std::io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut ranged = false;
    for header in lines {
        match header?.to_lowercase() {
            header if header.is_empty() => break,
            header => ranged |= header.starts_with("range:"),
        }
    }
    let (method, rest) = request.split_once(' ').unwrap_or_default();
    let target = rest.split(' ').next().unwrap_or_default();
    seen.lock().unwrap().push(format!("{method} {target}"));
    let url = url::Url::parse(&format!("http://x{target}")).unwrap();
    let asked = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    let key = url.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let (status, body) = match bucket.bytes(key) {
        Some(body) => (if ranged { "206 Partial Content" } else { "200 OK" }, body.to_vec()),
        None if key.is_empty() => {
            let prefix = asked("prefix").unwrap_or_default();
            ("200 OK", listing(bucket, &prefix, |name| asked(name).is_some()).into_bytes())
        }
        None => ("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
    };
    // Small objects only: a range holds all of it.
    let range = format!("Content-Range: bytes 0-{}/{}\r\n", body.len().saturating_sub(1), body.len());
    let range = if status.starts_with("206") { &*range } else { "" };
    write!(
        socket,
        "HTTP/1.1 {status}\r\nETag: \"tag\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n{range}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    socket.write_all(&body)
}

fn listing(bucket: &MemoryStore, prefix: &str, asked: impl Fn(&str) -> bool) -> String {
    let (root, entry) = match () {
        () if asked("versions") => ("ListVersionsResult", "Version"),
        () if asked("uploads") => ("ListMultipartUploadsResult", ""),
        () => ("ListBucketResult", "Contents"),
    };
    let mut xml = format!("<{root}><IsTruncated>false</IsTruncated>");
    for key in bucket.keys().iter().filter(|key| key.starts_with(prefix) && !entry.is_empty()) {
        let size = bucket.bytes(key).map_or(0, |body| body.len());
        write!(
            xml,
            "<{entry}><Key>{key}</Key><Size>{size}</Size><ETag>tag</ETag>\
             <LastModified>2026-11-01T00:00:00Z</LastModified></{entry}>"
        )
        .unwrap();
    }
    format!("{xml}</{root}>")
}
