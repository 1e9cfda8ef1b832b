//! What a handler writes: a log of operations, so that it can be said again on newer data.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    cookie_header::CookieOverrides, error::SessionError, error::SessionErrorKind, record::Contents,
};

/// One change to the contents of a session. Replaying it on what another request wrote meanwhile merges the two.
#[derive(Clone)]
pub(crate) enum Op {
    Set(Arc<str>, Bytes),
    Remove(Arc<str>),
    Clear,
    Update(Arc<str>, Update),
    SetPrincipal(Option<Arc<str>>),
    SetIdle(Option<Duration>),
    SetAbsolute(Option<Duration>),
    SetPersistent(Option<bool>),
    SetCookie(CookieOverrides),
}

/// Computes the new value of a name from the one that is there. May run again, so it has no other effect.
pub(crate) type Update = Arc<dyn Fn(Option<&Bytes>) -> Result<Bytes, SessionError> + Send + Sync>;

impl Op {
    /// Does the change.
    pub(crate) fn apply(&self, contents: &mut Contents) -> Result<(), SessionError> {
        match self {
            Self::Set(name, value) => contents.data.insert(name, value.clone()),
            Self::Remove(name) => drop(contents.data.remove(name)),
            Self::Clear => contents.data.clear(),
            Self::Update(name, update) => {
                let value = update(contents.data.get(name).as_ref())?;
                contents.data.insert(name, value);
            }
            Self::SetPrincipal(principal) => {
                contents.principal = principal.as_deref().map(Into::into)
            }
            Self::SetIdle(idle) => contents.life.idle = *idle,
            Self::SetAbsolute(absolute) => contents.life.absolute = *absolute,
            Self::SetPersistent(persistent) => contents.life.persistent = *persistent,
            Self::SetCookie(overrides) => contents.cookie = overrides.clone(),
        }
        Ok(())
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, _) => write!(f, "Set({name:?})"),
            Self::Remove(name) => write!(f, "Remove({name:?})"),
            Self::Clear => f.write_str("Clear"),
            Self::Update(name, _) => write!(f, "Update({name:?})"),
            Self::SetPrincipal(_) => f.write_str("SetPrincipal"),
            Self::SetIdle(idle) => write!(f, "SetIdle({idle:?})"),
            Self::SetAbsolute(absolute) => write!(f, "SetAbsolute({absolute:?})"),
            Self::SetPersistent(persistent) => write!(f, "SetPersistent({persistent:?})"),
            Self::SetCookie(_) => f.write_str("SetCookie"),
        }
    }
}

/// Contents with the operations that led to them.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) contents: Contents,
    pub(crate) ops: Vec<Op>,
    /// Which log this is: a discard begins another.
    pub(crate) log: Log,
}

/// The identity of a log of operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<()>);

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Draft {
    pub(crate) fn of(contents: Contents) -> Self {
        Self {
            contents,
            ops: Vec::new(),
            log: Log::default(),
        }
    }

    /// The contents that these operations make of other contents, within the size limit.
    pub(crate) fn replay(
        ops: &[Op],
        contents: &Contents,
        limit_bytes: usize,
    ) -> Result<Contents, SessionError> {
        let mut contents = contents.clone();
        ops.iter().try_for_each(|op| op.apply(&mut contents))?;
        check_size(&contents, limit_bytes)?;
        Ok(contents)
    }

    /// Does one more operation, or leaves everything as it was.
    pub(crate) fn push(&mut self, op: Op, limit_bytes: usize) -> Result<(), SessionError> {
        let before = match &op {
            Op::Set(name, _) | Op::Update(name, _) => {
                Undo::Value(name.clone(), self.contents.data.get(name))
            }
            Op::SetPrincipal(_) => Undo::Principal(self.contents.principal.clone()),
            // the others do not grow the record
            Op::Remove(_)
            | Op::Clear
            | Op::SetIdle(_)
            | Op::SetAbsolute(_)
            | Op::SetPersistent(_)
            | Op::SetCookie(_) => Undo::Nothing,
        };
        op.apply(&mut self.contents)?;
        if let (true, Err(error)) = (before.grows(), check_size(&self.contents, limit_bytes)) {
            before.undo(&mut self.contents);
            return Err(error);
        }
        self.ops.push(op);
        Ok(())
    }
}

/// What stood there before an operation that may turn out too large.
enum Undo {
    Nothing,
    Value(Arc<str>, Option<Bytes>),
    Principal(Option<Box<str>>),
}

impl Undo {
    fn grows(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn undo(self, contents: &mut Contents) {
        match self {
            Self::Nothing => {}
            Self::Value(name, Some(value)) => contents.data.insert(&name, value),
            Self::Value(name, None) => drop(contents.data.remove(&name)),
            Self::Principal(principal) => contents.principal = principal,
        }
    }
}

fn check_size(contents: &Contents, limit_bytes: usize) -> Result<(), SessionError> {
    let bytes = contents.data.encoded_bytes()
        + contents
            .principal
            .as_ref()
            .map_or(0, |principal| principal.len());
    if bytes <= limit_bytes {
        return Ok(());
    }
    let detail = format!("session data would take {bytes} bytes, the limit is {limit_bytes}");
    Err(SessionError::new(SessionErrorKind::TooLarge, detail))
}
