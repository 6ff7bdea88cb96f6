//! The hash of the layout: shown, so that a change of it is seen in a test's output, and held to what it must tell.

use gateway_common::{event::DropEvent, layout::LAYOUT_HASH, table::Slot};

#[test]
fn the_layout_is_named_by_a_hash() {
    println!("layout {LAYOUT_HASH:016x}, slot of {} bytes", size_of::<Slot>());
    assert_ne!(LAYOUT_HASH, 0);
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut bytes = Vec::new();
    for word in 1..=12_u32 {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(1313_u16.to_ne_bytes());
    bytes.extend(1414_u16.to_ne_bytes());
    bytes.extend(15_u16.to_ne_bytes());
    bytes.extend([6, 4]);
    bytes.extend([0; 8]);
    let event = DropEvent::from_bytes(&bytes).unwrap();
    let expected = DropEvent {
        source: [1, 2, 3, 4],
        destination: [5, 6, 7, 8],
        generation: 9,
        ifindex: 10,
        length: 11,
        listener: 12,
        source_port: 1313,
        destination_port: 1414,
        vlan: 15,
        family: 6,
        reason: 4,
        reserved: [0; 2],
    };
    assert_eq!(event, expected);
    assert_eq!(DropEvent::from_bytes(&bytes[1..]), None);
    bytes.push(0);
    assert_eq!(DropEvent::from_bytes(&bytes), None);
}
