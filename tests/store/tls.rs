//! TLS: a store behind a certificate that only our bundle knows.

use std::{sync::Arc, time::Duration};

use farshore::store::{
    Error, GetOptions, ObjectStore, Obstacle, PutOptions,
    credentials::Credentials,
    s3::{Patience, Retry, S3Config, S3Store},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    stores,
    suite::{attributes, md5, noise, read, streamed},
};

/// A certificate authority, and the store that it vouches for under the name of `localhost`.
async fn behind_tls(store: &str) -> (String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let bundle = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (acceptor, there) = (TlsAcceptor::from(Arc::new(config)), store.replace("http://", ""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, there) = (acceptor.clone(), there.clone());
            tokio::spawn(async move {
                // A client that distrusts us goes away.
                let Ok(mut near) = acceptor.accept(socket).await else { return };
                let mut far = TcpStream::connect(there).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    });
    (endpoint, bundle)
}

#[tokio::test]
async fn a_bundle_of_ones_own_is_trusted_and_without_it_the_cause_is_told() {
    let bucket = stores::minio_a().await;
    let (endpoint, bundle) = behind_tls(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let config = stores::config(&endpoint, bucket.bucket());
    let trusting = S3Config { ca_bundle: Some(bundle), ..config.clone() };
    let store = S3Store::new(trusting).unwrap();
    let options = PutOptions { attributes: attributes(), ..PutOptions::default() };
    let body = noise(3 << 20, 1);
    let whole = store.put("whole", body.clone(), &options).await.unwrap();
    let streamed = store.put_stream("streamed", body.len() as u64, streamed(&body), &options).await.unwrap();
    assert_eq!((&whole.etag, &streamed.etag), (&md5(&body), &md5(&body)));
    assert_eq!(read(&store, "streamed", &GetOptions::default()).await.unwrap(), body);

    let retry = Retry { attempts: 1, ..Retry::default() };
    let error = S3Store::new(S3Config { retry, ..config }).unwrap().head("whole").await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { cause, .. } if cause.contains("ertificate")), "{error}");
}

/// Needs no store: none is reached.
#[tokio::test]
async fn p06_what_keeps_us_from_a_store_is_told_with_the_next_step() {
    let (distrusted, _) = behind_tls("http://127.0.0.1:1").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    for (endpoint, expected, step) in [
        ("http://127.0.0.1:1", Obstacle::Refused, "the endpoint's port"),
        ("http://store.invalid", Obstacle::Name, "the endpoint's name"),
        (&*distrusted, Obstacle::Certificate, "in the CA bundle"),
        (&*silent, Obstacle::Silence, "no firewall"),
    ] {
        let retry = Retry { attempts: 1, ..Retry::default() };
        let patience = Patience { answer: Duration::from_secs(1), ..Patience::default() };
        let config =
            S3Config { retry, patience, ..S3Config::new(endpoint, "b", Credentials::fixed("id", "s")) };
        let error = S3Store::new(config).unwrap().head("key").await.unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, Error::Unreachable { obstacle, .. } if obstacle == expected), "{error:?}");
        assert!(told.contains(&format!("s3://b/key at {endpoint}; ")) && told.contains(step), "{told}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let config = |endpoint: &str| S3Config::new(endpoint, "b", Credentials::anonymous());
    for endpoint in ["minio:9000", "ftp://minio", "https://", "not an address"] {
        assert!(matches!(S3Store::new(config(endpoint)), Err(Error::Config(_))), "{endpoint}");
    }
    for bundle in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let config = S3Config { ca_bundle: Some(bundle.into()), ..config("https://minio") };
        assert!(matches!(S3Store::new(config), Err(Error::Config(_))), "{bundle}");
    }
}
