//! The health check of a container image, which has no other HTTP client.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `/healthz` from the instance that listens on this address.
///
/// # Errors
///
/// If it does not respond with 200 within two seconds.
pub async fn check(listen: &str) -> Result<(), Box<dyn Error>> {
    // an instance that listens on every address listens on loopback too
    let address = listen.replacen("0.0.0.0:", "127.0.0.1:", 1);
    let status = timeout(TIMEOUT, status(&address))
        .await
        .map_err(|_| format!("{address} did not respond within {TIMEOUT:?}"))??;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(format!("{address} responded with {status}").into())
    }
}

async fn status(address: &str) -> Result<StatusCode, Box<dyn Error>> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/healthz")
        .header(header::HOST, address)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await;
    connection.abort();
    Ok(response?.status())
}
