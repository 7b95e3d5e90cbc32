//! Labs on the running kernel. They need root, or the capabilities that it has in a user namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netlab::{Channels, End, Error, Lab, LinkOptions, Namespace, connect};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Long enough for a busy machine; reached only when a datagram is lost.
const PATIENCE: Duration = Duration::from_secs(10);

fn bound(
    namespace: &Namespace,
    address: impl Into<IpAddr>,
    port: u16,
) -> Result<UdpSocket, Box<dyn std::error::Error>> {
    let address = SocketAddr::new(address.into(), port);
    let open = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    Ok(namespace.run(open)??)
}

fn one_way(from: &UdpSocket, to: &UdpSocket, target: SocketAddr) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    from.send_to(b"there", target)?;
    let mut buffer = [0; 16];
    let (length, source) = to.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"there");
    Ok(source)
}

#[test]
fn unicast_goes_there_and_back_in_both_families_from_every_address() -> Outcome {
    let lab = Lab::new()?;
    let v4 = lab.sources_v4().into_iter().map(|source| (IpAddr::from(source), IpAddr::from(lab.rx_v4())));
    let v6 = lab.sources_v6().into_iter().map(|source| (IpAddr::from(source), IpAddr::from(lab.rx_v6())));
    for (source, target) in v4.chain(v6) {
        let near = bound(lab.tx(), source, 0)?;
        let far = bound(lab.rx(), target, 0)?;
        let seen = one_way(&near, &far, far.local_addr()?)?;
        assert_eq!(seen, near.local_addr()?);
        assert_eq!(one_way(&far, &near, seen)?, far.local_addr()?);
    }
    Ok(())
}

#[test]
fn multicast_arrives_at_a_joined_socket_in_both_families() -> Outcome {
    let lab = Lab::new()?;

    let group = Ipv4Addr::new(239, 1, 1, 1);
    let receiver = bound(lab.rx(), group, 5000)?;
    receiver.join_multicast_v4(&group, &lab.rx_v4())?;
    let sender = bound(lab.tx(), lab.sources_v4()[1], 0)?;
    let source = one_way(&sender, &receiver, SocketAddr::new(group.into(), 5000))?;
    assert_eq!(source.ip(), lab.sources_v4()[1]);

    let group: Ipv6Addr = "ff3e::1".parse()?;
    let receiver = bound(lab.rx(), group, 5000)?;
    receiver.join_multicast_v6(&group, lab.rx().interface_index(lab.rx_interface())?)?;
    let sender = bound(lab.tx(), lab.sources_v6()[0], 0)?;
    let source = one_way(&sender, &receiver, SocketAddr::new(group.into(), 5000))?;
    assert_eq!(source.ip(), lab.sources_v6()[0]);
    Ok(())
}

#[test]
fn nothing_is_left_outside() -> Outcome {
    let outside = || -> io::Result<_> {
        let links = std::process::Command::new("ip").args(["-brief", "link"]).output()?.stdout;
        let named = std::fs::read_dir("/run/netns").map(Iterator::count).unwrap_or(0);
        Ok((String::from_utf8_lossy(&links).into_owned(), named, std::fs::read_link("/proc/thread-self/ns/net")?))
    };
    let before = outside()?;
    let mut lab = Lab::builder().rx_interface("netlab-left").tx_interface("netlab-right").build()?;
    lab.add_namespace("third")?;
    assert_eq!(outside()?, before);
    assert!(lab.rx().ip(&["-brief", "link"])?.contains("netlab-left"));
    drop(lab);
    assert_eq!(outside()?, before);
    Ok(())
}

#[test]
fn a_link_ends_with_the_namespace_at_its_other_end() -> Outcome {
    let stays = Namespace::new("stays")?;
    let goes = Namespace::new("goes")?;
    connect(
        End { namespace: &stays, interface: "a" },
        End { namespace: &goes, interface: "b" },
        LinkOptions::default(),
    )?;
    assert!(stays.interface_index("a").is_ok());
    drop(goes);
    // The kernel takes namespaces down in a worker of its own.
    for _ in 0..1000 {
        if matches!(stays.interface_index("a"), Err(Error::Interface { .. })) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the namespace is still there: something holds it");
}

#[test]
fn queues_names_and_mtu_are_as_asked_for() -> Outcome {
    let lab = Lab::builder().rx_queues(4).tx_queues(3).mtu(3000).tx_interface("sender0").sources(3).build()?;
    for (namespace, interface) in [(lab.rx(), "veth-rx"), (lab.tx(), "sender0")] {
        let link = namespace.ip(&["-details", "link", "show", "dev", interface])?;
        for part in ["mtu 3000", "numrxqueues 4", "numtxqueues 3"] {
            assert!(link.contains(part), "{part} is missing: {link}");
        }
    }
    let addresses = lab.tx().ip(&["-brief", "address", "show", "dev", "sender0"])?;
    for part in ["10.0.0.1/24", "10.0.0.3/24", "2001:db8::3/64", "fe80::3/64"] {
        assert!(addresses.contains(part), "{part} is missing: {addresses}");
    }
    assert_eq!(addresses.matches('/').count(), 9, "three of each kind and no other: {addresses}");
    Ok(())
}

#[test]
fn commands_and_threads_run_inside_and_the_caller_stays_outside() -> Outcome {
    let here = std::fs::read_link("/proc/thread-self/ns/net")?;
    let namespace = Namespace::new("inside")?;
    let there = namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net"))??;
    assert_ne!(here, there);

    let output = namespace.command("readlink").arg("/proc/self/ns/net").output()?;
    assert_eq!(String::from_utf8(output.stdout)?.trim(), there.to_string_lossy());
    let mut child = namespace.command("cat").stdin(std::process::Stdio::piped()).spawn()?;
    let childs = std::fs::read_link(format!("/proc/{}/ns/net", child.id()))?;
    drop(child.stdin.take());
    assert!(child.wait()?.success());
    assert_eq!(childs, there);
    let threads = namespace.spawn(|| std::fs::read_link("/proc/thread-self/ns/net"))?;
    assert_eq!(threads.join().map_err(|_| "the thread panicked")??, there);

    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net")?, here);
    Ok(())
}

#[test]
fn channels_and_gro_are_set_counters_are_read_and_refusals_name_the_setting() -> Outcome {
    let lab = Lab::builder().rx_queues(2).build()?;
    lab.rx().set_channels(lab.rx_interface(), Channels::Rx, 1)?;
    lab.rx().set_channels(lab.rx_interface(), Channels::Rx, 2)?;
    lab.rx().set_gro(lab.rx_interface(), true)?;
    let refused = lab.rx().set_channels(lab.rx_interface(), Channels::Rx, 3).expect_err("there are 2").to_string();
    assert!(refused.contains("cannot set Rx queues to 3 on the interface veth-rx"), "{refused}");
    let counters = lab.rx().driver_counters(lab.rx_interface())?;
    assert!(counters.iter().any(|(name, _)| name == "rx_queue_1_xdp_packets"), "{counters:?}");
    assert!(lab.rx().driver_counters("lo")?.is_empty());
    for absent in ["absent", "longer-than-any-name"] {
        assert!(matches!(lab.rx().set_gro(absent, true), Err(Error::Ethtool { .. })));
    }
    Ok(())
}

#[test]
fn errors_show_the_command_and_its_complaint() -> Outcome {
    let namespace = Namespace::new("wrong")?;
    let message = namespace.ip(&["link", "set", "dev", "absent", "up"]).expect_err("no such device").to_string();
    assert!(message.contains("ip link set dev absent up"), "{message}");
    assert!(message.contains("absent\""), "{message}");
    assert!(matches!(Lab::builder().queues(0).build(), Err(Error::Range { .. })));
    assert!(matches!(Lab::builder().sources(100).build(), Err(Error::Range { .. })));
    assert!(matches!(Lab::builder().mtu(100).build(), Err(Error::Range { .. })));
    assert!(
        matches!(namespace.command("/no/such/program").spawn(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    );
    Ok(())
}
