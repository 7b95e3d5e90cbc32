//! Hanging threads for the tests of the watchdog. Not in release builds.

use std::path::Path;
use std::thread;
use std::time::Duration;

/// Waits while the file exists that the environment variable RECEIVER_HANG names after the calling thread's name:
/// `queue-0:/tmp/file`.
pub fn point() {
    let Ok(asked) = std::env::var("RECEIVER_HANG") else { return };
    if let Some((name, file)) = asked.split_once(':')
        && thread::current().name() == Some(name)
    {
        while Path::new(file).exists() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
