//! The shell around the core: it waits for whatever comes first, has the core decide, and does
//! what it says.

use std::time::Duration;

use farshore_proto::Position;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::core::{Action, Core, Event, Identity};
use super::link::{Call, Link};
use super::status::View;
use super::writer::Job;
use crate::lineage::Lineage;
use crate::upstream::Upstream;

/// The follower's task.
pub(crate) struct Driver {
    pub(crate) core: Core,
    pub(crate) upstream: Upstream,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) started: Instant,
    pub(crate) lineage: Lineage,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) done: mpsc::Receiver<Event>,
    pub(crate) visible: watch::Receiver<Option<Position>>,
    pub(crate) view: watch::Sender<View>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) link: Option<Link>,
}

impl Driver {
    /// Follows until told to stop, and then until what is being written is.
    pub(crate) async fn run(mut self) {
        let mut event = Some(Event::Tick);
        while let Some(happened) = event {
            let actions = self.core.step(self.started.elapsed(), happened);
            for action in actions {
                self.act(action).await;
            }
            self.publish();
            event = self.next().await;
        }
        self.link = None;
        drop(self.jobs);
        while self.done.recv().await.is_some() {}
    }

    /// The next event; `None` when it is time to stop. Nothing is taken from the connection while
    /// what it brought before fills the inbox.
    async fn next(&mut self) -> Option<Event> {
        let wants_input = self.core.wants_input();
        let due = self.core.due_at();
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            done = self.done.recv() => done,
            changed = self.visible.changed() => changed.ok().map(|()| {
                self.visible.borrow_and_update().map_or(Event::Tick, Event::Visible)
            }),
            event = next_of(&mut self.link), if wants_input => Some(event),
            () = at(self.started, due) => Some(Event::Tick),
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Look => self.give(Job::Look).await,
            Action::CopyPage(rows, bootstrap) => self.give(Job::Copy(rows, bootstrap)).await,
            Action::Apply(interval) => self.give(Job::Apply(interval)).await,
            Action::Connect => self.connect(),
            Action::Disconnect => self.link = None,
            Action::Above(regions) => self.lineage.set_upstreams(regions),
            Action::Register(from) => self.call(Call::Register(from)),
            Action::RequestSnapshot(begin) => self.call(Call::Snapshot(begin)),
            Action::StartFollow(from) => self.call(Call::Follow(from)),
            Action::Report { applied, visible, ping } => {
                self.link.iter().for_each(|link| link.report(applied, visible, ping));
            }
        }
    }

    /// One job is given at a time, so there is room for it unless the mount holds applying up;
    /// then the writer takes it once that has room.
    async fn give(&self, job: Job) {
        if self.jobs.send(job).await.is_err() {
            tracing::error!("the follower's writer has ended");
        }
    }

    fn connect(&mut self) {
        self.link = Some(Link::begin(self.upstream.clone(), self.identity.clone(), self.name.clone()));
    }

    fn call(&self, call: Call) {
        if let Some(link) = &self.link {
            link.call(call);
        }
    }

    fn publish(&self) {
        let view = View::of(&self.core);
        if let Some(basis) = self.core.freshness().applied_basis() {
            self.lineage.set_fresh(self.started + basis.at, basis.behind);
        }
        self.view.send_modify(|before| {
            if before.phase != view.phase {
                log_change(&view);
            }
            *before = view;
        });
    }
}

fn log_change(view: &View) {
    let phase = view.phase;
    match (&view.stopped, view.error()) {
        (Some(error), _) => {
            tracing::error!(%error, "the mirror has stopped; what it holds is served");
        }
        (None, Some(error)) => {
            tracing::warn!(%phase, %error, "following is interrupted; it is tried again");
        }
        (None, None) => tracing::info!(%phase, "the mirror's phase"),
    }
}

/// The connection's next event; never, while there is no connection.
async fn next_of(link: &mut Option<Link>) -> Event {
    match link {
        Some(open) => match open.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn at(started: Instant, due: Option<Duration>) {
    match due {
        Some(due) => sleep_until(started + due).await,
        None => std::future::pending().await,
    }
}
