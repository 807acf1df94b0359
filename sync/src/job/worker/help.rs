//! What a worker does while it has no range: it sends parts of large objects that the workers of other processes copy.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::Context;
use crate::copy::Wanted;

/// A worker's help; it ends with the worker.
pub(super) struct Help {
    context: Arc<Context>,
    wanted: watch::Sender<Wanted>,
    /// At most one that helps, and those that end what they have claimed.
    helpers: JoinSet<()>,
}

impl Help {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, wanted: watch::Sender::new(Wanted::Rest), helpers: JoinSet::new() }
    }

    /// Helps, if nothing is sent any more of what was claimed before.
    pub(super) fn go_on(&mut self) {
        while self.helpers.try_join_next().is_some() {}
        if self.helpers.is_empty() {
            self.wanted.send_replace(Wanted::Help);
            let (context, wanted) = (Arc::clone(&self.context), self.wanted.subscribe());
            self.helpers.spawn(async move { context.copier.help(wanted).await });
        }
    }

    /// There is other work: no more parts are claimed, and those that were are sent meanwhile.
    pub(super) fn pause(&self) {
        self.wanted.send_replace(Wanted::Rest);
    }

    /// Ends it at once.
    pub(super) async fn end(mut self) {
        self.wanted.send_replace(Wanted::Nothing);
        while self.helpers.join_next().await.is_some() {}
    }
}
