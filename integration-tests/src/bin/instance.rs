//! One instance of the demo site with every store, as a process, for tests that kill processes.
//!
//! Cargo tells a test the paths of the binaries of its own package alone, so this package has one
//! that calls the library of the demo.

use std::{
    error::Error,
    io::{self, Write},
};

use clap::Parser;
use demo::{Server, options::Options};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    // tests cause outages, whose errors are expected
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Server::open(&options).await?;
    let listener = TcpListener::bind(&options.listen).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    let stop = async move {
        terminate.recv().await;
    };
    server.serve(listener, stop).await;
    Ok(())
}
