//! One change to the contents of a session, as data, so that it can be applied again to a newer
//! record.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::{body::Contents, cookie_spec::CookieOverrides, error::SessionError};

/// One change. Applying it to a record that a concurrent request wrote merges the two.
#[derive(Clone)]
pub(crate) enum Op {
    Set(Arc<str>, Bytes),
    Remove(Arc<str>),
    Clear,
    Update(Update),
    SetIdle(Option<Duration>),
    SetAbsolute(Option<Duration>),
    SetPersistent(Option<bool>),
    SetCookie(CookieOverrides),
    SetTag(Arc<str>, Option<Arc<str>>),
}

/// The operations of a request: one, as a rule.
pub(crate) type Ops = SmallVec<[Op; 1]>;

/// Computes the new value of a name from the current one.
pub(crate) type UpdateFn = Arc<dyn Fn(Option<&Bytes>) -> Result<Bytes, SessionError> + Send + Sync>;

/// The updates of one name, in order, with the last known result.
#[derive(Clone)]
pub(crate) struct Update {
    name: Arc<str>,
    steps: SmallVec<[UpdateFn; 1]>,
    /// The steps turn the first value into the second, so they need not run on the first again.
    memo: Option<(Option<Bytes>, Bytes)>,
}

impl Update {
    /// An update that turned `before` into `after`.
    pub(crate) fn new(name: Arc<str>, step: UpdateFn, before: Option<Bytes>, after: Bytes) -> Self {
        Self {
            name,
            steps: smallvec![step],
            memo: Some((before, after)),
        }
    }

    fn apply(&self, before: Option<&Bytes>) -> Result<Bytes, SessionError> {
        if let Some((known, after)) = &self.memo
            && before == known.as_ref()
        {
            return Ok(after.clone());
        }
        let mut value = before.cloned();
        for step in &self.steps {
            value = Some(run(step, value.as_ref())?);
        }
        // there is at least one step
        Ok(value.unwrap_or_default())
    }

    /// Appends an update of the same name.
    fn then(&mut self, next: Self) {
        self.steps.extend(next.steps);
        self.memo = match (self.memo.take(), next.memo) {
            (Some((before, middle)), Some((continued, after)))
                if continued.as_ref() == Some(&middle) =>
            {
                Some((before, after))
            }
            _ => None,
        };
    }
}

thread_local! {
    static IN_UPDATE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the application's function of an update is running on this thread. It must not write to
/// a session: the write would be repeated each time the function is.
pub(crate) fn in_update() -> bool {
    IN_UPDATE.get()
}

/// Runs the application's function.
pub(crate) fn run(step: &UpdateFn, before: Option<&Bytes>) -> Result<Bytes, SessionError> {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_UPDATE.set(self.0);
        }
    }
    let _leave = Leave(IN_UPDATE.replace(true));
    step(before)
}

impl Op {
    pub(crate) fn apply(&self, contents: &mut Contents) -> Result<(), SessionError> {
        match self {
            Self::Set(name, value) => contents.data.insert(name, value.clone()),
            Self::Remove(name) => drop(contents.data.remove(name)),
            Self::Clear => contents.data.clear(),
            Self::Update(update) => {
                let value = update.apply(contents.data.get(&update.name).as_ref())?;
                contents.data.insert(&update.name, value);
            }
            Self::SetIdle(idle) => contents.lifetime.idle = *idle,
            Self::SetAbsolute(absolute) => contents.lifetime.absolute = *absolute,
            Self::SetPersistent(persistent) => contents.lifetime.persistent = *persistent,
            Self::SetCookie(overrides) => contents.cookie = overrides.clone(),
            Self::SetTag(name, value) => contents.set_tag(name, value.as_deref()),
        }
        Ok(())
    }

    /// The name of the value that it changes.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Set(name, _) | Self::Remove(name) => Some(name),
            Self::Update(update) => Some(&update.name),
            Self::Clear
            | Self::SetIdle(_)
            | Self::SetAbsolute(_)
            | Self::SetPersistent(_)
            | Self::SetCookie(_)
            | Self::SetTag(..) => None,
        }
    }

    /// Whether the effect of `earlier` is undone by this operation, whatever stands between them.
    fn replaces(&self, earlier: &Self) -> bool {
        match self {
            Self::Set(name, _) | Self::Remove(name) => earlier.name() == Some(name),
            Self::Clear => earlier.name().is_some() || matches!(earlier, Self::Clear),
            Self::SetIdle(_) => matches!(earlier, Self::SetIdle(_)),
            Self::SetAbsolute(_) => matches!(earlier, Self::SetAbsolute(_)),
            Self::SetPersistent(_) => matches!(earlier, Self::SetPersistent(_)),
            Self::SetCookie(_) => matches!(earlier, Self::SetCookie(_)),
            Self::SetTag(name, _) => matches!(earlier, Self::SetTag(other, _) if other == name),
            Self::Update(_) => false,
        }
    }
}

/// Appends an operation that has been applied to `contents`, and drops those that it makes
/// superfluous: the list is bounded by the names and the updates, not by the number of writes.
pub(crate) fn append(ops: &mut Ops, op: Op, contents: &Contents) {
    if let Op::Update(next) = &op {
        match ops
            .iter_mut()
            .rfind(|earlier| earlier.name() == Some(&next.name))
        {
            Some(Op::Set(name, value)) => {
                *value = contents.data.get(name).unwrap_or_default();
                return;
            }
            Some(Op::Update(earlier)) => {
                earlier.then(next.clone());
                return;
            }
            _ => {}
        }
    }
    ops.retain(|earlier| !op.replaces(earlier));
    ops.push(op);
}

impl fmt::Debug for Op {
    /// Prints names, not values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, _) => write!(f, "Set({name:?})"),
            Self::Remove(name) => write!(f, "Remove({name:?})"),
            Self::Clear => f.write_str("Clear"),
            Self::Update(update) => write!(f, "Update({:?})", update.name),
            Self::SetIdle(idle) => write!(f, "SetIdle({idle:?})"),
            Self::SetAbsolute(absolute) => write!(f, "SetAbsolute({absolute:?})"),
            Self::SetPersistent(persistent) => write!(f, "SetPersistent({persistent:?})"),
            Self::SetCookie(_) => f.write_str("SetCookie"),
            Self::SetTag(name, _) => write!(f, "SetTag({name:?})"),
        }
    }
}
