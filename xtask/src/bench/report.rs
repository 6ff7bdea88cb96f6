//! Medians, the table for the README and the raw figures.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::run;

/// Where raw figures and everything a benchmark writes goes.
pub(super) fn directory() -> PathBuf {
    run::root().join("target/bench")
}

/// One series of measurements.
#[derive(Clone, Default)]
pub(super) struct Series(pub(super) Vec<f64>);

impl Series {
    /// The middle one; the mean of the two middle ones when their number is even.
    pub(super) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let half = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(middle(half.wrapping_sub(1)), middle(half))
        } else {
            middle(half)
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// `median [min..max]`.
    pub(super) fn text(&self, decimals: usize) -> String {
        let sorted = self.sorted();
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return "-".to_owned() };
        format!("{:.decimals$} [{min:.decimals$}..{max:.decimals$}]", self.median())
    }

    /// Median of the quotients of what was measured in the same round: the machine's mood cancels out.
    pub(super) fn ratio(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(own, base)| own / base).collect())
    }
}

/// A table in Markdown, its columns aligned for the terminal.
pub(super) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: &str, head: &[&str]) -> Self {
        Self { title: title.to_owned(), rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        println!("\n**{}**\n", self.title);
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} ")).collect();
            println!("|{}|", cells.join("|"));
            if index == 0 {
                println!(
                    "|{}|",
                    widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|")
                );
            }
        }
    }
}

/// Where and when; a figure without it cannot be judged.
pub(super) struct Machine {
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let text = |program: &str, argument: &str| {
            run::output(run::command(program).arg(argument)).unwrap_or_default().trim().to_owned()
        };
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpu = format!("{} ({cores} cores)", model.trim_start_matches([' ', '\t', ':']));
        Self { date: text("date", "+%Y-%m-%d"), kernel: format!("Linux {}", text("uname", "-r")), cpu }
    }

    pub(super) fn line(&self) -> String {
        format!("{}, {}, {}", self.date, self.kernel, self.cpu)
    }
}

/// Writes the raw figures of one benchmark.
pub(super) fn save(name: &str, figures: &Value) -> anyhow::Result<()> {
    let machine = Machine::here();
    let file = directory().join(format!("{name}.json"));
    fs::create_dir_all(directory())?;
    let all = json!({
        "date": machine.date, "kernel": machine.kernel, "cpu": machine.cpu, "figures": figures,
    });
    fs::write(&file, serde_json::to_vec_pretty(&all)?).with_context(|| file.display().to_string())?;
    println!("\nraw figures: {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let series = Series(vec![3.0, 1.0, 2.0]);
        assert_eq!(series.text(1), "2.0 [1.0..3.0]");
        assert!((Series(vec![1.0, 2.0, 4.0, 8.0]).median() - 3.0).abs() < 1e-9);
        let ratio = Series(vec![2.0, 8.0, 3.0]).ratio(&Series(vec![1.0, 2.0, 1.0]));
        assert_eq!(ratio.text(0), "3 [2..4]");
        assert!(Series::default().median().is_nan());
    }
}
