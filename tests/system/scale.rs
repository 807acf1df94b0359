//! How much a test does: a little by default, what the promises speak of at full scale.

/// `full` when `FARSHORE_TEST_SCALE=full` is set, else `small`.
pub(crate) fn pick<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}

pub(crate) fn is_full() -> bool {
    std::env::var_os("FARSHORE_TEST_SCALE").is_some_and(|scale| scale == "full")
}

/// The seed of a test's randomness, printed so that a failure can be run again with
/// `FARSHORE_TEST_SEED`.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("FARSHORE_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("FARSHORE_TEST_SEED is a number"));
    eprintln!("{test}: FARSHORE_TEST_SEED={seed}");
    seed
}
