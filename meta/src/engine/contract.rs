//! contract
use std::{sync::Arc, time::Duration};
/// x
pub async fn run_all<F: AsyncFn() -> Arc<dyn super::Engine>>(make: F, _age: Duration) { make().await; }
