//! Medians, ranges, the machine's description, and the files that keep the raw figures.

use std::{fs, path::Path};

use serde::Serialize;

/// The middle of a set of figures with its range.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `figures`, which must not be empty.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        assert!(!sorted.is_empty(), "no figures");
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Self { median, min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

/// What the figures were measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
}

impl Machine {
    /// Reads `/proc`.
    pub(crate) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_else(|| "unknown CPU".to_owned());
        let date = std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
        Self {
            date: date
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpu,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, Linux {}, {} × {}", self.date, self.kernel, self.cores, self.cpu)
    }
}

/// Keeps the raw figures of one bench.
pub(crate) fn keep(directory: &Path, name: &str, raw: &impl Serialize) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{name}.json"));
    let document = serde_json::json!({ "machine": Machine::this(), "rounds": raw });
    fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
    println!("\nraw figures: {}", path.canonicalize()?.display());
    Ok(())
}
