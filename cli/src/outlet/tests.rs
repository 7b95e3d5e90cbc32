//! Readers of an outlet: one that reads, one that does not, and none.

use super::*;
use std::io::Read;
use std::thread;

fn outlet(file: impl Into<std::os::fd::OwnedFd>) -> Outlet {
    let file = File::from(file.into());
    Outlet::new("a pipe", move || Ok(file), || ())
}

fn put(units: &mut Units, unit: &[u8]) {
    units.put(|bytes| bytes.extend_from_slice(unit));
}

#[test]
fn a_reader_gets_every_unit_in_order() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let dropped = Arc::default();
    let outlet = outlet(writer);
    let mut units = Units::new(&outlet, PAYLOAD_LIMIT, &dropped);
    let mut expected = Vec::new();
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    for n in 0..20_000_u32 {
        let unit = n.to_be_bytes().repeat(1 + n as usize % 40);
        put(&mut units, &unit);
        expected.extend(unit);
        if n % 7 == 0 {
            units.hand_on().expect("written");
        }
    }
    units.hand_on().expect("written");
    outlet.finish().expect("written");
    // The thread has the writing end: it goes with the outlet's end.
    outlet.0.close(&mut outlet.0.lock());
    assert!(reading.join().expect("a thread").expect("read") == expected);
    assert_eq!(dropped.dropped(), 0);
}

#[test]
fn a_reader_that_does_not_read_costs_whole_units_and_each_is_counted() {
    const UNIT: usize = 1316;
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let dropped = Arc::default();
    let outlet = outlet(writer);
    let mut units = Units::new(&outlet, 100_000, &dropped);
    for n in 0..1000_u32 {
        put(&mut units, &[n as u8; UNIT]);
        // Chunks that are larger than what a pipe takes whole.
        if n % 10 == 9 {
            units.hand_on().expect("nothing fails");
        }
    }
    assert!(dropped.dropped() > 500, "the limit holds before the end");
    outlet.finish().expect("nothing fails");
    let dropped = dropped.dropped() as usize;
    let mut all = vec![0; (1000 - dropped) * UNIT];
    reader.read_exact(&mut all).expect("what was not dropped is there");
    assert!(all.chunks(UNIT).all(|unit| unit.iter().all(|&byte| byte == unit[0])), "no unit is torn");
    assert_eq!(rustix::io::ioctl_fionread(&reader).expect("FIONREAD"), 0, "and nothing more");
}

#[test]
fn a_failure_is_reported_and_counted() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let dropped = Arc::default();
    let outlet = outlet(writer);
    let mut units = Units::new(&outlet, PAYLOAD_LIMIT, &dropped);
    put(&mut units, b"one");
    put(&mut units, b"two");
    let _ = units.hand_on();
    let error = outlet.finish().expect_err("nobody reads");
    assert_eq!(error.to_string(), "cannot write to a pipe: Broken pipe (os error 32)");
    assert_eq!(dropped.dropped(), 2);
}

/// Takes each unit but those that are too long, and fails at first.
struct Picky {
    failures: u32,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Device for Picky {
    fn write(&mut self, batch: Batch<'_>, _: &dyn Gate) -> Result<usize, Trouble> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(Trouble::retry(io::ErrorKind::StorageFull.into()));
        }
        if batch.unit(0).len() > 3 {
            return Err(Trouble::skip(io::ErrorKind::InvalidInput.into(), DropReason::TooLong));
        }
        self.taken.lock().expect("a lock").push(batch.unit(0).to_vec());
        Ok(1)
    }
}

#[test]
fn a_unit_that_is_refused_costs_no_other_one_and_a_failure_costs_none() {
    let (taken, counts) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<Counts>::default());
    let outlet = Outlet::over("a device", Picky { failures: 2, taken: Arc::clone(&taken) }, || ());
    let mut units = Units::new(&outlet, PAYLOAD_LIMIT, &counts);
    for unit in ["one", "three", "two"] {
        put(&mut units, unit.as_bytes());
    }
    units.hand_on().expect("nothing fails for good");
    outlet.finish().expect("nothing fails for good");
    assert_eq!(*taken.lock().expect("a lock"), [b"one", b"two"]);
    assert_eq!((counts.written(), counts.bytes()), (2, 6));
    assert_eq!((counts.dropped(), counts.dropped_for(DropReason::TooLong)), (1, 1));
    assert_eq!(outlet.last_error(), Some(io::Error::from(io::ErrorKind::InvalidInput).to_string()));
}
