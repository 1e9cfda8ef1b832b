//! The metrics of a build without the feature `metrics`: nothing.

use std::fmt;

use crate::{
    breaker::Phase,
    failure::{Failure, RetryAction},
    feed::FeedEnd,
};

pub(crate) fn describe() {}

#[derive(Clone, Debug)]
pub(crate) struct NodeMetrics;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Started;

pub(crate) struct Waiting;

impl NodeMetrics {
    pub(crate) fn new(_node: impl fmt::Display) -> Self {
        Self
    }

    pub(crate) fn start(&self) -> Started {
        Started
    }

    pub(crate) fn finish(&self, _: Started, _operation: &'static str, _: Option<&Failure>) {}

    pub(crate) fn admitted(&self) {}

    pub(crate) fn released(&self) {}

    pub(crate) fn wait(&self) -> Waiting {
        Waiting
    }

    pub(crate) fn limit(&self, _before: usize, _after: usize) {}

    pub(crate) fn connection(&self, _before: Option<Phase>, _after: Option<Phase>) {}

    pub(crate) fn connected(&self) {}

    pub(crate) fn connect_failed(&self) {}

    pub(crate) fn breaker_opened(&self) {}

    pub(crate) fn announced(&self) {}

    pub(crate) fn feed_began(&self) {}

    pub(crate) fn feed_ended(&self, _: FeedEnd) {}
}

pub(crate) fn retried(_: &RetryAction) {}

pub(crate) fn map_refreshed(_changed: Option<bool>) {}

pub(crate) fn ended_again(_count: usize, _were_present: usize) {}

pub(crate) fn ended_ids_dropped(_count: usize) {}

pub(crate) fn confirmed(_by_all: bool) {}
