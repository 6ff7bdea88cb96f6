//! Pure: reads just enough of an ELF file to tell a BPF object with BTF from anything else.
//!
//! A linker that quietly dropped the type information, or a compiler that built for the host, would otherwise be
//! noticed only when the daemon loads the object on somebody's server.

use anyhow::{Context as _, bail};

/// `EM_BPF`, linux/elf-em.h.
const MACHINE_BPF: u16 = 247;

/// Fails unless `file` is a BPF object that carries BTF and at least one XDP program; the names of its sections.
pub(crate) fn check_bpf_object(file: &[u8]) -> anyhow::Result<Vec<String>> {
    let sections = sections(file)?;
    for needed in [".BTF", ".BTF.ext"] {
        if !sections.iter().any(|name| name == needed) {
            bail!("the object has no section {needed}: was it linked with --btf and debug information?");
        }
    }
    if !sections.iter().any(|name| name == "xdp" || name.starts_with("xdp.") || name.starts_with("xdp/")) {
        bail!("the object has no XDP program: its sections are {}", sections.join(" "));
    }
    Ok(sections)
}

/// The section names of a 64-bit BPF ELF file.
fn sections(file: &[u8]) -> anyhow::Result<Vec<String>> {
    if file.get(..4) != Some(b"\x7fELF") {
        bail!("not an ELF file");
    }
    let elf = Elf { file, big: file.get(5) == Some(&2) };
    if file.get(4) != Some(&2) {
        bail!("not a 64-bit ELF file");
    }
    let machine = elf.number(18, 2)?;
    if machine != u64::from(MACHINE_BPF) {
        bail!("built for machine {machine}, not for BPF ({MACHINE_BPF})");
    }
    // Offsets are those of Elf64_Ehdr and Elf64_Shdr.
    let table = elf.number(0x28, 8)?;
    let size = elf.number(0x3a, 2)?;
    let count = elf.number(0x3c, 2)?;
    let names = elf.number(0x3e, 2)?;
    let names = elf.number(table + names * size + 0x18, 8)?;
    (0..count).map(|index| elf.text(names + elf.number(table + index * size, 4)?)).collect()
}

struct Elf<'a> {
    file: &'a [u8],
    big: bool,
}

impl Elf<'_> {
    fn number(&self, offset: u64, length: usize) -> anyhow::Result<u64> {
        let start = usize::try_from(offset)?;
        let bytes = self
            .file
            .get(start..)
            .and_then(|rest| rest.get(..length))
            .context("the ELF file is cut short")?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    }

    fn text(&self, offset: u64) -> anyhow::Result<String> {
        let rest = self.file.get(usize::try_from(offset)?..).context("the ELF file is cut short")?;
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header, a section table and its string table, nothing else.
    fn object(machine: u16, names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut table = vec![0; 64];
        for name in names {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
            table.extend(header);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        table[0x18..0x20].copy_from_slice(&64u64.to_le_bytes());
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64, 0);
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[0x28..0x30].copy_from_slice(&(64 + strings.len() as u64).to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&u16::try_from(names.len() + 1).unwrap().to_le_bytes());
        file.extend(strings);
        file.extend(table);
        file
    }

    #[test]
    fn a_bpf_object_with_btf_and_xdp_is_accepted() {
        let sections = check_bpf_object(&object(247, &[".BTF", ".BTF.ext", "xdp", "xdp.frags"])).unwrap();
        assert_eq!(sections, ["", ".BTF", ".BTF.ext", "xdp", "xdp.frags"]);
    }

    #[test]
    fn everything_else_is_refused_by_its_reason() {
        let refusal = |file: &[u8]| check_bpf_object(file).unwrap_err().to_string();
        assert!(refusal(&object(62, &[".BTF", ".BTF.ext", "xdp"])).contains("machine 62"));
        assert!(refusal(&object(247, &["xdp"])).contains("no section .BTF"));
        assert!(refusal(&object(247, &[".BTF", ".BTF.ext", "classifier"])).contains("no XDP program"));
        assert!(refusal(b"bitcode").contains("not an ELF file"));
        let whole = object(247, &[".BTF", ".BTF.ext", "xdp"]);
        assert!(refusal(&whole[..100]).contains("cut short"));
    }
}
