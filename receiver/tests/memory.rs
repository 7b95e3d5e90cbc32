//! The memory of a receiver with one queue and one subscription: the XDP program's maps, which are allocated whole
//! when it starts, and what becomes resident in the process. Needs root.

mod support;

use std::collections::BTreeMap;
use std::fs;

use aya::maps::loaded_maps;
use netlab::Lab;
use receiver::{ReceiveMode, Wait};
use support::fdinfo::{number, of_this_process};
use support::{RINGS, open, subscription};

const MIB: f64 = (1 << 20) as f64;

/// The bytes of each map that this process has open, by its id (`memlock`, proc_pid_fdinfo(5)).
fn maps() -> BTreeMap<u32, u64> {
    of_this_process().filter_map(|info| Some((number(&info, "map_id:")? as u32, number(&info, "memlock:")?))).collect()
}

/// Bytes of resident memory of this process: of its own, and of mapped files and maps.
fn resident() -> [u64; 2] {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    ["RssAnon:", "RssFile:"].map(|name| {
        let text = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        text.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    })
}

#[test]
fn one_queue_and_one_subscription_take_little_memory() {
    // Upper bounds of the maps. The counters of each group slot are kept for each CPU.
    let counters = 0.3 * aya::util::nr_cpus().expect("a number of CPUs") as f64;
    for (mode, limit) in RINGS
        .map(|mode| (mode, 9.0 + counters))
        .into_iter()
        .chain([(ReceiveMode::Copy, 1.0 + counters), (ReceiveMode::Socket, 0.0)])
    {
        let lab = Lab::new().expect("lab");
        let (before, resident_before) = (maps(), resident());
        let receiver = open(&lab, |builder| builder.mode(mode).subscribe(subscription("10.0.0.1@232.1.1.1:5000")));
        let mut receiver = receiver.expect("receiver");
        assert_eq!(receiver.poll(Wait::Never, |_| {}).expect("poll"), 0);
        let names: BTreeMap<u32, String> =
            loaded_maps().flatten().map(|map| (map.id(), map.name_as_str().unwrap_or("?").to_owned())).collect();
        let mut total = 0;
        for (id, bytes) in maps().into_iter().filter(|(id, _)| !before.contains_key(id)) {
            println!("  {:16} {:8.3} MiB", names.get(&id).map_or("?", String::as_str), bytes as f64 / MIB);
            total += bytes;
        }
        let resident = resident();
        let [own, mapped] = [0, 1].map(|at| resident[at].saturating_sub(resident_before[at]) as f64 / MIB);
        let total = total as f64 / MIB;
        println!("mode {mode}: {total:.2} MiB of maps, {own:.2} MiB resident, {mapped:.2} MiB mapped and resident");
        assert_eq!(total > 0.0, mode != ReceiveMode::Socket, "mode {mode}: {total:.2} MiB of maps");
        assert!(total <= limit, "mode {mode}: {total:.2} MiB of maps, more than {limit:.2}");
    }
}
