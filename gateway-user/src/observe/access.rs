//! The access log: one JSON object per request, written by a thread of its own.
//!
//! A worker appends lines to its own buffer and hands full buffers over a bounded channel. When the writer is behind,
//! buffers are dropped and their lines counted: the log never holds up a request. Timestamps, names and reasons are
//! the same words as in metrics and status.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::traffic::Traffic;

/// Where the lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    Off,
    #[default]
    Stderr,
    /// Appended to, opened anew after a rotation.
    File(PathBuf),
}

/// Buffers that may wait for the writer.
const QUEUE: usize = 32;
/// Size at which a worker hands its buffer over at once. The writer is woken for each, so they are large; with the line
/// that fills it, a buffer is smaller than what the allocator asks the kernel for anew each time (128 KiB).
const FULL: usize = 120 * 1024;

/// The writer's end that a worker holds.
#[derive(Clone, Debug)]
pub struct Log {
    sender: Option<SyncSender<Batch>>,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
struct Batch {
    text: Vec<u8>,
}

/// A worker's lines that are not handed over yet.
#[derive(Debug)]
pub struct Buffer {
    log: Log,
    text: Vec<u8>,
    lines: u64,
}

// === impl Log ===

impl Log {
    /// Opens `target` and starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not started.
    pub fn open(target: &Target, traffic: Arc<Traffic>) -> io::Result<Self> {
        let sink: Sink = match target {
            Target::Off => return Ok(Self { sender: None, traffic }),
            Target::Stderr => Sink::Stderr,
            Target::File(path) => Sink::File { path: path.clone(), file: append(path)? },
        };
        let (sender, receiver) = sync_channel(QUEUE);
        thread::Builder::new().name("access-log".into()).spawn(move || write(sink, &receiver))?;
        Ok(Self { sender: Some(sender), traffic })
    }

    /// Whether lines are wanted at all.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.sender.is_some()
    }

    /// A buffer for one worker.
    #[must_use]
    pub fn buffer(&self) -> Buffer {
        Buffer { log: self.clone(), text: Vec::with_capacity(FULL + 4096), lines: 0 }
    }
}

// === impl Buffer ===

impl Buffer {
    /// Whether lines are wanted at all.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.log.enabled()
    }

    /// Takes one line, without its newline.
    pub fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.lines += 1;
        if self.text.len() >= FULL {
            self.flush();
        }
    }

    /// Hands over what is there. Called by the worker's tick, so that a quiet worker's lines appear too.
    pub fn flush(&mut self) {
        let Some(sender) = self.log.sender.as_ref().filter(|_| !self.text.is_empty()) else { return };
        let text = std::mem::replace(&mut self.text, Vec::with_capacity(FULL + 4096));
        let lines = std::mem::take(&mut self.lines);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(Batch { text }) {
            self.log.traffic.log_lost.fetch_add(lines, Relaxed);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}

enum Sink {
    Stderr,
    File { path: PathBuf, file: File },
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn write(mut sink: Sink, receiver: &Receiver<Batch>) {
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(batch) => {
                // A full disk must not stop the gateway; the next batch tries again.
                let _ = match &mut sink {
                    Sink::Stderr => io::stderr().lock().write_all(&batch.text),
                    Sink::File { file, .. } => file.write_all(&batch.text),
                };
            }
            Err(RecvTimeoutError::Timeout) => reopen(&mut sink),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Follows a rotation: the path no longer names the open file.
fn reopen(sink: &mut Sink) {
    use std::os::unix::fs::MetadataExt;
    let Sink::File { path, file } = sink else { return };
    let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    if std::fs::metadata(&path).map(identity).ok() != file.metadata().map(identity).ok()
        && let Ok(new) = append(path)
    {
        *file = new;
    }
}

/// Appends `text` as a JSON string with its quotes.
pub fn string(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    // To the end, whatever is found: that is done sixteen bytes at a time.
    if text.iter().fold(true, |all, &byte| all & plain(byte)) {
        line.extend_from_slice(text);
    } else {
        for character in String::from_utf8_lossy(text).chars() {
            match character {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                    let _ = write!(line, "\\u{:04x}", c as u32);
                }
                c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    line.push(b'"');
}

/// Appends a decimal number.
pub fn number(line: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// The times of log lines: most of them are of the same second as the one before.
#[derive(Debug, Default)]
pub struct Stamps {
    second: u64,
    /// From the year to the dot in front of the milliseconds; empty at first.
    text: Vec<u8>,
}

impl Stamps {
    /// Appends a wall-clock time as RFC 3339 in UTC with milliseconds, without quotes.
    pub fn time(&mut self, line: &mut Vec<u8>, unix: Duration) {
        if self.text.is_empty() || self.second != unix.as_secs() {
            self.second = unix.as_secs();
            self.text.clear();
            second(&mut self.text, unix);
        }
        line.extend_from_slice(&self.text);
        padded(line, u64::from(unix.subsec_millis()), 3);
        line.push(b'Z');
    }
}

fn padded(line: &mut Vec<u8>, value: u64, width: u32) {
    for power in (0..width).rev() {
        line.push(b'0' + (value / 10_u64.pow(power) % 10) as u8);
    }
}

/// Appends date and time to the second, and a dot.
fn second(line: &mut Vec<u8>, unix: Duration) {
    let days = (unix.as_secs() / 86_400) as i64;
    let (year, month, day) = civil(days);
    let of_day = unix.as_secs() % 86_400;
    padded(line, year, 4);
    line.push(b'-');
    padded(line, month, 2);
    line.push(b'-');
    padded(line, day, 2);
    line.push(b'T');
    padded(line, of_day / 3600, 2);
    line.push(b':');
    padded(line, of_day / 60 % 60, 2);
    line.push(b':');
    padded(line, of_day % 60, 2);
    line.push(b'.');
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible date algorithms").
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u64, month as u64, day as u64)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{Log, Stamps, Target, number, string};
    use crate::observe::traffic::Traffic;

    #[test]
    fn times_are_rfc_3339() {
        let mut stamps = Stamps::default();
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_827_696, "2000-02-29T12:34:56.007Z"),
            (951_827_696, "2000-02-29T12:34:56.007Z"),
            (1_795_181_843, "2026-11-20T13:37:23.007Z"),
        ] {
            let mut line = Vec::new();
            stamps.time(&mut line, Duration::from_millis(seconds * 1000 + 7));
            assert_eq!(String::from_utf8(line).unwrap(), text);
        }
    }

    #[test]
    fn strings_cannot_break_out_of_their_quotes() {
        let mut line = Vec::new();
        string(&mut line, b"a\"b\\c\nd\x7f\xff\xc3\xa4");
        assert_eq!(String::from_utf8(line).unwrap(), "\"a\\\"b\\\\c\\u000ad\\u007f\u{fffd}ä\"");
    }

    #[test]
    fn numbers_are_decimal() {
        let mut line = Vec::new();
        number(&mut line, 0);
        number(&mut line, u64::MAX);
        assert_eq!(line, b"018446744073709551615");
    }

    #[test]
    fn lines_reach_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = Log::open(&Target::File(path.clone()), Arc::new(Traffic::new(1))).unwrap();
        let mut buffer = log.buffer();
        buffer.push(b"{}");
        drop((buffer, log));
        for _ in 0..200 {
            if std::fs::read(&path).unwrap() == b"{}\n" {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the line never came");
    }
}
