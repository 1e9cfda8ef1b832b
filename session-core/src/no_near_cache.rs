//! Stands in for the near cache in a build without the feature `near-cache`: there is none.

use std::time::Duration;

use crate::{
    body::Body,
    changes::{AnyChanges, AnyFeed},
    clock::Clock,
    id::SessionId,
    state::Current,
};

pub(crate) enum NearRecords {}

pub(crate) enum NearRecord {}

impl NearRecord {
    pub(crate) fn body(&self) -> &Body {
        match *self {}
    }

    pub(crate) fn current(&self, _: Duration) -> Current {
        match *self {}
    }
}

pub(crate) struct Ticket;

impl NearRecords {
    pub(crate) fn changes(&self) -> &AnyChanges {
        match *self {}
    }

    pub(crate) fn get(&self, _: &SessionId, _: Duration) -> Option<NearRecord> {
        match *self {}
    }

    pub(crate) fn count(&self, _: bool) {
        match *self {}
    }

    pub(crate) fn begin(&self, _: &SessionId, _: &dyn Clock) -> Ticket {
        match *self {}
    }

    pub(crate) fn keep(&self, _: SessionId, _: Ticket, _: Current, _: usize, _: AnyFeed) {
        match *self {}
    }

    pub(crate) fn changed(&self, _: &SessionId) {
        match *self {}
    }
}
