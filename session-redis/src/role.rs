//! Asks a server for its role, which no sentinel can tell for sure.

use redis::Value;

use crate::{connection::Connection, failure::Failure};

/// The command that asks a server for its role.
pub(crate) const ROLE: &str = "ROLE";

/// Whether the server at the other end is a primary.
///
/// # Errors
///
/// The connection broke, or the reply is not one to `ROLE`.
pub(crate) async fn is_primary(connection: &mut Connection) -> Result<bool, Failure> {
    let reply = connection.query(&redis::cmd(ROLE)).await;
    match reply.map_err(|error| Failure::from_connecting(&error))? {
        role @ Value::Array(_) => Ok(is_primary_role(&role)),
        _ => Err(Failure::unavailable("unexpected reply")),
    }
}

/// Whether this reply to `ROLE` is one of a primary.
pub(crate) fn is_primary_role(reply: &Value) -> bool {
    match reply {
        Value::Array(role) => role.first() == Some(&Value::BulkString(b"master".into())),
        _ => false,
    }
}
