//! A small real site on server-side sessions, on plain hyper.
//!
//! It shows every part of a session at work where a reader can see it: a visit counter, a cart, a login with a renewed
//! token, a logout that is final, and the same session once more as a JSON API. `cargo run -p demo` starts it with nothing
//! installed; tests run it inside their own process:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let options = demo::options::Options::from_arguments(["--instance", "one"])?;
//! demo::serve(listener, options).await?;
//! # Ok(())
//! # }
//! ```

mod api;
mod body;
mod cart;
mod csrf;
pub mod health;
pub mod options;
mod pages;
mod reply;
mod server;
mod site;
mod users;

use std::future;

use tokio::net::TcpListener;

pub use server::{Server, StartError};

/// Serves the demo on this listener for as long as the future is polled.
///
/// # Errors
///
/// When the options cannot be used, or the store cannot be opened.
pub async fn serve(listener: TcpListener, options: options::Options) -> Result<(), StartError> {
    Server::open(&options)
        .await?
        .serve(listener, future::pending())
        .await;
    Ok(())
}
