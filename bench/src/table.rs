//! The figures as people read them, in Markdown, and as scripts do, in JSON.

use std::collections::BTreeMap;

use crate::machine::Machine;
use crate::peer::Peer;
use crate::samples::Samples;

/// Tables of medians and of ratios, with the machine, the peers, and what did not run.
pub(crate) fn markdown(machine: &Machine, samples: &Samples) -> String {
    let mut text = format!("Machine: {}.\n\nMedians:\n\n", machine.lines.join("; "));
    text += &aligned(&medians(samples));
    if !pairs(&samples.peers()).is_empty() {
        text += "\nHow many times as fast (the median of the rounds' own ratios; above 1, Farshore is faster):\n\n";
        text += &aligned(&ratios(samples));
    }
    let explained = samples.peers().into_iter().map(|peer| format!("- {peer}: {}\n", peer.explanation()));
    let not_run = samples.not_run.iter().map(|(peer, why)| format!("- {peer}: not run: {why}\n"));
    let failed = samples.failures.iter().map(|(peer, why)| format!("- {peer}: failed: {why}\n"));
    text += "\n";
    text.extend(explained.chain(not_run).chain(failed));
    text
}

fn medians(samples: &Samples) -> Vec<Vec<String>> {
    let peers = samples.peers();
    let mut lines =
        vec![["workload", "unit"].into_iter().chain(peers.iter().map(|peer| peer.name())).map(str::to_owned).collect()];
    for row in &samples.rows {
        let values = peers.iter().map(|peer| row.median(*peer).map_or_else(|| "-".to_owned(), number));
        lines.push([row.title.clone(), row.unit.name().to_owned()].into_iter().chain(values).collect());
    }
    lines
}

fn ratios(samples: &Samples) -> Vec<Vec<String>> {
    let pairs = pairs(&samples.peers());
    let heads = pairs.iter().map(|(ours, other)| format!("{ours} / {other}"));
    let mut lines: Vec<Vec<String>> = vec![std::iter::once("workload".to_owned()).chain(heads).collect()];
    for row in &samples.rows {
        let values = pairs.iter().map(|(ours, other)| {
            row.ratio(*ours, *other).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        });
        lines.push(std::iter::once(row.title.clone()).chain(values).collect());
    }
    lines
}

/// Each of ours with each of the others.
fn pairs(peers: &[Peer]) -> Vec<(Peer, Peer)> {
    let (ours, others): (Vec<Peer>, Vec<Peer>) = peers.iter().partition(|peer| peer.is_ours());
    ours.iter().flat_map(|ours| others.iter().map(move |other| (*ours, *other))).collect()
}

/// A Markdown table whose columns line up; the first line is its head, figures go to the right.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("| {cell:<width$} "),
            _ => format!("| {cell:>width$} "),
        });
        padded.chain(["|\n".to_owned()]).collect::<String>()
    };
    let rule: Vec<String> = (widths.iter().enumerate())
        .map(|(column, width)| if column == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
        .collect();
    let (head, body) = lines.split_at(lines.len().min(1));
    head.iter().chain([&rule]).chain(body).map(|cells| line(cells)).collect()
}

/// Three figures that count, thousands set apart.
pub(crate) fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Every sample, in the order of its rounds.
pub(crate) fn json(machine: &Machine, samples: &Samples) -> String {
    let rows: Vec<_> = samples
        .rows
        .iter()
        .map(|row| {
            let values: BTreeMap<&str, Vec<f64>> =
                row.values.iter().map(|(peer, rounds)| (peer.name(), rounds.values().copied().collect())).collect();
            serde_json::json!({ "workload": row.title, "unit": row.unit.name(), "samples": values })
        })
        .collect();
    let told = |peer: &Peer, why: &String| serde_json::json!({ "peer": peer.name(), "why": why });
    let not_run: Vec<_> = samples.not_run.iter().map(|(peer, why)| told(peer, why)).collect();
    let failures: Vec<_> = samples.failures.iter().map(|(peer, why)| told(peer, why)).collect();
    let value = serde_json::json!({ "machine": machine.lines, "rows": rows, "not_run": not_run, "failures": failures });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_figures_that_count() {
        let texts = [0.5, 12.34, 123.4, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.50", "12.3", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn columns_line_up() {
        let lines = [["workload", "a"], ["x", "12,345"]].map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(aligned(&lines), "| workload |      a |\n| -------- | -----: |\n| x        | 12,345 |\n");
    }
}
