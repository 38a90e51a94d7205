//! A network link that can go dead: connections stay open, and nothing passes.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A running link to one address.
#[derive(Debug)]
pub struct Link {
    pub endpoint: String,
    frozen: watch::Sender<bool>,
}

impl Link {
    /// A link to the host and port of an endpoint.
    pub async fn to(endpoint: &str) -> Self {
        let address = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (frozen, state) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (address, state) = (address.clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(address).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    tokio::join!(pump(from_near, to_far, state.clone()), pump(from_far, to_near, state));
                });
            }
        });
        Self { endpoint, frozen }
    }

    /// Nothing passes any more, in either direction; no connection is closed.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// All passes again, what waited included.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn pump<R, W>(mut from: R, mut to: W, mut frozen: watch::Receiver<bool>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = frozen.wait_for(|frozen| !frozen).await.is_ok();
        if !passes || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
