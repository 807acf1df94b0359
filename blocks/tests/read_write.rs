//! Whole paths: write blocks into a store, read them back through the tiers.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use farshore_blocks::*;
use support::*;

#[tokio::test]
async fn what_was_written_is_read_back_from_every_kind_of_store() {
    let directory = tempfile::tempdir().unwrap();
    for url in [format!("file://{}", directory.path().display()), "mem://".to_owned()] {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let store = open_store(&url);
            let options = WriterOptions { compression, ..WriterOptions::default() };
            let writer = BlockWriter::new(store.clone(), None, &options);
            for len in [0, 1, 65_536, 65_537, 1_000_000, 4 << 20] {
                let block = pattern(len);
                let name = writer.write(block.clone()).await.unwrap();
                assert_eq!(name, name_of(&key(), &block));
                let reader = reader_of(vec![Arc::new(StoreOrigin::new(store.clone()))]);
                let range = len as u32 / 3..len as u32 / 2;
                let read = reader.read(name, range.clone(), ReadHint::Demand).await.unwrap();
                assert_eq!(read, block.slice(range.start as usize..range.end as usize));
                let read = reader.read(name, 0..len as u32, ReadHint::Sequential).await.unwrap();
                assert_eq!(read, block, "{len} bytes, {compression}, {url}");
            }
        }
    }
}

#[tokio::test]
async fn a_read_past_the_end_and_a_missing_block_are_errors() {
    let store = open_store("mem://");
    let writer = BlockWriter::new(store.clone(), None, &WriterOptions::default());
    let name = writer.write(pattern(100_000)).await.unwrap();
    let reader = reader_of(vec![Arc::new(StoreOrigin::new(store))]);
    let error = reader.read(name, 99_000..100_001, ReadHint::Demand).await.unwrap_err();
    assert!(matches!(error, BlockError::OutOfBlock { block_len: 100_000, .. }), "{error}");
    let far = reader.read(name, 500_000..500_001, ReadHint::Demand).await.unwrap_err();
    assert!(matches!(far, BlockError::OutOfBlock { .. }), "{far}");
    let absent = name_of(&key(), b"never written");
    let error = reader.read(absent, 0..1, ReadHint::Demand).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Elsewhere, "{error}");
    assert_eq!(reader.read(name, 7..7, ReadHint::Demand).await.unwrap(), Bytes::new());
}
