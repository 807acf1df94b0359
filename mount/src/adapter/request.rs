//! Running one request: its deadline, its reply, and what is to be forgotten after it.

use std::future::Future;
use std::time::Duration;

use farshore_meta::{Ino, Name, Result};
use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};

use crate::dispatch::Late;
use crate::kernel::Scope;

use super::Adapter;

/// A reply that can carry an errno instead.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// What is asked, for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) ino: Ino,
}

impl Operation {
    pub(super) fn new(name: &'static str, ino: Ino) -> Self {
        Self { name, ino }
    }
}

/// What a change touches.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    /// Inodes of which the kernel only marks that they changed; forgotten after every change.
    pub(super) inodes: Vec<Ino>,
    /// Names that the kernel knows to have changed, unless it was told of a timeout.
    pub(super) names: Vec<(Ino, Name)>,
    /// An inode whose size or data the kernel knows to have changed, unless it was told so.
    pub(super) data: Option<Ino>,
}

impl Adapter {
    /// Runs what only reads; it is dropped at its deadline.
    pub(super) fn read<T: Send + 'static, R: Refuse>(
        &self,
        operation: Operation,
        reply: R,
        work: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.run(self.options.deadline, operation, Late::Drop, reply, work, answer);
    }

    /// Runs what changes something; after its deadline it goes on without its caller.
    pub(super) fn change<T: Send + 'static, R: Refuse>(
        &self,
        operation: Operation,
        deadline: Duration,
        touched: Touched,
        reply: R,
        work: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let (late_queue, queue) = (self.afterwards.clone(), self.afterwards.clone());
        let wanted = if self.cache.wants_afterwards() { touched.inodes.clone() } else { Vec::new() };
        let late = Late::Finish(Box::new(move |_| {
            for (parent, name) in touched.names {
                late_queue.forget_name(parent, name);
            }
            for ino in touched.inodes {
                late_queue.forget_inode(ino, Scope::Attributes);
            }
            if let Some(ino) = touched.data {
                late_queue.forget_inode(ino, Scope::Data);
            }
        }));
        self.run(deadline, operation, late, reply, work, move |reply, value| {
            for ino in wanted {
                queue.forget_inode(ino, Scope::Attributes);
            }
            answer(reply, value);
        });
    }

    /// Runs any request.
    pub(super) fn run<T: Send + 'static, R: Refuse>(
        &self,
        deadline: Duration,
        operation: Operation,
        late: Late<T>,
        reply: R,
        work: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.dispatcher.run(deadline, work, late, move |outcome| match outcome {
            Ok(value) => answer(reply, value),
            Err(failure) => reply.refuse(failure.answer(operation.name, operation.ino.0)),
        });
    }
}
