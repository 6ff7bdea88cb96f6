//! Coverage-guided fuzzing: builds the targets of `tests/fuzz-targets` with libFuzzer and runs each for a while.
//!
//! It needs no nightly compiler: the instrumentation is LLVM's own pass, which stable rustc runs when it is named. (Only
//! the address sanitizer is nightly's, and nearly all of what is fuzzed is safe Rust.) The build has a target directory of its own, and a `--target`,
//! without which build scripts and macros would be instrumented as well and not link.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, bail};

use crate::{ebpf, run};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this target
    target: Option<String>,
    /// For how long each runs
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

const PACKAGE: &str = "tests/fuzz-targets";

/// What `cargo fuzz` passes, without the sanitizer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Targets that run at a time: each has one busy thread, and half of them a gateway's beside it.
const AT_ONCE: usize = 2;

/// The most of a crash's input that is printed.
const SHOWN: usize = 4096;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| arguments.target.as_ref().is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        bail!("no such target; there are: {}", all.join(", "));
    }
    // The gateway does not compile without its XDP program.
    ebpf::build_shipped()?;
    let host = host()?;
    let home = run::root().join("target/fuzz");
    run::step("building the fuzz targets");
    let mut build = run::cargo();
    build.args(["build", "--quiet", "--package", "gateway-fuzz", "--profile", "fuzz", "--target", &host]);
    build.env("CARGO_TARGET_DIR", &home).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    run::check(&mut build)?;
    let programs = home.join(&host).join("fuzz");
    let results = Mutex::new(Vec::new());
    let queue = Mutex::new(chosen.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(name) = next() {
            let result = fuzz(name, &home, &programs.join(name), arguments.seconds);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    // One that found something stops no other.
    let failed =
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().filter_map(Result::err);
    match failed.map(|error| format!("{error:#}")).collect::<Vec<_>>() {
        failures if failures.is_empty() => Ok(()),
        failures => bail!("{}", failures.join("\n")),
    }
}

/// The names of the binaries in the package's manifest.
fn targets() -> anyhow::Result<Vec<String>> {
    let path = run::root().join(PACKAGE).join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let bins = text.split("[[bin]]").skip(1);
    let name = |bin: &str| {
        let line = bin.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    Ok(bins.filter_map(name).collect())
}

fn host() -> anyhow::Result<String> {
    let version = run::output(run::command("rustc").arg("-vV")).context("`rustc -vV` failed")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Runs one target. What it finds new is kept in `target/fuzz/corpus` for the next run.
fn fuzz(name: &str, home: &Path, program: &Path, seconds: u32) -> anyhow::Result<()> {
    run::step(&format!("fuzzing {name} for {seconds} s"));
    let corpus = home.join("corpus").join(name);
    let crashes = home.join("crashes").join(name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&crashes)?;
    let before = files(&crashes)?;
    let mut command = run::command(program);
    command.arg(&corpus).arg(run::root().join(PACKAGE).join("seeds").join(name));
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    // A hang is a finding as well; memory grows by the corpus and not much more.
    command.args([
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-max_len=8192",
        "-print_final_stats=1",
        "-verbosity=0",
    ]);
    let output = command.output().with_context(|| format!("cannot start `{}`", run::line(&command)))?;
    // In one piece, so that targets do not talk over each other.
    let mut told = std::io::stdout().lock();
    writeln!(told, "==> fuzzed {name}")?;
    told.write_all(&output.stdout)?;
    told.write_all(&output.stderr)?;
    for path in files(&crashes)?.difference(&before) {
        let input = fs::read(path)?;
        let shown = input.get(..SHOWN).unwrap_or(&input);
        writeln!(told, "{}: {} bytes\n\"{}\"", path.display(), input.len(), shown.escape_ascii())?;
    }
    if !output.status.success() {
        let status = output.status;
        bail!("{name}: {status}; the input is printed above; run it again with `{} FILE`", program.display());
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::{PACKAGE, run, targets};

    /// A target without seeds begins at nothing, and one that is not in the manifest is never run.
    #[test]
    fn every_target_is_a_file_with_seeds() {
        let package = run::root().join(PACKAGE);
        let mut names = targets().unwrap();
        for name in &names {
            let seeds = package.join("seeds").join(name);
            assert!(seeds.read_dir().is_ok_and(|mut files| files.next().is_some()), "{}", seeds.display());
        }
        let mut files: Vec<String> = package
            .join("targets")
            .read_dir()
            .unwrap()
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        names.sort();
        assert_eq!(names, files);
    }
}
