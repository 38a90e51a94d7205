//! A store that takes headers for Latin-1 and speaks RFC 2047, as AWS does.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use farshore::store::{ObjectStore, PutOptions, credentials::Credentials, s3::S3Store};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{stores, suite::attributes};

type Headers = Vec<(String, Vec<u8>)>;

/// User metadata by path, and how often anything was written.
#[derive(Default)]
struct Latin {
    objects: BTreeMap<String, Headers>,
    puts: usize,
}

/// What a header reads like afterwards.
fn garbled(raw: &[u8]) -> String {
    if raw.is_ascii() {
        return String::from_utf8(raw.to_vec()).unwrap();
    }
    let latin: String = raw.iter().map(|byte| char::from(*byte)).collect();
    format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(latin))
}

impl Latin {
    fn answer(&mut self, request: &Request<()>) -> Response<Full<Bytes>> {
        let (path, answer) = (request.uri().path().to_owned(), Response::builder().header("etag", "\"1\""));
        let answer = match *request.method() {
            Method::PUT => {
                self.puts += 1;
                let own = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    let ours =
                        name.as_str().starts_with("x-amz-meta-") || name.as_str().starts_with("content-type");
                    ours.then(|| (name.to_string(), value.as_bytes().to_vec()))
                };
                self.objects.insert(path, request.headers().iter().filter_map(own).collect());
                answer
            }
            Method::DELETE => {
                self.objects.remove(&path);
                answer.status(204)
            }
            _ => match self.objects.get(&path) {
                None => answer.status(404),
                Some(headers) => headers
                    .iter()
                    .fold(answer, |answer, (name, value)| answer.header(name, garbled(value)))
                    .header("content-length", "0")
                    .header("last-modified", "Sat, 21 Nov 2026 02:14:06 GMT"),
            },
        };
        answer.body(Full::default()).unwrap()
    }
}

async fn serve(latin: Arc<Mutex<Latin>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let latin = Arc::clone(&latin);
            let service = service_fn(move |request: Request<Incoming>| {
                let latin = Arc::clone(&latin);
                async move {
                    let (head, body) = request.into_parts();
                    body.collect().await.unwrap();
                    let answer = latin.lock().unwrap().answer(&Request::from_parts(head, ()));
                    Ok::<_, Infallible>(answer)
                }
            });
            // A client that goes away ends its connection.
            tokio::spawn(async move {
                http1::Builder::new().serve_connection(TokioIo::new(socket), service).await.ok()
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn c02_metadata_is_spelled_so_that_the_store_gives_it_back_as_it_was() {
    let latin = Arc::new(Mutex::new(Latin::default()));
    let config = farshore::store::s3::S3Config {
        credentials: Credentials::fixed("key", "secret"),
        ..stores::config(&serve(Arc::clone(&latin)).await, "b")
    };
    let store = S3Store::new(config).unwrap();
    let mut wanted = attributes().metadata;
    wanted.insert("long".into(), "Grüße aus der weiten 世界, ".repeat(20));
    let attributes = farshore::store::Attributes { metadata: wanted.clone(), ..Default::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    for key in ["folder/one", "folder/two"] {
        store.put(key, "1".into(), &options).await.unwrap();
        let there = store.head(key).await.unwrap().attributes;
        let there = farshore::store::Attributes { content_type: None, ..there };
        assert!(options.attributes.are_kept_as(&there) && there.metadata != wanted, "{key}: {there:?}");
    }
    let (puts, left) = {
        let latin = latin.lock().unwrap();
        (latin.puts, latin.objects.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!((puts, left), (3, vec!["/b/folder/one".into(), "/b/folder/two".into()]), "it is tried once");
}
