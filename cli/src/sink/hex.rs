//! `--hex`: each datagram as a block of lines: its sender, then offsets, bytes in hexadecimal, and their ASCII
//! characters.

use std::io::Write;

use receiver::{Datagram, Path};

use super::traits::{Context, Sink};
use super::written::Written;
use crate::outlet::{Outlet, PAYLOAD_LIMIT};

const PER_LINE: usize = 16;

/// To standard output, or to standard error where payloads have taken that.
pub fn open(to_stderr: bool, context: &Context<'_>) -> Box<dyn Sink> {
    let outlet = if to_stderr {
        Outlet::stderr().clone()
    } else {
        Outlet::stdout_for_payloads("standard output", context.on_failure())
    };
    Box::new(Written::new(outlet, PAYLOAD_LIMIT, write_datagram))
}

fn write_datagram(out: &mut Vec<u8>, datagram: &Datagram<'_>) {
    // Writing to memory does not fail.
    let _ = write_block(out, datagram);
}

fn write_block(out: &mut Vec<u8>, datagram: &Datagram<'_>) -> std::io::Result<()> {
    let nanoseconds = datagram.time().nanoseconds;
    let path = match datagram.path() {
        Path::Xdp => "xdp",
        Path::Kernel => "kernel",
    };
    let (source, group) = (datagram.source(), std::net::SocketAddr::new(datagram.group(), datagram.port()));
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    writeln!(out, "{seconds}.{rest:09} {source} > {group} {path} {} bytes", datagram.payload().len())?;
    write_dump(out, datagram.payload())?;
    writeln!(out)
}

fn write_dump(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    for (number, line) in bytes.chunks(PER_LINE).enumerate() {
        write!(out, "{:04x} ", number * PER_LINE)?;
        for at in 0..PER_LINE {
            match line.get(at) {
                Some(byte) => write!(out, " {byte:02x}")?,
                None => write!(out, "   ")?,
            }
        }
        let text: String =
            line.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' }).collect();
        writeln!(out, "  |{text}|")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dump() {
        let mut out = Vec::new();
        write_dump(&mut out, b"0123456789abcdef\x00\xffz").expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("ASCII"),
            "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\n\
             0010  00 ff 7a                                         |..z|\n"
        );
    }
}
