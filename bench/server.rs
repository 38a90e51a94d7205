//! An object store in memory at constant cost, for measuring tools: what they cost, not what a store does.
//!
//! Speaks as much S3 as copying tools ask for: listings, HEAD, GET with ranges, PUT, DELETE,
//! multipart uploads. Signatures are not checked. Every bucket exists. `--synthetic COUNT` lists that many keys
//! which were never stored, in every bucket. `--delay MS` answers later, as over a long line. `GET /?requests`
//! tells the requests so far by verb, and forgets them.
//!
//!     cargo run --release --example store-server -- --port 19100

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for measuring"
)]

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fmt::Write,
    net::SocketAddr,
    ops::Bound,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use clap::Parser;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::net::TcpListener;

const DATE: &str = "Sat, 21 Nov 2026 08:00:00 GMT";
const PAGE: usize = 1000;
const SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[derive(Debug, Parser)]
struct Flags {
    #[arg(long, default_value_t = 19100)]
    port: u16,
    /// Keys that are listed without being there: `k0000000` and so on, 4 KiB each.
    #[arg(long, default_value_t = 0)]
    synthetic: usize,
    /// Objects that bucket `source` holds from the start.
    #[arg(long, default_value_t = 0)]
    objects: usize,
    /// Bytes of each of these.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Milliseconds before each answer.
    #[arg(long, default_value_t = 0)]
    delay: u64,
}

#[derive(Clone)]
struct Object {
    body: Vec<Bytes>,
    size: usize,
    etag: String,
    headers: HeaderMap,
    /// Sizes, where it came in parts.
    parts: Vec<usize>,
}

#[derive(Default)]
struct Upload {
    headers: HeaderMap,
    parts: BTreeMap<u32, (Bytes, [u8; 16])>,
}

#[derive(Default)]
struct State {
    buckets: HashMap<String, BTreeMap<String, Object>>,
    uploads: HashMap<String, Upload>,
    requests: BTreeMap<String, u64>,
    next: u64,
}

struct Server {
    flags: Flags,
    state: Mutex<State>,
}

type Answer = Response<Full<Bytes>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let flags = Flags::parse();
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], flags.port))).await.expect("a free port");
    let mut state = State::default();
    state.buckets.insert("source".to_owned(), filled(flags.objects, flags.size));
    let server = Arc::new(Server { flags, state: Mutex::new(state) });
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).ok();
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await
                .ok();
        });
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body = unchunked(&head.headers, body);
        if self.flags.delay > 0 {
            tokio::time::sleep(Duration::from_millis(self.flags.delay)).await;
        }
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
        let path = path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let mut state = self.state.lock().unwrap();
        if bucket.is_empty() {
            let told = state.requests.iter().fold(String::new(), |mut told, (verb, count)| {
                writeln!(told, "{verb} {count}").unwrap();
                told
            });
            state.requests.clear();
            return text(StatusCode::OK, told);
        }
        let verb = verb(&head.method, key, &query);
        *state.requests.entry(verb.to_owned()).or_default() += 1;
        match verb {
            "List" => list(&state, bucket, &query, self.flags.synthetic),
            "Bucket" => text(StatusCode::OK, "<VersioningConfiguration/>".to_owned()),
            "Get" | "Head" => get(&state, (bucket, key), &head.headers, &query, verb == "Head"),
            "Put" => {
                let etag = hex::encode(Md5::digest(&body));
                let size = body.len();
                let headers = kept(&head.headers);
                let object =
                    Object { body: vec![body], size, etag: etag.clone(), headers, parts: Vec::new() };
                state.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object);
                tagged(&etag)
            }
            "Delete" => {
                state.buckets.entry(bucket.to_owned()).or_default().remove(key);
                empty(StatusCode::NO_CONTENT)
            }
            "CreateUpload" => {
                state.next += 1;
                let id = format!("u{}", state.next);
                state
                    .uploads
                    .insert(id.clone(), Upload { headers: kept(&head.headers), ..Upload::default() });
                let id = format!("<UploadId>{id}</UploadId>");
                text(
                    StatusCode::OK,
                    format!("<InitiateMultipartUploadResult>{id}</InitiateMultipartUploadResult>"),
                )
            }
            "UploadPart" => {
                let md5: [u8; 16] = Md5::digest(&body).into();
                let number = query["partNumber"].parse().unwrap_or(1);
                let Some(upload) = state.uploads.get_mut(&query["uploadId"]) else {
                    return missing("NoSuchUpload");
                };
                upload.parts.insert(number, (body, md5));
                tagged(&hex::encode(md5))
            }
            "CompleteUpload" => {
                let Some(upload) = state.uploads.remove(&query["uploadId"]) else {
                    return missing("NoSuchUpload");
                };
                let object = joined(upload);
                let etag = object.etag.clone();
                state.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object);
                let etag = format!("<ETag>&quot;{etag}&quot;</ETag>");
                text(
                    StatusCode::OK,
                    format!("<CompleteMultipartUploadResult>{etag}</CompleteMultipartUploadResult>"),
                )
            }
            "ListParts" => text(StatusCode::OK, "<ListPartsResult/>".to_owned()),
            "ListUploads" => text(StatusCode::OK, "<ListMultipartUploadsResult/>".to_owned()),
            _ => empty(StatusCode::OK),
        }
    }
}

fn filled(objects: usize, size: usize) -> BTreeMap<String, Object> {
    let object = |number: usize| {
        let mut body = BytesMut::zeroed(size);
        let number = number.to_le_bytes();
        let marked = size.min(number.len());
        body[..marked].copy_from_slice(&number[..marked]);
        let etag = hex::encode(Md5::digest(&body));
        Object { body: vec![body.freeze()], size, etag, headers: HeaderMap::new(), parts: Vec::new() }
    };
    (0..objects).map(|number| (format!("k{number:07}"), object(number))).collect()
}

fn verb(method: &Method, key: &str, query: &HashMap<String, String>) -> &'static str {
    let has = |name| query.contains_key(name);
    match (method.as_str(), key.is_empty()) {
        ("GET", true) if has("uploads") => "ListUploads",
        ("GET", true) if has("versioning") || has("location") || has("object-lock") => "Bucket",
        ("GET", true) => "List",
        ("GET", false) if has("uploadId") => "ListParts",
        ("GET", false) => "Get",
        ("HEAD", false) => "Head",
        ("PUT", false) if has("uploadId") => "UploadPart",
        ("PUT", false) => "Put",
        ("POST", false) if has("uploads") => "CreateUpload",
        ("POST", false) if has("uploadId") => "CompleteUpload",
        ("DELETE", false) if has("uploadId") => "AbortUpload",
        ("DELETE", false) => "Delete",
        _ => "Other",
    }
}

/// A body in `aws-chunked` encoding without its frames; others as they are.
fn unchunked(headers: &HeaderMap, body: Bytes) -> Bytes {
    let framed = headers.get("x-amz-content-sha256").is_some_and(|v| v.as_bytes().starts_with(b"STREAMING-"));
    if !framed {
        return body;
    }
    let mut whole = BytesMut::with_capacity(body.len());
    let mut rest = &body[..];
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or("0").trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    whole.freeze()
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let known = ["content-type", "cache-control", "content-disposition", "content-language", "expires"];
        if name.as_str().starts_with("x-amz-meta-") || known.contains(&name.as_str()) {
            kept.insert(name.clone(), value.clone());
        }
    }
    kept
}

fn joined(upload: Upload) -> Object {
    let mut all = Md5::new();
    let (mut body, mut parts) = (Vec::new(), Vec::new());
    for (part, md5) in upload.parts.into_values() {
        all.update(md5);
        parts.push(part.len());
        body.push(part);
    }
    let etag = format!("{}-{}", hex::encode(all.finalize()), parts.len());
    Object { body, size: parts.iter().sum(), etag, headers: upload.headers, parts }
}

fn get(
    state: &State,
    (bucket, key): (&str, &str),
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    head: bool,
) -> Answer {
    let Some(object) = state.buckets.get(bucket).and_then(|bucket| bucket.get(key)) else {
        return missing("NoSuchKey");
    };
    let mut range = headers.get("range").and_then(|range| wanted(range.to_str().ok()?, object.size));
    if let Some(number) = query.get("partNumber").and_then(|n| n.parse::<usize>().ok())
        && let Some(size) = object.parts.get(number - 1)
    {
        let start: usize = object.parts[..number - 1].iter().sum();
        range = Some((start, start + size));
    }
    let (start, end) = range.unwrap_or((0, object.size));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut answer = Response::builder()
        .status(status)
        .header("content-length", end - start)
        .header("etag", format!("\"{}\"", object.etag))
        .header("last-modified", DATE);
    if range.is_some() {
        answer = answer.header("content-range", format!("bytes {start}-{}/{}", end.max(1) - 1, object.size));
    }
    if query.contains_key("partNumber") {
        answer = answer.header("x-amz-mp-parts-count", object.parts.len().max(1));
    }
    for (name, value) in &object.headers {
        answer = answer.header(name, value);
    }
    let body = if head { Bytes::new() } else { cut(object, start, end) };
    answer.body(Full::new(body)).unwrap()
}

fn wanted(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    Some((first, last.parse::<usize>().map_or(size, |last| (last + 1).min(size))))
}

fn cut(object: &Object, start: usize, end: usize) -> Bytes {
    let (mut at, mut found) = (0, Vec::new());
    for part in &object.body {
        let (from, to) = (start.max(at), end.min(at + part.len()));
        if from < to {
            found.push(part.slice(from - at..to - at));
        }
        at += part.len();
    }
    if found.len() == 1 { found.remove(0) } else { found.concat().into() }
}

fn list(state: &State, bucket: &str, query: &HashMap<String, String>, synthetic: usize) -> Answer {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = ["continuation-token", "start-after", "marker"].iter().find_map(|name| query.get(*name));
    let after = after.map_or("", String::as_str);
    let page = query.get("max-keys").and_then(|n| n.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let mut xml = String::with_capacity(page * 200);
    let mut last = String::new();
    let mut count = 0;
    let mut entry = |key: &str, size: usize, etag: &str| {
        let key = utf8_percent_encode(key, SAFE);
        write!(
            xml,
            "<Contents><Key>{key}</Key><LastModified>2026-11-21T08:00:00.000Z</LastModified>\
             <ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
        .unwrap();
    };
    let mut more = false;
    if synthetic > 0 {
        let first = first_after(after, synthetic);
        for number in (first..synthetic).take(page) {
            last = format!("k{number:07}");
            entry(&last, 4096, "0cc175b9c0f1b6a831c399e269772661");
        }
        more = first + page < synthetic;
    } else if let Some(objects) = state.buckets.get(bucket) {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        for (key, object) in objects.range::<str, _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            if count == page {
                more = true;
                break;
            }
            entry(key, object.size, &object.etag);
            last.clone_from(key);
            count += 1;
        }
    }
    let next = if more {
        let last = utf8_percent_encode(&last, SAFE);
        format!("<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>")
    } else {
        String::new()
    };
    text(
        StatusCode::OK,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{bucket}</Name><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{next}{xml}</ListBucketResult>"
        ),
    )
}

/// Number of the first synthetic key after a text.
fn first_after(after: &str, synthetic: usize) -> usize {
    let (mut low, mut high) = (0, synthetic);
    while low < high {
        let middle = usize::midpoint(low, high);
        if format!("k{middle:07}").as_str() > after { high = middle } else { low = middle + 1 }
    }
    low
}

fn text(status: StatusCode, text: String) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/xml");
    answer.body(Full::new(text.into())).unwrap()
}

fn empty(status: StatusCode) -> Answer {
    Response::builder().status(status).body(Full::default()).unwrap()
}

fn tagged(etag: &str) -> Answer {
    Response::builder().header("etag", format!("\"{etag}\"")).body(Full::default()).unwrap()
}

fn missing(code: &str) -> Answer {
    text(StatusCode::NOT_FOUND, format!("<Error><Code>{code}</Code><Message>not there</Message></Error>"))
}
