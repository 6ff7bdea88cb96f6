//! Which addresses this state directory's daemon added or silenced. Written before one is added and after one is removed,
//! so that the next daemon knows its own after any end, and never takes what somebody else configured.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kernel::{netlink::Silence, pin::namespace};

/// An address on the interface of this number.
pub(super) type Own = (u32, IpNet);

/// The file in the state directory.
const FILE: &str = "addresses.json";

/// Numbers of interfaces mean something in one network namespace, until the next boot.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Contents {
    boot: String,
    namespace: u64,
    addresses: BTreeSet<Own>,
    #[serde(default)]
    silences: BTreeSet<Silence>,
}

/// The record of one state directory.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// What the file says.
    written: BTreeSet<Own>,
    silences: BTreeSet<Silence>,
}

impl Record {
    /// Reads what an earlier daemon wrote.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let path = state.join(FILE);
        let (written, silences) = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(error),
            Ok(bytes) => serde_json::from_slice::<Contents>(&bytes)
                .ok()
                .filter(|contents| contents.boot == boot() && namespace().ok() == Some(contents.namespace))
                .map(|contents| (contents.addresses, contents.silences))
                .unwrap_or_default(),
        };
        Ok(Self { path, written, silences })
    }

    /// What the daemon may call its own.
    pub(super) const fn addresses(&self) -> &BTreeSet<Own> {
        &self.written
    }

    /// The addresses that the daemon silenced.
    pub(super) const fn silences(&self) -> &BTreeSet<Silence> {
        &self.silences
    }

    /// Makes `addresses` the contents, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written; the old one is there.
    pub(super) fn write(&mut self, addresses: &BTreeSet<Own>) -> io::Result<()> {
        self.replace(addresses.clone(), self.silences.clone())
    }

    /// The same for the silenced ones.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn write_silences(&mut self, silences: BTreeSet<Silence>) -> io::Result<()> {
        self.replace(self.written.clone(), silences)
    }

    fn replace(&mut self, addresses: BTreeSet<Own>, silences: BTreeSet<Silence>) -> io::Result<()> {
        if addresses == self.written && silences == self.silences {
            return Ok(());
        }
        let contents = Contents { boot: boot(), namespace: namespace()?, addresses, silences };
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(&contents)?)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        (self.written, self.silences) = (contents.addresses, contents.silences);
        Ok(())
    }
}

/// What the kernel calls this boot. Without `/proc` nothing is recognised, which errs on the safe side.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Record, Silence};

    #[test]
    fn what_was_written_is_read_and_another_boot_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::open(directory.path()).unwrap();
        assert!(record.addresses().is_empty());
        let own = [(3, "192.0.2.1/24".parse().unwrap()), (4, "2001:db8::1/64".parse().unwrap())].into();
        record.write(&own).unwrap();
        let silences = Silence { interface: "eth0".to_owned(), address: "192.0.2.1".parse().unwrap() };
        record.write_silences([silences.clone()].into()).unwrap();
        let read = Record::open(directory.path()).unwrap();
        assert_eq!((read.addresses(), read.silences()), (&own, &[silences].into()));
        let file = directory.path().join("addresses.json");
        let text = fs::read_to_string(&file).unwrap();
        let at = text.find("boot\":\"").unwrap() + 7;
        let other =
            format!("{}{}{}", &text[..at], if &text[at..=at] == "0" { "1" } else { "0" }, &text[at + 1..]);
        fs::write(&file, other).unwrap();
        assert!(Record::open(directory.path()).unwrap().addresses().is_empty());
        fs::write(&file, "not json").unwrap();
        assert!(Record::open(directory.path()).unwrap().addresses().is_empty(), "nothing is taken for ours");
    }
}
