//! The matrix of kernel, mode and test, with counts, from the lines that the guests write.

use std::fmt;
use std::time::Instant;

use serde_json::Value;

/// All rows of all guests.
#[derive(Default)]
pub struct Matrix {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    kernel: String,
    mode: String,
    test: String,
    passed: bool,
    /// Wanted datagrams sent and received, and unwanted ones dropped; or tests passed.
    counts: String,
    seconds: u64,
    note: String,
}

impl Matrix {
    /// Collects the rows of one guest.
    /// `outside` returns what was counted outside the guest since its last call.
    pub fn guest<'a>(&'a mut self, kernel: &str, outside: impl FnMut() -> String + 'a) -> Rows<'a> {
        Rows { rows: &mut self.rows, kernel: kernel.to_owned(), outside: Box::new(outside), test: None, any: false }
    }

    /// The number of rows that passed.
    pub fn passed(&self) -> usize {
        self.rows.iter().filter(|row| row.passed).count()
    }

    /// The number of rows that failed.
    pub fn failed(&self) -> usize {
        self.rows.len() - self.passed()
    }

    /// A line for each row that failed.
    pub fn failures(&self) -> String {
        self.to_string()
            .lines()
            .filter(|line| line.starts_with(verdict(false)))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

/// The rows of one guest.
pub struct Rows<'a> {
    rows: &'a mut Vec<Row>,
    kernel: String,
    outside: Box<dyn FnMut() -> String + 'a>,
    /// The project's test program that is running, its start, and the tests that passed so far.
    test: Option<(String, Instant, Option<String>)>,
    any: bool,
}

impl Rows<'_> {
    /// Reads a line, and shows it or the row in it.
    pub fn take(&mut self, line: &str) {
        if let Some(object) = line.strip_prefix("vm-row ") {
            match serde_json::from_str(object) {
                Ok(row) => self.add(parse(&self.kernel, &row)),
                Err(_) => println!("{line}"),
            }
        } else if let Some(name) = line.strip_prefix("vm-test ") {
            self.test = Some((name.to_owned(), Instant::now(), None));
        } else if let Some(code) = line.strip_prefix("vm-test-end ") {
            let Some((name, start, totals)) = self.test.take() else { return };
            let note = match code {
                "0" => String::new(),
                "124" => "took too long".to_owned(),
                other => format!("ended with {other}; see the log"),
            };
            self.add(Row {
                kernel: self.kernel.clone(),
                mode: "tests".to_owned(),
                test: name,
                passed: code == "0" && totals.is_some(),
                counts: totals.unwrap_or_default(),
                seconds: start.elapsed().as_secs(),
                note,
            });
        } else {
            if let (Some((_, _, totals)), Some(counts)) = (&mut self.test, line.strip_prefix("test result: ")) {
                let words: Vec<&str> = counts.split(['.', ';']).map(str::trim).skip(1).take(2).collect();
                *totals = Some(words.join(", "));
            }
            println!("{line}");
        }
    }

    /// Ends the guest's rows, with its exit code if there is one. A missing row counts as failed.
    pub fn end(mut self, code: Option<i32>) {
        let unfinished = self.test.take().map(|(name, ..)| format!("it ended within the tests {name}"));
        let missing = match code {
            None => Some("the guest died, or took too long".to_owned()),
            Some(_) if !self.any => Some("nothing was run: does the name fit any?".to_owned()),
            Some(code) if code != 0 && !self.rows.iter().any(|row| row.kernel == self.kernel && !row.passed) => {
                Some(format!("its tests ended with exit code {code}"))
            }
            Some(_) => None,
        };
        if let Some(note) = unfinished.or(missing) {
            let (kernel, mode, test) = (self.kernel.clone(), "-".to_owned(), "the guest itself".to_owned());
            self.add(Row { kernel, mode, test, passed: false, counts: String::new(), seconds: 0, note });
        }
    }

    fn add(&mut self, mut row: Row) {
        let outside = (self.outside)();
        if !row.passed && !outside.is_empty() {
            row.note += &format!("; outside the guest: {outside}");
        }
        println!("{} {:>4} s  {} {} {} {}", verdict(row.passed), row.seconds, row.mode, row.test, row.counts, row.note);
        self.any = true;
        self.rows.push(row);
    }
}

fn parse(kernel: &str, row: &Value) -> Row {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let count = |name: &str| row[name].as_u64().unwrap_or_default();
    let (sent, received, blocked) = (count("sent"), count("received"), count("blocked"));
    let mut counts = Vec::new();
    if sent > 0 {
        counts.push(format!("{received} of {sent}"));
    }
    if blocked > 0 {
        counts.push(format!("{blocked} blocked"));
    }
    Row {
        kernel: kernel.to_owned(),
        mode: text("mode"),
        test: text("test"),
        passed: row["passed"] == true,
        counts: counts.join(", "),
        seconds: count("seconds"),
        note: text("note"),
    }
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok    " } else { "FAILED" }
}

impl fmt::Display for Matrix {
    /// Formats a table with one line per row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["kernel", "mode", "test", "datagrams", "note"].map(str::to_owned);
        let cells =
            |row: &Row| [row.kernel.clone(), row.mode.clone(), row.test.clone(), row.counts.clone(), row.note.clone()];
        let lines: Vec<[String; 5]> = std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        let verdicts = std::iter::once("      ").chain(self.rows.iter().map(|row| verdict(row.passed)));
        for (line, verdict) in lines.iter().zip(verdicts) {
            let [kernel, mode, test, counts, note] = line;
            let padded = format!(
                "{verdict}  {kernel:0$}  {mode:1$}  {test:2$}  {counts:3$}  {note}",
                widths[0], widths[1], widths[2], widths[3]
            );
            writeln!(f, "{}", padded.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(lines: &[&str], code: Option<i32>) -> Matrix {
        let mut matrix = Matrix::default();
        let mut rows = matrix.guest("7.3", String::new);
        lines.iter().for_each(|line| rows.take(line));
        rows.end(code);
        matrix
    }

    const ROW: &str =
        r#"vm-row {"test":"t","mode":"copy","passed":true,"sent":5,"received":5,"blocked":2,"seconds":1,"note":""}"#;

    #[test]
    fn rows_and_test_programs_are_counted() {
        let all = ["noise", ROW, "vm-test xsk", "test result: ok. 3 passed; 0 failed; 0 ignored", "vm-test-end 0"];
        let matrix = matrix(&all, Some(0));
        assert_eq!((matrix.passed(), matrix.failed()), (2, 0));
        let shown = matrix.to_string();
        assert!(shown.contains("5 of 5, 2 blocked") && shown.contains("3 passed, 0 failed"), "{shown}");
    }

    #[test]
    fn what_a_guest_leaves_unsaid_has_failed() {
        assert_eq!(matrix(&[], Some(0)).failed(), 1, "nothing was run");
        assert_eq!(matrix(&[ROW], None).failed(), 1, "it died");
        assert_eq!(matrix(&[ROW], Some(1)).failed(), 1, "its program failed before a row");
        assert_eq!(matrix(&[ROW, "vm-test xsk"], Some(0)).failed(), 1, "it ended within a test program");
        assert_eq!(matrix(&["vm-test xsk", "vm-test-end 0"], Some(0)).failed(), 1, "no totals");
        assert_eq!(
            matrix(&["vm-test xsk", "test result: ok. 1 passed; 0 failed", "vm-test-end 101"], Some(0)).failed(),
            1
        );
    }

    #[test]
    fn a_failed_row_has_what_was_counted_outside() {
        let mut matrix = Matrix::default();
        let mut calls = 0;
        let mut rows = matrix.guest("7.3", || {
            calls += 1;
            format!("tap0 tx packets {calls}")
        });
        rows.take(ROW);
        rows.take(&ROW.replace("true", "false"));
        rows.end(Some(1));
        let text = matrix.to_string();
        assert!(text.contains("outside the guest: tap0 tx packets 2") && !text.contains("packets 1"), "{text}");
    }

    #[test]
    fn failed_rows_have_a_line_each() {
        let failures = matrix(&[ROW, "vm-test xsk", "vm-test-end 101"], Some(1)).failures();
        assert_eq!(failures.lines().count(), 1, "{failures}");
        assert!(failures.contains("xsk") && failures.contains("ended with 101; see the log"), "{failures}");
    }
}
