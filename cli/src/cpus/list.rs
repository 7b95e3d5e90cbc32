//! Lists of CPUs as the kernel and taskset(1) write them: `2,4-7`.

use std::fmt;
use std::str::FromStr;

use rustix::thread::CpuSet;

/// CPUs in the order in which they were named, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// The CPUs.
    pub fn cpus(&self) -> &[usize] {
        &self.0
    }

    /// Reads a list of the kernel, such as `/sys/devices/system/cpu/online`. It ends with a line feed, and may be
    /// empty.
    pub fn of_kernel(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::default()),
            list => list.parse().ok(),
        }
    }
}

impl From<&CpuSet> for CpuList {
    fn from(set: &CpuSet) -> Self {
        Self((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse::<usize>() {
            Ok(cpu) if cpu < CpuSet::MAX_CPU && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(cpu),
            Ok(cpu) if cpu >= CpuSet::MAX_CPU => Err(format!("the highest CPU is {}", CpuSet::MAX_CPU - 1)),
            _ => Err("it is not a list of CPUs such as 2 or 2,4-7".to_owned()),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the range {part} ends before it begins; write {last}-{first}"));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(format!("CPU {cpu} is named twice"));
                }
                cpus.push(cpu);
            }
        }
        Ok(Self(cpus))
    }
}

/// With ranges: `0-3,8`.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let Some(&first) = rest.first() {
            let length = rest.iter().enumerate().take_while(|&(at, &cpu)| cpu == first + at).count();
            let (range, after) = rest.split_at(length);
            let comma = if after.is_empty() { "" } else { "," };
            match range {
                [] | [_] => write!(f, "{first}{comma}")?,
                [.., last] => write!(f, "{first}-{last}{comma}")?,
            }
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_order() {
        for (text, cpus) in
            [("0", &[0][..]), ("2,4-7", &[2, 4, 5, 6, 7]), ("7,1-2,0", &[7, 1, 2, 0]), ("3-3", &[3]), ("1023", &[1023])]
        {
            let list: CpuList = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(list.cpus(), cpus, "{text}");
        }
        for (text, written) in [("0,1,2,5", "0-2,5"), ("7,1-2,0", "7,1-2,0"), ("4", "4"), ("3-3,4", "3-4")] {
            assert_eq!(text.parse::<CpuList>().expect(text).to_string(), written);
        }
    }

    #[test]
    fn wrong_lists_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "such as 2 or 2,4-7"),
            ("a", "such as 2 or 2,4-7"),
            ("1,", "such as 2 or 2,4-7"),
            ("1-", "such as 2 or 2,4-7"),
            ("-1", "such as 2 or 2,4-7"),
            ("+1", "such as 2 or 2,4-7"),
            ("1-2-3", "such as 2 or 2,4-7"),
            ("4-2", "write 2-4"),
            ("1,0-3", "CPU 1 is named twice"),
            ("1024", "the highest CPU is 1023"),
            ("0-4294967295", "the highest CPU is 1023"),
        ] {
            let error = text.parse::<CpuList>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn lists_of_the_kernel_may_be_empty() {
        assert_eq!(CpuList::of_kernel("\n"), Some(CpuList::default()));
        assert_eq!(CpuList::of_kernel("0-1\n").map(|list| list.to_string()).as_deref(), Some("0-1"));
        assert_eq!(CpuList::of_kernel("none"), None);
    }
}
