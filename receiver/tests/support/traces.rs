//! What a receiver could leave behind on the lab's receiving side: an XDP program, memberships.

use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::Interface;

/// The state of the receiving side, to be compared with what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    pub xdp_program: Option<u32>,
    /// Groups by family and by MAC address, as `ip maddress` tells.
    pub groups: String,
    /// Source filters: `mcfilter` and `mcfilter6` below /proc/net.
    pub filters: String,
}

impl Traces {
    pub fn of(lab: &Lab) -> Self {
        // /proc/net would be the namespace of the main thread.
        let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("/proc");
        let filters = lab.rx().run(|| read("mcfilter") + &read("mcfilter6")).expect("run");
        let groups = lab.rx().ip(&["maddress", "show", "dev", lab.rx_interface()]).expect("ip maddress");
        // Those of the interface's own IPv6 addresses, which the kernel joins some time after they were given to it.
        let solicited_node = |line: &str| line.contains("ff02::1:ff") || line.contains("33:33:ff");
        let groups = groups.lines().filter(|line| !solicited_node(line)).map(|line| format!("{line}\n")).collect();
        Self { xdp_program: interface(lab).xdp_program, groups, filters }
    }

    /// As [`Traces::of`], once it is what was `expected`, or has failed to become so.
    ///
    /// The program leaves the interface with the last descriptor of its link. Between fork and exec, a child process
    /// that another thread of this test program starts has one too.
    pub fn settled(lab: &Lab, expected: &Self) -> Self {
        let start = Instant::now();
        loop {
            let now = Self::of(lab);
            if now == *expected || start.elapsed() > FORKS {
                return now;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How long a process that another test is just starting may hold on to copies of this one's descriptors.
const FORKS: Duration = Duration::from_secs(5);

/// The receiving interface as it is now.
pub fn interface(lab: &Lab) -> Interface {
    lab.rx().run(|| Interface::lookup(lab.rx_interface())).expect("run").expect("lookup")
}
