//! Asks a member of a replica set whether it is there.

use std::io;

use futures::{FutureExt, future::select_ok};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::DATABASE_PATIENCE;

/// The kind of message that every server since 3.6 takes.
const OP_MSG: i32 = 2013;
const REQUEST: i32 = 1;
/// A member's answer tells of all members; it is far smaller than this.
const LONGEST: i32 = 1 << 20;

/// True as soon as one of the servers answers `hello`. With `tls=true` an open port is enough: the authority that signed
/// their certificates may be known from a Secret only, which is not read here.
///
/// # Errors
/// Why the last of them did not answer, within three seconds.
pub async fn ask(uri: &str) -> Result<(), String> {
    let rest = uri.strip_prefix("mongodb://").unwrap_or(uri);
    let (hosts, options) = rest.split_once('/').unwrap_or((rest, ""));
    let is_tls = ["tls=true", "ssl=true"].iter().any(|on| options.to_lowercase().contains(on));
    let questions = hosts.split(',').filter(|host| !host.is_empty()).map(|host| {
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:27017") };
        async move {
            match timeout(DATABASE_PATIENCE, greet(&address, is_tls)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("{address}: {error}")),
                Err(_) => Err(format!("{address}: no answer within {} s", DATABASE_PATIENCE.as_secs())),
            }
        }
        .boxed()
    });
    let questions: Vec<_> = questions.collect();
    if questions.is_empty() {
        return Err("the URI names no host".to_owned());
    }
    select_ok(questions).await.map(|((), _)| ())
}

async fn greet(address: &str, is_tls: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    if is_tls {
        return Ok(());
    }
    stream.write_all(&hello()).await?;
    let mut header = [0; 16];
    stream.read_exact(&mut header).await?;
    let number = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, answers, kind) = (number(0), number(8), number(12));
    if kind != OP_MSG || answers != REQUEST || !(16..LONGEST).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not MongoDB's"));
    }
    Ok(())
}

/// `{hello: 1, $db: "admin"}` as a message.
fn hello() -> Vec<u8> {
    let mut document = Vec::from(*b"\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0");
    let length = i32::try_from(document.len() + 4).unwrap_or_default();
    document.splice(0..0, length.to_le_bytes());
    let length = i32::try_from(document.len() + 21).unwrap_or_default();
    let mut message = Vec::new();
    for number in [length, REQUEST, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(document);
    message
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every message with these numbers in its header.
    async fn serving(kind: i32) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = vec![0; hello().len()];
                stream.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, hello());
                let answer = [26, 7, REQUEST, kind].map(i32::to_le_bytes).concat();
                stream.write_all(&answer).await.unwrap();
            }
        });
        address.to_string()
    }

    #[tokio::test]
    async fn d07_a_master_runs_when_one_of_its_servers_answers_hello() {
        let good = serving(OP_MSG).await;
        let other = serving(1).await;
        assert_eq!(ask(&format!("mongodb://127.0.0.1:1,{good}/?replicaSet=rs0")).await, Ok(()));
        let told = ask(&format!("mongodb://{other}")).await.unwrap_err();
        assert!(told.contains(&other) && told.contains("not MongoDB's"), "{told}");
        assert!(ask("mongodb://127.0.0.1:1").await.is_err());
        assert_eq!(ask(&format!("mongodb://{other}/?tls=true")).await, Ok(()), "its port is open");
    }

    #[test]
    fn d07_the_question_is_one_message_of_mongodb() {
        let message = hello();
        assert_eq!(
            i32::from_le_bytes(message[..4].try_into().unwrap()),
            i32::try_from(message.len()).unwrap()
        );
        let document: mongodb::bson::Document =
            mongodb::bson::deserialize_from_slice(&message[21..]).unwrap();
        assert_eq!(document, mongodb::bson::doc! {"hello": 1, "$db": "admin"});
    }
}
