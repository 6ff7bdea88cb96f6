//! Pure: policies in a few words.

use gateway_user::{
    base::{Generation, Name, Refusal},
    snapshot::filter::{
        Attachment, Echo, FilterEntry, FilterListener, FilterPlan, FilterTables, ListenAddress,
        ListenerOptions,
    },
};

/// The interface that programs under test belong to.
pub(crate) const WAN: u32 = 7;
/// Another one.
pub(crate) const LAN: u32 = 8;

/// `wan`, `wan.5` (VLAN 5 of it) and `lan`; `gone` does not exist.
pub(crate) fn resolve(name: &str) -> Result<Option<Attachment>, Refusal> {
    Ok(match name {
        "wan" => Some(Attachment { ifindex: WAN, vlan: 0 }),
        "wan.5" => Some(Attachment { ifindex: WAN, vlan: 5 }),
        "lan" => Some(Attachment { ifindex: LAN, vlan: 0 }),
        _ => None,
    })
}

/// An open public listener with this counter id, on port 443.
pub(crate) fn listener(id: u16, interface: &str, addresses: &[&str], entries: &[&str]) -> FilterListener {
    FilterListener {
        large: None,
        id,
        name: Name::new(&format!("l{id}")).unwrap(),
        interface: interface.to_owned(),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        ports: vec![443],
        open: true,
        echo: Echo::Everybody,
        options: ListenerOptions::default(),
        entries: entries.iter().zip(0..).map(|(text, id)| entry(text, id)).collect(),
    }
}

fn address(text: &str) -> ListenAddress {
    if text == "*" { ListenAddress::Any } else { ListenAddress::Ip(text.parse().unwrap()) }
}

/// An allowed entry; `-` in front makes it a draining one.
fn entry(text: &str, id: u8) -> FilterEntry {
    let (draining, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    FilterEntry { cidr: text.parse().unwrap(), id, draining }
}

pub(crate) fn plan(generation: u64, listeners: Vec<FilterListener>) -> FilterPlan {
    FilterPlan { generation: Generation(generation), listeners }
}

pub(crate) fn build(plan: &FilterPlan) -> Result<FilterTables, Refusal> {
    FilterTables::build(plan, resolve)
}

pub(crate) fn tables(generation: u64, listeners: Vec<FilterListener>) -> FilterTables {
    FilterTables::build(&plan(generation, listeners), resolve).unwrap()
}
