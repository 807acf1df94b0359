//! A volume as a directory of this machine: the FUSE adapter, and what keeps the kernel's
//! caches true.
//!
//! The safety argument has two halves. *Nothing blocks*: a handler is polled once where the
//! request was read and moves to the runtime if it has to wait (`dispatch`), so that a slow
//! store never keeps another request waiting, and each has a deadline, because a request
//! cannot be interrupted. *Nothing stale stays*: a name or an attribute is cached for as long
//! as nobody says otherwise, and whoever changes it says so afterwards. On a primary the
//! kernel knows of every change (`cache`, `afterwards`); on a mirror the log pushes each change
//! into the kernel (`invalidate`), and what was read before a change is never cached after
//! it (`gate`, `handed`).
//!
//! Read `cache.rs`, `gate.rs` and `invalidate.rs` first, then `dispatch.rs` and `adapter/`.

mod adapter;
mod afterwards;
mod attach;
mod cache;
mod control;
mod convert;
mod dispatch;
mod errno;
mod gate;
mod guard;
mod handed;
mod invalidate;
mod kernel;
mod mount;
mod mountpoint;
mod options;
mod writers;

pub use control::{Control, NoControl};
pub use guard::Guard;
pub use invalidate::Invalidator;
pub use mount::{Mount, MountError};
pub use options::{CachePolicy, MountOptions};
