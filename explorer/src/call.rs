//! Calls of the store and of its index, as they were applied.

use session_core::{SessionId, Version};

use crate::fault::Fault;

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`Store::load`](session_core::Store::load)
    Load,
    /// [`Store::create`](session_core::Store::create)
    Create,
    /// [`Store::save`](session_core::Store::save)
    Save,
    /// [`Store::touch`](session_core::Store::touch)
    Touch,
    /// [`Store::destroy`](session_core::Store::destroy)
    Destroy,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The record was found and returned, or changed as asked for.
    Done,
    /// Another version was stored; nothing changed.
    Conflict,
    /// There was no record; nothing changed.
    Absent,
    /// The id was taken; nothing changed.
    Taken,
    /// The store was not reached.
    NotApplied,
}

/// A call, as it was applied.
#[derive(Clone, Debug)]
pub struct Call {
    /// The event that it belongs to.
    pub step: u32,
    /// The request that made it.
    pub owner: usize,
    /// What was asked for.
    pub op: Op,
    /// Of which session.
    pub id: SessionId,
    /// The version that it required.
    pub expected: Option<Version>,
    /// The version that it was to write.
    pub version: Option<Version>,
    /// The version that it found.
    pub found: Option<Version>,
    /// What became of it.
    pub effect: Effect,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// It arrived after its caller had been told nothing, or was gone.
    pub late: bool,
}

impl Call {
    /// Whether it changed the record.
    pub fn changed(&self) -> bool {
        self.op != Op::Load && self.effect == Effect::Done
    }

    /// Whether the record exists after it, if it changed anything.
    pub fn leaves_record(&self) -> bool {
        self.op != Op::Destroy
    }

    /// A call that nobody has applied yet.
    pub(crate) fn new(op: Op, id: &SessionId) -> Self {
        Self {
            step: 0,
            owner: 0,
            op,
            id: *id,
            expected: None,
            version: None,
            found: None,
            effect: Effect::NotApplied,
            fault: None,
            late: false,
        }
    }
}

/// An operation of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOp {
    /// [`Index::put`](session_core::Index::put)
    Put,
    /// [`Index::entries`](session_core::Index::entries)
    Entries,
    /// [`Index::remove`](session_core::Index::remove)
    Remove,
    /// [`Index::refresh`](session_core::Index::refresh)
    Refresh,
    /// [`Index::forget`](session_core::Index::forget)
    Forget,
}

/// A call of the index.
#[derive(Clone, Copy, Debug)]
pub struct IndexCall {
    /// The event that it belongs to.
    pub step: u32,
    /// The request that made it.
    pub owner: usize,
    /// What was asked for.
    pub op: IndexOp,
    /// Of which session.
    pub id: Option<SessionId>,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// It was applied.
    pub applied: bool,
    /// It arrived after its caller had been told nothing, or was gone.
    pub late: bool,
}
