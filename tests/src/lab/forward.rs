//! A port of the lab that leads to one of the test's own loopback interface: bitcoind listens nowhere else.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

/// Forwards connections until the test ends.
pub async fn forward(from: SocketAddr, to: SocketAddr) -> eyre::Result<()> {
    let listener = TcpListener::bind(from).await?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(to).await {
                    // Either side may end it.
                    let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Ok(())
}
