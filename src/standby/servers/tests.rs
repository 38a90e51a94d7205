use std::fs;

use mongodb::options::Tls;

use super::options;
use crate::standby::{Endpoint, Side};

#[tokio::test]
async fn d01_accounts_come_from_files_and_never_from_the_address() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("username"), "copy\n").unwrap();
    fs::write(folder.path().join("password"), "s3cr:et/@\n").unwrap();
    fs::write(folder.path().join("ca.crt"), "").unwrap();
    let uri = "mongodb://one:1,two:2/?replicaSet=rs&authSource=people".to_owned();
    let endpoint = Endpoint { uri, credentials: Some(folder.path().to_owned()) };
    let options = options(&endpoint, Side::Master).await.unwrap();
    let credential = options.credential.unwrap();
    assert_eq!(credential.username.as_deref(), Some("copy"));
    assert_eq!(credential.password.as_deref(), Some("s3cr:et/@"));
    assert_eq!(options.app_name.as_deref(), Some("farshore"));
    let Some(Tls::Enabled(tls)) = options.tls else { panic!("an authority means TLS") };
    assert_eq!(tls.ca_file_path, Some(folder.path().join("ca.crt")));
}

#[tokio::test]
async fn d01_a_missing_password_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("username"), "copy").unwrap();
    let endpoint =
        Endpoint { uri: "mongodb://one:1".to_owned(), credentials: Some(folder.path().to_owned()) };
    let error = options(&endpoint, Side::Target).await.unwrap_err();
    assert_eq!(error.reason(), "CredentialsInvalid");
    let message = error.to_string();
    assert!(message.contains("target") && message.contains("password"), "{message}");
}

#[tokio::test]
async fn d01_no_password_of_a_broken_address_is_repeated() {
    for uri in ["mongodb://me:topsecret@:0:0", "mongodb://me:topsecret@host/?ssl=maybe", "topsecret@host"] {
        let endpoint = Endpoint { uri: uri.to_owned(), credentials: None };
        let error = options(&endpoint, Side::Master).await.unwrap_err();
        assert_eq!(error.reason(), "AddressInvalid");
        assert!(!format!("{error} {error:?}").contains("topsecret"), "{error}");
    }
}
