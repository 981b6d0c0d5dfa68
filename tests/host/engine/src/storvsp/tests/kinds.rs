// SPDX-License-Identifier: GPL-2.0

//! Controllers that are no SCSI controllers.

use zerocopy::big_endian::U64;

use super::*;

fn disk(target: u8) -> Disk {
    let address = Address { target, ..Address::default() };
    Disk::new(Box::new(MemoryBacking::new(4 * MIB)), DiskConfig::new(address, "S"))
}

fn up_to_properties(bench: &mut Bench) {
    assert_eq!(step(bench, operation::BEGIN_INITIALIZATION, &[]), status::SUCCESS);
    assert_eq!(step(bench, operation::QUERY_VERSION, &[0x00, 0x06]), status::SUCCESS);
    assert_eq!(step(bench, operation::QUERY_PROPERTIES, &[]), status::SUCCESS);
}

#[test]
fn an_ide_disk_has_its_number_in_its_name() {
    let device = Storvsp::ide(1, disk(1));
    let offer = device.offer();
    assert_eq!(offer.interface, IDE);
    assert_eq!(offer.instance.to_string(), "00000000-0001-8899-0000-000000000000");

    let bench = &mut Bench::new(Box::new(device));
    up_to_properties(bench);
    assert_eq!(step(bench, operation::FCHBA_DATA, &[]), status::INVALID_DEVICE_STATE);
    assert_eq!(step(bench, operation::END_INITIALIZATION, &[]), status::SUCCESS);
}

#[test]
fn an_adapter_of_fibre_channel_says_its_names() {
    let device = Storvsp::fibre_channel(0, vec![disk(0)]);
    assert_eq!(device.offer().interface, FIBRE_CHANNEL);
    let bench = &mut Bench::new(Box::new(device));
    up_to_properties(bench);
    let names = |bytes: &[u8]| {
        let (names, _) = Wwns::read_from_prefix(bytes).unwrap();
        [names.first_port, names.first_node, names.second_port, names.second_node].map(U64::get)
    };
    let answer = ask(bench, &[], &message(operation::FCHBA_DATA, &[])).unwrap();
    let (node, port) = (0xc003_ff00_0000_ffff, 0xc003_ff00_0000_0000);
    assert_eq!(names(&answer.payload), [port, node, 0, 0]);
    assert_eq!(step(bench, operation::END_INITIALIZATION, &[]), status::SUCCESS);

    bench.command(&["names", "1234", "abcd", "second"]).unwrap();
    let event = bench.guest_recv().unwrap();
    assert_eq!((event.kind, event.transaction_id), (PacketKind::InBand, 0));
    assert_eq!(event.data[0], operation::FCHBA_DATA as u8);
    assert_eq!(names(&event.data[HEADER..]), [0, 0, 0xabcd, 0x1234]);
}
