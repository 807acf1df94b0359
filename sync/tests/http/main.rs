//! The HTTP store: real servers, and answers that lie, break or lead elsewhere.

mod hostile;
mod python;
#[path = "../recorder/mod.rs"]
mod recorder;
mod site;
