//! Asks a running instance whether it serves, for container images that have no other client.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An instance that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gets `/healthz` of the instance that listens there.
///
/// # Errors
///
/// When it does not answer in two seconds, or not with 200.
pub async fn check(listen: &str) -> Result<(), Box<dyn Error>> {
    // one that listens everywhere answers on loopback too
    let address = listen.replacen("0.0.0.0:", "127.0.0.1:", 1);
    let status = timeout(PATIENCE, status(&address))
        .await
        .map_err(|_| format!("{address} does not answer"))??;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(format!("{address} answers {status}").into())
    }
}

async fn status(address: &str) -> Result<StatusCode, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/healthz")
        .header(header::HOST, address)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await;
    connection.abort();
    Ok(response?.status())
}
