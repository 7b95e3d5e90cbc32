//! Prepares the compiled XDP programs for check-in: removes DWARF and paths of the machine, and keeps BTF.

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Header of a `.BTF` section (the kernel's BTF document, 2.1): magic, version, flags, then five 32-bit numbers.
const BTF_MAGIC: u16 = 0xeb9f;

/// A prefix of source paths, and its replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remap {
    /// The prefix that the compiler writes.
    pub from: String,
    /// Shorter than `from`, since strings are rewritten in place.
    pub to: String,
}

/// Removes DWARF and the relocations that only serve DWARF or BTF (loaders do not apply them), and rewrites the source
/// paths in BTF's line information. The compiler's own `--remap-path-prefix` does not affect the paths of a `core` that
/// was built elsewhere.
///
/// # Errors
///
/// Fails if the file is no such object, or if a source path is still absolute and not one of `remaps`' targets.
pub fn strip(elf: &[u8], remaps: &[Remap]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(elf).context("the compiled XDP program is not an ELF object")?;
    let mut has_btf = false;
    for section in &mut builder.sections {
        let name = String::from_utf8_lossy(&section.name).into_owned();
        if name.starts_with(".debug_") || name.starts_with(".rel.debug_") || name.starts_with(".rel.BTF") {
            section.delete = true;
        } else if name == ".BTF" {
            has_btf = true;
            let SectionData::Data(data) = &mut section.data else { bail!("the section .BTF holds no data") };
            let mut bytes = data.to_vec();
            rewrite_paths(&mut bytes, remaps)?;
            *data = bytes.into();
        }
    }
    if !has_btf {
        bail!("the compiled XDP program has no BTF: was it linked with --btf?");
    }
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        // LLVM keeps the names of sections and symbols in one table, but the writer needs two.
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    builder.set_section_sizes();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("the stripped XDP program cannot be written")?;
    Ok(stripped)
}

/// Rewrites the paths among BTF's strings. Every string keeps its offset; its unused rest becomes empty strings.
fn rewrite_paths(btf: &mut [u8], remaps: &[Remap]) -> Result<()> {
    let strings = btf_strings(btf).context("the section .BTF is malformed")?;
    for string in strings.split_mut(|byte| *byte == 0) {
        let Some(remap) = remaps.iter().find(|remap| string.starts_with(remap.from.as_bytes())) else {
            let known = remaps.iter().any(|remap| string.starts_with(remap.to.as_bytes()));
            if string.starts_with(b"/") && !string.starts_with(b"//") && !known {
                bail!("the XDP program holds a path of this machine: {}", String::from_utf8_lossy(string));
            }
            continue;
        };
        let (from, to, length) = (remap.from.len(), remap.to.as_bytes(), string.len());
        if to.len() > from {
            bail!("{} is longer than {}, which it should replace", remap.to, remap.from);
        }
        string.copy_within(from.., to.len());
        string[..to.len()].copy_from_slice(to);
        string[length - (from - to.len())..].fill(0);
    }
    Ok(())
}

fn btf_strings(btf: &mut [u8]) -> Option<&mut [u8]> {
    let number = |offset: usize| Some(u32::from_le_bytes(btf.get(offset..offset + 4)?.try_into().ok()?) as usize);
    if u16::from_le_bytes(btf.get(..2)?.try_into().ok()?) != BTF_MAGIC {
        return None;
    }
    let (header, offset, length) = (number(4)?, number(16)?, number(20)?);
    let start = header.checked_add(offset)?;
    btf.get_mut(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(strings: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for number in [24, 0, 4, 4, strings.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(strings);
        bytes
    }

    fn remap(from: &str, to: &str) -> Remap {
        Remap { from: from.into(), to: to.into() }
    }

    #[test]
    fn paths_are_rewritten_in_place() {
        let mut bytes = btf(b"\0name\0/usr/src/rustc-1/library/a.rs\0/crates/b.rs\0// text\0");
        rewrite_paths(&mut bytes, &[remap("/usr/src/rustc-1", "/rustc"), remap("/home/u/registry", "/crates")])
            .expect("known paths");
        assert_eq!(bytes, btf(b"\0name\0/rustc/library/a.rs\0\0\0\0\0\0\0\0\0\0\0/crates/b.rs\0// text\0"));
    }

    #[test]
    fn other_absolute_paths_are_refused() {
        let error =
            rewrite_paths(&mut btf(b"\0/home/user/a.rs\0"), &[remap("/usr/src", "/rustc")]).expect_err("a path");
        assert!(error.to_string().contains("/home/user/a.rs"), "{error}");
        assert!(rewrite_paths(&mut btf(b"\0/a/b\0"), &[remap("/a", "/longer")]).is_err());
    }

    #[test]
    fn what_is_no_btf_is_refused() {
        assert!(rewrite_paths(&mut [0; 64], &[]).is_err());
        assert!(rewrite_paths(&mut btf(b"\0")[..20].to_vec(), &[]).is_err());
        let mut lying = btf(b"\0");
        lying[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(rewrite_paths(&mut lying, &[]).is_err());
        assert!(strip(b"no ELF", &[]).is_err());
    }
}
