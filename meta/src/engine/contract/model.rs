//! Operations of a transaction, and what they do to a plain map.

use std::collections::BTreeMap;

use super::must;
use crate::engine::{Direction, Isolation, RangePage, RangeRead, Transaction};

/// The rows that an engine should have.
pub(in crate::engine) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// One call of a transaction.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Op {
    Set(Vec<u8>, Vec<u8>),
    Clear(Vec<u8>),
    ClearRange(Vec<u8>, Vec<u8>),
    Add(Vec<u8>, Vec<u8>),
    Get(Vec<u8>),
    Range(RangeRead),
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Seen {
    Nothing,
    Value(Option<Vec<u8>>),
    Page(RangePage),
}

impl Op {
    /// Does it in a transaction.
    pub(in crate::engine) async fn run(&self, txn: &mut dyn Transaction) -> Seen {
        match self {
            Self::Set(key, value) => txn.set(key, value),
            Self::Clear(key) => txn.clear(key),
            Self::ClearRange(begin, end) => txn.clear_range(begin, end),
            Self::Add(key, operand) => txn.add(key, operand),
            Self::Get(key) => {
                let value = must(txn.get(key, Isolation::Serialisable).await);
                return Seen::Value(value.map(Vec::from));
            }
            Self::Range(read) => return Seen::Page(must(txn.range(read, Isolation::Serialisable).await)),
        }
        Seen::Nothing
    }

    /// Does it in a model.
    pub(in crate::engine) fn run_in(&self, model: &mut Model) -> Seen {
        match self {
            Self::Set(key, value) => drop(model.insert(key.clone(), value.clone())),
            Self::Clear(key) => drop(model.remove(key)),
            Self::ClearRange(begin, end) => model.retain(|key, _| key < begin || key >= end),
            Self::Add(key, operand) => {
                let sum = add(model.get(key).map_or(&[], Vec::as_slice), operand);
                model.insert(key.clone(), sum);
            }
            Self::Get(key) => return Seen::Value(model.get(key).cloned()),
            Self::Range(read) => return Seen::Page(page(model, read)),
        }
        Seen::Nothing
    }
}

fn add(value: &[u8], operand: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let mut wide = [0; 16];
        let used = bytes.len().min(operand.len());
        wide[..used].copy_from_slice(&bytes[..used]);
        u128::from_le_bytes(wide)
    };
    let sum = number(value).wrapping_add(number(operand));
    sum.to_le_bytes()[..operand.len()].to_vec()
}

fn page(model: &Model, read: &RangeRead) -> RangePage {
    let mut page = RangePage { rows: Vec::new(), more: read.limit == 0 && read.begin < read.end };
    let mut inside: Vec<_> = model.iter().filter(|(key, _)| **key >= read.begin && **key < read.end).collect();
    if read.direction == Direction::Reverse {
        inside.reverse();
    }
    let mut bytes = 0;
    for (key, value) in inside {
        if page.more {
            break;
        }
        bytes += key.len() + value.len();
        page.rows.push((key.clone().into(), value.clone().into()));
        page.more = page.rows.len() == read.limit || bytes >= read.target_bytes;
    }
    page
}
