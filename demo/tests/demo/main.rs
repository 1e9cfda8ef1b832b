//! The demo over loopback, as browsers and programs use it.

mod api;
mod client;
mod devices;
mod events;
mod logins;
mod options;
mod pages;
mod shutdown;
mod slow_request;
