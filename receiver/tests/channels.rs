//! `ethtool -L` while packets flow: noticed and reported, and nothing is lost. What comes on queues without a socket
//! takes the kernel path.

mod support;

use netlab::{Channels, Lab};
use receiver::{Handle, Path, ReceiveMode};
use support::{NATIVE, PATIENCE, burst, causes, open, queue_end, stream, subscription};

const COUNT: u64 = 1_600;
/// Flows, so that each of two queues gets some.
const FLOWS: u16 = 16;

fn wait_for_warnings(handle: &Handle, count: usize) -> String {
    let start = std::time::Instant::now();
    while handle.warnings().len() < count {
        assert!(start.elapsed() < PATIENCE, "message only {:?}", handle.warnings());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    handle.warnings().remove(count - 1)
}

#[test]
fn queues_come_and_go_under_way() {
    NATIVE.into_iter().for_each(queues_come_and_go);
}

fn queues_come_and_go(mode: ReceiveMode) {
    let lab = Lab::builder().queues(2).build().expect("lab");
    let rx = |count| lab.rx().set_channels(lab.rx_interface(), Channels::Rx, count).expect("receive queues");
    let tx = |count| lab.tx().set_channels(lab.tx_interface(), Channels::Tx, count).expect("transmit queues");
    // The kernel takes XDP on an end with no fewer receive queues than the other has transmit queues.
    tx(1);
    rx(1);
    let wanted = subscription("10.0.0.1@232.1.1.1:5000");
    let mut receiver = open(&lab, |builder| builder.subscribe(wanted).mode(mode)).expect("receiver");
    let handle = receiver.handle();
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.rate, config.traffic.source_ports) = (20_000, FLOWS);
    let mut round = |by_kernel: &mut u64| {
        let came = burst(&lab, &mut receiver, config.clone(), COUNT, |datagram| {
            *by_kernel += u64::from(datagram.path() == Path::Kernel);
        });
        assert_eq!(came, COUNT);
    };

    let mut by_kernel = 0;
    round(&mut by_kernel);
    assert_eq!(by_kernel, 0, "one queue, and it is served");

    rx(2);
    tx(2);
    let message = wait_for_warnings(&handle, 1);
    let end = queue_end(mode);
    assert!(message.contains(&format!("2 receive queues now, 1 before; 1 have no {end}")), "{message}");
    assert_eq!(handle.interface().queues, 2);
    round(&mut by_kernel);
    assert!((1..COUNT).contains(&by_kernel), "{by_kernel} of {COUNT} came on the other queue");

    tx(1);
    rx(1);
    let message = wait_for_warnings(&handle, 2);
    assert!(message.contains(&format!("each has its {end}")), "{message}");
    let before = by_kernel;
    round(&mut by_kernel);
    assert_eq!(by_kernel, before);

    let ledger = handle.ledger().expect("ledger");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{}", causes(&ledger));
    assert_eq!(handle.warnings().len(), 2, "each change is reported once");
}
