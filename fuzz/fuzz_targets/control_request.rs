//! The lines of the control protocol: a request that is read is written as a line that is the same request, and a
//! refusal fits a message, whatever the line holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/control/protocol.rs"]
mod protocol;

use protocol::{Request, parse_reply, refused};

fuzz_target!(|line: &[u8]| {
    match Request::parse(line) {
        Ok(request) => {
            let written = request.to_line();
            assert_eq!(written.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(Request::parse(&written), Ok(request));
        }
        Err(refusal) => {
            assert!(refusal.error.len() < 8000 && !refusal.error.contains(char::is_control));
            let reply = parse_reply(&refused(&refusal)).expect("a reply");
            assert_eq!(reply, Err(refusal));
        }
    }
    let _ = parse_reply(line);
});
