//! An object store in memory at constant cost, for measuring tools: what they cost, not what a store does.
//!
//! Speaks as much S3 as copying tools ask for: listings, HEAD, GET with ranges, PUT, DELETE,
//! multipart uploads. Signatures are not checked. Every bucket exists. `--synthetic COUNT` lists that many keys
//! which were never stored, in every bucket. `GET /?requests` tells the requests so far by verb, and forgets
//! them; `GET /?objects` tells how many objects each bucket holds.
//!
//! `--delay MS` is a round trip: it passes before each answer, and once more when a connection is made, since
//! that takes one as well. It is no more than that: bytes cost no time, and nothing starts slowly.
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
    fmt::Write,
    net::SocketAddr,
    ops::Bound,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use clap::Parser;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
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
    /// Folders that these are spread over; 0: none.
    #[arg(long, default_value_t = 0)]
    folders: usize,
    /// Their sizes are log-normal about `--size` instead, from a few bytes to 4 MiB.
    #[arg(long)]
    mixed: bool,
    /// Objects that bucket `source` holds besides, uploaded in parts of 16 MiB, all of the same bytes.
    #[arg(long, default_value_t = 0)]
    large: usize,
    /// MiB of each of these.
    #[arg(long, default_value_t = 1024)]
    large_mib: usize,
    /// Bucket `target` holds the same from the start, less every Nth object, which is another.
    #[arg(long, value_name = "N")]
    changed: Option<usize>,
    /// Objects that bucket `target` holds from the start and `source` doesn't.
    #[arg(long, default_value_t = 0)]
    extra: usize,
    /// Keeps only size and tag of what is written: enough for listings, and large objects fit.
    #[arg(long)]
    forgetful: bool,
    /// Milliseconds of a round trip.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Of a hundred requests for objects, so many are answered with 503.
    #[arg(long, default_value_t = 0)]
    busy: u64,
    /// Of a hundred bodies of objects, so many break off in the middle.
    #[arg(long, default_value_t = 0)]
    cut: u64,
    /// From this page on, listings of bucket `source` are answered with a gateway's 504 and its HTML.
    #[arg(long, value_name = "PAGE")]
    broken_list: Option<u64>,
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
    parts: BTreeMap<u32, Part>,
}

struct Part {
    body: Bytes,
    size: usize,
    md5: [u8; 16],
}

#[derive(Default)]
struct State {
    buckets: HashMap<String, BTreeMap<String, Object>>,
    uploads: HashMap<String, Upload>,
    requests: BTreeMap<String, u64>,
    next: u64,
    chance: u64,
}

struct Server {
    flags: Flags,
    state: Mutex<State>,
}

/// A body whose length is told, and that may end before it.
type Answer = Response<Cut>;

struct Cut {
    body: Option<Bytes>,
    told: u64,
    breaks: bool,
}

impl Cut {
    fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { told: body.len() as u64, body: Some(body).filter(|b| !b.is_empty()), breaks: false }
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let broken = || Some(Err(std::io::ErrorKind::ConnectionReset.into()));
        Poll::Ready(match self.body.take() {
            Some(body) if self.breaks && body.len() > 1 => {
                Some(Ok(Frame::data(body.slice(..body.len() / 2))))
            }
            Some(body) => Some(Ok(Frame::data(body))),
            None if self.breaks => broken(),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.told)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let flags = Flags::parse();
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], flags.port))).await.expect("a free port");
    let mut state = State { chance: 1, ..State::default() };
    let mut source = filled(&flags);
    source.extend((0..flags.large).map(|number| (format!("large{number:03}"), in_parts(flags.large_mib))));
    if let Some(every) = flags.changed {
        state.buckets.insert("target".to_owned(), changed(&source, every));
    }
    let extra = |number: usize| (format!("x{number:07}"), object(Bytes::from_static(b"extra")));
    if flags.extra > 0 {
        let target = state.buckets.entry("target".to_owned()).or_default();
        target.extend((0..flags.extra).map(extra));
    }
    state.buckets.insert("source".to_owned(), source);
    let server = Arc::new(Server { flags, state: Mutex::new(state) });
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).ok();
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            server.travel().await;
            let answer = hyper::service::service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { server.answer(request).await }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await
                .ok();
        });
    }
}

impl Server {
    async fn travel(&self) {
        if self.flags.delay > 0 {
            tokio::time::sleep(Duration::from_millis(self.flags.delay)).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = unchunked(&head.headers, body.collect().await?.to_bytes());
        self.travel().await;
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
        let path = path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let mut state = self.state.lock().unwrap();
        if bucket.is_empty() {
            return Ok(text(StatusCode::OK, told(&mut state, query.contains_key("objects"))));
        }
        let verb = verb(&head.method, key, &query);
        *state.requests.entry(verb.to_owned()).or_default() += 1;
        if self.flags.busy > 0 && !key.is_empty() && state.chance(self.flags.busy) {
            return Ok(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "<Error><Code>SlowDown</Code><Message>busy</Message></Error>".to_owned(),
            ));
        }
        let mut answer = self.carry_out(&mut state, verb, (bucket, key), &head, &query, body);
        if self.flags.cut > 0 && verb == "Get" && answer.body().told > 1 && state.chance(self.flags.cut) {
            answer.body_mut().breaks = true;
        }
        Ok(answer)
    }

    fn carry_out(
        &self,
        state: &mut State,
        verb: &str,
        (bucket, key): (&str, &str),
        head: &http::request::Parts,
        query: &HashMap<String, String>,
        body: Bytes,
    ) -> Answer {
        match verb {
            "List"
                if bucket == "source"
                    && self.flags.broken_list.is_some_and(|page| page_of(query) >= page) =>
            {
                let page = "<html><body><h1>504 Gateway Time-out</h1></body></html>";
                Response::builder()
                    .status(StatusCode::GATEWAY_TIMEOUT)
                    .header("content-type", "text/html")
                    .body(Cut::new(page))
                    .unwrap()
            }
            "List" => list(state, bucket, query, self.flags.synthetic),
            "Location" => text(StatusCode::OK, "<LocationConstraint/>".to_owned()),
            "Versioning" => text(StatusCode::OK, "<VersioningConfiguration/>".to_owned()),
            "Lock" => missing("ObjectLockConfigurationNotFoundError"),
            "Get" | "Head" => get(state, (bucket, key), &head.headers, query, verb == "Head"),
            "Tags" => text(StatusCode::OK, "<Tagging><TagSet/></Tagging>".to_owned()),
            "Put" => {
                let object = Object { headers: kept(&head.headers), ..self.kept(body) };
                let etag = object.etag.clone();
                state.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object);
                tagged(&etag)
            }
            "Delete" => {
                state.buckets.entry(bucket.to_owned()).or_default().remove(key);
                empty(StatusCode::NO_CONTENT)
            }
            "DeleteMany" => {
                let objects = state.buckets.entry(bucket.to_owned()).or_default();
                let body = String::from_utf8_lossy(&body).into_owned();
                for key in body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
                    objects.remove(key);
                }
                text(StatusCode::OK, "<DeleteResult/>".to_owned())
            }
            "CreateUpload" => {
                state.next += 1;
                let id = format!("u{}", state.next);
                let upload = Upload { headers: kept(&head.headers), ..Upload::default() };
                state.uploads.insert(id.clone(), upload);
                let id = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
                let name = "InitiateMultipartUploadResult";
                text(StatusCode::OK, format!("<{name}>{id}</{name}>"))
            }
            "UploadPart" => {
                let md5: [u8; 16] = Md5::digest(&body).into();
                let number = query["partNumber"].parse().unwrap_or(1);
                let Some(upload) = state.uploads.get_mut(&query["uploadId"]) else {
                    return missing("NoSuchUpload");
                };
                let size = body.len();
                let body = if self.flags.forgetful { Bytes::new() } else { body };
                upload.parts.insert(number, Part { body, size, md5 });
                tagged(&hex::encode(md5))
            }
            "CompleteUpload" => {
                let Some(upload) = state.uploads.remove(&query["uploadId"]) else {
                    return missing("NoSuchUpload");
                };
                let object = joined(upload);
                let etag = object.etag.clone();
                state.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object);
                let told =
                    format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>&quot;{etag}&quot;</ETag>");
                let name = "CompleteMultipartUploadResult";
                text(StatusCode::OK, format!("<{name}>{told}</{name}>"))
            }
            "ListParts" => text(
                StatusCode::OK,
                "<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>".to_owned(),
            ),
            "ListUploads" => text(
                StatusCode::OK,
                "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
                    .to_owned(),
            ),
            _ => empty(StatusCode::OK),
        }
    }

    fn kept(&self, body: Bytes) -> Object {
        let object = object(body);
        if self.flags.forgetful { Object { body: Vec::new(), ..object } } else { object }
    }
}

impl State {
    /// True in so many of a hundred cases: the same ones in every run.
    fn chance(&mut self, percent: u64) -> bool {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % 100 < percent
    }
}

fn told(state: &mut State, objects: bool) -> String {
    let mut told = String::new();
    if objects {
        for (name, objects) in &state.buckets {
            writeln!(told, "{name} {}", objects.len()).unwrap();
        }
        return told;
    }
    for (verb, count) in std::mem::take(&mut state.requests) {
        writeln!(told, "{verb} {count}").unwrap();
    }
    told
}

/// Which page of a listing is asked for, as far as the numbers of its keys tell.
fn page_of(query: &HashMap<String, String>) -> u64 {
    let after = ["continuation-token", "start-after", "marker"].iter().find_map(|name| query.get(*name));
    let number =
        after.and_then(|after| after.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok());
    number.map_or(1, |number| (number + 1).div_ceil(PAGE as u64) + 1)
}

fn object(body: Bytes) -> Object {
    let etag = hex::encode(Md5::digest(&body));
    Object { size: body.len(), body: vec![body], etag, headers: HeaderMap::new(), parts: Vec::new() }
}

/// An object in parts of 16 MiB that share their bytes.
fn in_parts(mib: usize) -> Object {
    let count = mib.div_ceil(16).max(1);
    let part: Bytes = (0..16 << 20).map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let md5: [u8; 16] = Md5::digest(&part).into();
    let parts = (1..).zip((0..count).map(|_| Part { body: part.clone(), size: part.len(), md5 })).collect();
    joined(Upload { headers: HeaderMap::new(), parts })
}

/// What a target holds that was in line once: every so many-th object is an older one of the same size.
fn changed(source: &BTreeMap<String, Object>, every: usize) -> BTreeMap<String, Object> {
    let older =
        |object: &Object| Object { etag: "0cc175b9c0f1b6a831c399e269772661".to_owned(), ..object.clone() };
    let pairs = source.iter().enumerate();
    pairs
        .map(|(number, (key, object))| {
            (key.clone(), if number.is_multiple_of(every) { older(object) } else { object.clone() })
        })
        .collect()
}

fn filled(flags: &Flags) -> BTreeMap<String, Object> {
    let numbered = |number: usize| {
        let size = if flags.mixed { spread(number, flags.size) } else { flags.size };
        let mut body = BytesMut::zeroed(size);
        let bytes = number.to_le_bytes();
        let marked = size.min(bytes.len());
        body[..marked].copy_from_slice(&bytes[..marked]);
        object(body.freeze())
    };
    let key = |number: usize| match flags.folders {
        0 => format!("k{number:07}"),
        folders => format!("d{:04}/k{number:07}", number % folders),
    };
    (0..flags.objects).map(|number| (key(number), numbered(number))).collect()
}

/// A log-normal size with this median, the same for the same number: sigma 2, up to 4 MiB.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes"
)]
fn spread(number: usize, median: usize) -> usize {
    let mut chance = number as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut uniform = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as f64 / (1_u64 << 31) as f64
    };
    let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
    (median as f64 * (2.0 * normal).exp()).clamp(1.0, 4_194_304.0) as usize
}

fn verb(method: &Method, key: &str, query: &HashMap<String, String>) -> &'static str {
    let has = |name| query.contains_key(name);
    match (method.as_str(), key.is_empty()) {
        ("GET", true) if has("uploads") => "ListUploads",
        ("GET", true) if has("versioning") => "Versioning",
        ("GET", true) if has("location") => "Location",
        ("GET", true) if has("object-lock") => "Lock",
        ("GET", true) => "List",
        ("POST", true) if has("delete") => "DeleteMany",
        ("GET" | "PUT", false) if has("tagging") => "Tags",
        (_, true) => "Bucket",
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
    for part in upload.parts.into_values() {
        all.update(part.md5);
        parts.push(part.size);
        body.push(part.body);
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
    let told = (end - start) as u64;
    let body = if head { Bytes::new() } else { cut(object, start, end) };
    answer.body(Cut { told, ..Cut::new(body) }).unwrap()
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

/// A page under way.
#[derive(Default)]
struct Page {
    xml: String,
    encoded: bool,
    count: usize,
    last: String,
    more: bool,
}

impl Page {
    fn name(&self, key: &str) -> String {
        if self.encoded { utf8_percent_encode(key, SAFE).to_string() } else { key.to_owned() }
    }

    fn entry(&mut self, key: &str, size: usize, etag: &str) {
        let name = self.name(key);
        write!(
            self.xml,
            "<Contents><Key>{name}</Key><LastModified>2026-11-21T08:00:00.000Z</LastModified>\
             <ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
        .unwrap();
        self.took(key);
    }

    fn folder(&mut self, prefix: &str) {
        let name = self.name(prefix);
        write!(self.xml, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>").unwrap();
        // Past all keys below it.
        self.took(&format!("{prefix}\u{7f}"));
    }

    fn took(&mut self, key: &str) {
        self.count += 1;
        key.clone_into(&mut self.last);
    }
}

fn list(state: &State, bucket: &str, query: &HashMap<String, String>, synthetic: usize) -> Answer {
    let asked = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, delimiter) = (asked("prefix"), asked("delimiter"));
    let after =
        ["continuation-token", "start-after", "marker"].into_iter().map(asked).find(|at| !at.is_empty());
    let after = after.unwrap_or_default();
    let most = query.get("max-keys").and_then(|n| n.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let mut page = Page { encoded: asked("encoding-type") == "url", ..Page::default() };
    if synthetic > 0 {
        let first = first_after(after, synthetic);
        for number in (first..synthetic).take(most) {
            page.entry(&format!("k{number:07}"), 4096, "0cc175b9c0f1b6a831c399e269772661");
        }
        page.more = first + most < synthetic;
    } else if let Some(objects) = state.buckets.get(bucket) {
        fill(&mut page, objects, (prefix, delimiter), after, most);
    }
    let Page { xml, encoded, count, last, more } = page;
    let next = if more {
        format!("<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>")
    } else {
        String::new()
    };
    let encoding = if encoded { "<EncodingType>url</EncodingType>" } else { "" };
    text(
        StatusCode::OK,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{bucket}</Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>\
             {encoding}<IsTruncated>{more}</IsTruncated>{next}{xml}</ListBucketResult>"
        ),
    )
}

fn fill(
    page: &mut Page,
    objects: &BTreeMap<String, Object>,
    (prefix, delimiter): (&str, &str),
    after: &str,
    most: usize,
) {
    let mut from =
        if after < prefix { Bound::Included(prefix.to_owned()) } else { Bound::Excluded(after.to_owned()) };
    loop {
        let next = objects.range::<String, _>((from.clone(), Bound::Unbounded)).next();
        let Some((key, object)) = next.filter(|(key, _)| key.starts_with(prefix)) else { return };
        if page.count == most {
            page.more = true;
            return;
        }
        let below = &key[prefix.len()..];
        if let Some(end) = below.find(delimiter).filter(|_| !delimiter.is_empty()) {
            page.folder(&key[..prefix.len() + end + delimiter.len()]);
        } else {
            page.entry(key, object.size, &object.etag);
        }
        from = Bound::Excluded(page.last.clone());
    }
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
    answer.body(Cut::new(text)).unwrap()
}

fn empty(status: StatusCode) -> Answer {
    Response::builder().status(status).body(Cut::new("")).unwrap()
}

fn tagged(etag: &str) -> Answer {
    Response::builder().header("etag", format!("\"{etag}\"")).body(Cut::new("")).unwrap()
}

fn missing(code: &str) -> Answer {
    text(StatusCode::NOT_FOUND, format!("<Error><Code>{code}</Code><Message>not there</Message></Error>"))
}
