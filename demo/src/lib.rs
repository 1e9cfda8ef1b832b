//! A small real site on server-side sessions, on plain hyper.
//!
//! It shows every part of a session where a reader can see it: a visit counter, a cart, a login, a
//! logout, the devices of a user, and the same as a JSON API. `cargo run -p demo` starts it without anything else
//! installed. Tests run it inside their own process:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let options = demo::options::Options::from_arguments(["--instance", "one"])?;
//! demo::serve(listener, options).await?;
//! # Ok(())
//! # }
//! ```

mod account;
mod account_api;
mod api;
mod body;
mod cart;
mod context;
mod cookie_flags;
mod csrf;
mod device;
mod device_pages;
mod events;
mod flag_values;
pub mod health;
mod option_docs;
pub mod options;
mod pages;
mod rejection;
mod reply;
mod server;
mod site;
mod start_error;
mod users;

use std::future;

use tokio::net::TcpListener;

pub use server::Server;
pub use start_error::{StartError, error_chain};

/// Serves the demo on a listener for as long as the future is polled.
///
/// # Errors
///
/// If an option is invalid, or the store cannot be opened.
pub async fn serve(listener: TcpListener, options: options::Options) -> Result<(), StartError> {
    let server = Server::open(&options).await?;
    server.serve(listener, future::pending()).await;
    Ok(())
}
