//! The shipped object, loaded into the kernel and run on crafted frames (`BPF_PROG_TEST_RUN`), without any interface.

use std::{env, fs, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::Program,
};
use gateway_common::{
    counters::{Counter, REASONS, entry_index, verdict_index},
    decide::Verdict,
    defence::{Ban, Budget, NOTE, Source},
    event::DropEvent,
    explain,
    list::{SIZES, length4, length6, number},
    reason::{Action, Reason},
    table::{EndpointKey, PORT_MARKS, PORT_WORDS, PortMarks, Slot, port_index},
};
use gateway_user::snapshot::filter::{FilterTables, ListNumbers};

/// The entry points that judge: two for XDP, and the classifier.
pub(crate) const ENTRY_POINTS: [&str; 3] = ["gateway", "gateway_frags", CLASSIFIER];
const CLASSIFIER: &str = "gateway_tc";
/// The entry point that only explains.
const EXPLAIN: &str = "gateway_explain";

/// `XDP_DROP` and `XDP_PASS` (linux/bpf.h).
const DROP: u32 = 1;
const PASS: u32 = 2;
/// `TC_ACT_SHOT` and `TC_ACT_UNSPEC` (linux/pkt_cls.h).
const TC_DROP: u32 = 2;
const TC_NEXT: u32 = u32::MAX;

/// The loaded object.
pub(crate) struct Rig {
    ebpf: Ebpf,
    bank: u32,
    rows: Vec<EndpointKey>,
}

/// A large list as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value<const LENGTH: usize, N>([N; LENGTH]);

impl<const LENGTH: usize, N: Copy> Value<LENGTH, N> {
    fn of(value: &[N]) -> Self {
        Self(value.try_into().unwrap())
    }
}

// SAFETY: integers.
#[expect(unsafe_code, reason = "aya moves lists into maps as bytes")]
unsafe impl<const LENGTH: usize> aya::Pod for Value<LENGTH, u32> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "aya moves lists into maps as bytes")]
unsafe impl<const LENGTH: usize> aya::Pod for Value<LENGTH, u64> {}

/// What happened to one packet, as the counters tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) action: Action,
    pub(crate) verdict: Verdict,
}

/// Where the object is: `GATEWAY_EBPF_OBJECT`, or where `cargo xtask build-ebpf` puts it.
fn object() -> Vec<u8> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/gateway-ebpf");
    let path = env::var_os("GATEWAY_EBPF_OBJECT").map_or_else(|| PathBuf::from(default), PathBuf::from);
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}: `cargo xtask build-ebpf` makes the object", path.display())
    })
}

// === impl Rig ===

impl Rig {
    /// Loads the object as the instance of the interface numbered `interface`.
    pub(crate) fn load(interface: u32) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this suite loads programs into the kernel: run it as root"
        );
        let mut ebpf = EbpfLoader::new()
            .override_global("INTERFACE", &interface, true)
            .load(&object())
            .expect("the object loads");
        for name in ENTRY_POINTS.into_iter().chain([EXPLAIN]) {
            let program = ebpf.program_mut(name).expect(name);
            if let Program::Xdp(program) = program {
                program.load()
            } else if let Program::SchedClassifier(program) = program {
                program.load()
            } else {
                panic!("{name} is an entry point of another type")
            }
            .unwrap_or_else(|error| panic!("the verifier takes {name}: {error:#?}"));
        }
        Self { ebpf, bank: 1, rows: Vec::new() }
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.ebpf.map_mut(name).unwrap_or_else(|| panic!("the object has a map {name}"))
    }

    fn mark(&mut self, marks: PortMarks) {
        Array::<_, PortMarks>::try_from(self.map(".data.MARKS")).unwrap().set(0, marks, 0).unwrap();
    }

    /// Makes `tables` live as the daemon does: aside, then with one update; then forgets the previous generation.
    pub(crate) fn publish(&mut self, tables: &FilterTables) {
        self.mark([u64::MAX; PORT_MARKS as usize]);
        let bank = 1 - self.bank;
        let lists = self.place(tables, bank);
        let mut slots = Array::<_, Slot>::try_from(self.map("SLOTS")).unwrap();
        for (number, slot) in tables.slots(bank, &lists) {
            slots.set(number, slot, 0).unwrap();
        }
        let mut endpoints = HashMap::<_, EndpointKey, u32>::try_from(self.map("ENDPOINTS")).unwrap();
        for (key, number) in tables.endpoints(bank) {
            endpoints.insert(key, number, 0).unwrap();
        }
        let mut ports = Array::<MapData, u32>::create(PORT_WORDS, 0).unwrap();
        for (index, word) in (0..).zip(tables.port_table(bank)).filter(|(_, word)| *word != 0) {
            ports.set(index, word, 0).unwrap();
        }
        let mut live = ArrayOfMaps::<_, Array<MapData, u32>>::try_from(self.map("PORTS")).unwrap();
        live.set(0, &ports, 0).unwrap();
        // Until here every port is marked.
        self.mark(tables.port_marks());

        let rows = tables.endpoints(bank).map(|(key, _)| key).collect::<Vec<_>>();
        let old = std::mem::replace(&mut self.rows, rows);
        let mut endpoints = HashMap::<_, EndpointKey, u32>::try_from(self.map("ENDPOINTS")).unwrap();
        for key in old {
            if tables.endpoints(bank).all(|(new, _)| new != key) {
                endpoints.remove(&key).unwrap();
            }
        }
        self.bank = bank;
    }

    /// Puts the large lists where only the generation of `bank` looks: their indexes alternate.
    fn place(&mut self, tables: &FilterTables, bank: u32) -> Vec<ListNumbers> {
        let mut numbers = Vec::new();
        for (list, index) in tables.lists().iter().zip((0..).map(|place| 2 * place + bank)) {
            let mut v4 = 0;
            if let Some(table) = list.v4() {
                match table.size {
                    0 => self.put(
                        "LISTS4_S",
                        index,
                        Box::new(Value::<{ length4(SIZES[0]) }, u32>::of(&table.value)),
                    ),
                    1 => self.put(
                        "LISTS4_M",
                        index,
                        Box::new(Value::<{ length4(SIZES[1]) }, u32>::of(&table.value)),
                    ),
                    size => panic!("lists of size {size} are tried by the suite kernel_room"),
                }
                v4 = number(table.size, index);
            }
            let mut v6 = 0;
            if let Some(table) = list.v6() {
                match table.size {
                    0 => self.put(
                        "LISTS6_S",
                        index,
                        Box::new(Value::<{ length6(SIZES[0]) }, u64>::of(&table.value)),
                    ),
                    size => panic!("lists of size {size} are tried by the suite kernel_room"),
                }
                v6 = number(table.size, index);
            }
            numbers.push(ListNumbers { v4, v6 });
        }
        numbers
    }

    #[expect(clippy::boxed_local, reason = "160 KiB")]
    fn put<V: aya::Pod>(&mut self, name: &str, index: u32, value: Box<V>) {
        let mut inner = Array::<MapData, V>::create(1, 0).unwrap();
        inner.set(0, *value, 0).unwrap();
        let mut lists = ArrayOfMaps::<_, Array<MapData, V>>::try_from(self.map(name)).unwrap();
        lists.set(index, &inner, 0).unwrap();
    }

    /// Makes a port table live whose only word is `word` at `port`.
    pub(crate) fn publish_word(&mut self, port: u16, word: u32) {
        let mut ports = Array::<MapData, u32>::create(PORT_WORDS, 0).unwrap();
        ports.set(port_index(port), word, 0).unwrap();
        self.mark([u64::MAX; PORT_MARKS as usize]);
        let mut live = ArrayOfMaps::<_, Array<MapData, u32>>::try_from(self.map("PORTS")).unwrap();
        live.set(0, &ports, 0).unwrap();
    }

    /// Runs the entry point `name` on `frame` once.
    pub(crate) fn run(&self, name: &str, frame: &[u8]) -> Action {
        match (name, self.returned(name, frame)) {
            (CLASSIFIER, TC_DROP) => Action::Drop,
            (CLASSIFIER, TC_NEXT) => Action::Pass,
            (CLASSIFIER, other) => panic!("{name} returned {other}"),
            (_, DROP) => Action::Drop,
            (_, PASS) => Action::Pass,
            (_, other) => panic!("{name} returned {other}"),
        }
    }

    /// What the explaining entry point says of `frame`.
    pub(crate) fn explain(&self, frame: &[u8]) -> Verdict {
        explain::verdict(self.returned(EXPLAIN, frame)).expect("a verdict")
    }

    fn returned(&self, name: &str, frame: &[u8]) -> u32 {
        let mut out = vec![0; frame.len() + 64];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let program = self.ebpf.program(name).unwrap();
        let result = if let Program::Xdp(program) = program {
            program.test_run(options)
        } else if let Program::SchedClassifier(program) = program {
            program.test_run(options)
        } else {
            panic!("{name} is an entry point of another type")
        }
        .unwrap_or_else(|error| panic!("the kernel runs {name} on {frame:02x?}: {error}"));
        assert_eq!(result.data_size_out as usize, frame.len());
        assert!(out.starts_with(frame), "the filter never changes a packet");
        result.return_value
    }

    /// Whether the entry point can be run on `frame`: for a test the kernel makes no socket buffer that ends before its
    /// IP header does (`bpf_prog_test_run_skb`).
    pub(crate) fn takes(name: &str, frame: &[u8]) -> bool {
        let least = match frame.get(12..14) {
            Some([0x08, 0x00]) => 14 + 20,
            Some([0x86, 0xdd]) => 14 + 40,
            _ => 15,
        };
        name != CLASSIFIER || frame.len() >= least
    }

    /// Runs the entry point on `frame` and reads the verdict from what changed in the counters of `listeners` (and of
    /// none). Exactly one verdict counter may change, and no more than one entry counter.
    pub(crate) fn observe(&mut self, name: &str, frame: &[u8], listeners: &[u32]) -> Observed {
        let listeners = [&[0], listeners].concat();
        let before = self.counters(&listeners);
        let action = self.run(name, frame);
        let after = self.counters(&listeners);
        let changed = before.iter().zip(&after).filter(|(before, after)| before.1 != after.1);
        let mut verdict = Verdict::NOT_LISTENER;
        let mut verdicts = 0;
        for ((place, before), (_, after)) in changed {
            assert_eq!(after.packets, before.packets + 1);
            assert_eq!(after.bytes, before.bytes + frame.len() as u64);
            match *place {
                Place::Verdict(listener, reason) => {
                    verdicts += 1;
                    (verdict.listener, verdict.reason) = (listener, reason);
                }
                Place::Entry(listener, id) => {
                    assert_eq!((verdict.listener, verdict.entry), (listener, Verdict::NO_ENTRY));
                    verdict.entry = id;
                }
            }
        }
        assert!(verdicts <= 1, "a packet is counted once");
        Observed { action, verdict }
    }

    fn counters(&self, listeners: &[u32]) -> Vec<(Place, Counter)> {
        let verdicts = PerCpuArray::<_, Counter>::try_from(self.ebpf.map("VERDICTS").unwrap()).unwrap();
        let entries = PerCpuArray::<_, Counter>::try_from(self.ebpf.map("ENTRIES").unwrap()).unwrap();
        let mut all = Vec::with_capacity(listeners.len() * (REASONS + 32));
        for listener in listeners {
            for reason in Reason::ALL {
                let place = Place::Verdict(*listener, *reason);
                all.push((place, sum(&verdicts, verdict_index(*listener, *reason))));
            }
            for id in 0..if *listener == 0 { 0 } else { 32 } {
                all.push((Place::Entry(*listener, id), sum(&entries, entry_index(*listener, id))));
            }
        }
        all
    }

    /// Packets that the counters of `verdict` and of its entry have seen; 0 for what is not counted.
    pub(crate) fn counted(&self, verdict: Verdict) -> (u64, u64) {
        if verdict.reason == Reason::NotListener {
            return (0, 0);
        }
        let verdicts = PerCpuArray::<_, Counter>::try_from(self.ebpf.map("VERDICTS").unwrap()).unwrap();
        let entries = PerCpuArray::<_, Counter>::try_from(self.ebpf.map("ENTRIES").unwrap()).unwrap();
        let by_entry =
            verdict.entry().map_or(0, |id| sum(&entries, entry_index(verdict.listener, id)).packets);
        (sum(&verdicts, verdict_index(verdict.listener, verdict.reason)).packets, by_entry)
    }

    /// Packets that all verdict counters of `listeners`, and of none, have seen.
    pub(crate) fn totals(&self, listeners: &[u32]) -> u64 {
        let verdicts = PerCpuArray::<_, Counter>::try_from(self.ebpf.map("VERDICTS").unwrap()).unwrap();
        let of = |listener: &u32| {
            let listener = *listener;
            let verdicts = &verdicts;
            Reason::ALL.iter().map(move |reason| sum(verdicts, verdict_index(listener, *reason)).packets)
        };
        [0].iter().chain(listeners).flat_map(of).sum()
    }

    /// Bans a source until `until` (nanoseconds of the kernel's clock).
    pub(crate) fn ban(&mut self, source: Source, until: u64, enforced: bool) {
        let ban = Ban {
            until,
            since: 0,
            enforced: u32::from(enforced),
            cause: 0,
            repeats: 0,
            actor: 0,
            note: [0; NOTE],
        };
        HashMap::<_, Source, Ban>::try_from(self.map("BANS")).unwrap().insert(source, ban, 0).unwrap();
    }

    /// Sets a listener's budgets, in nanoseconds per connection.
    pub(crate) fn budget(&mut self, listener: u32, interval: u64, share: u64) {
        let mut budgets = Array::<_, Budget>::try_from(self.map("BUDGETS")).unwrap();
        budgets.set(listener, Budget { interval, share, even: 0 }, 0).unwrap();
    }

    /// Says what there is to look for behind a positive verdict.
    pub(crate) fn arm(&mut self, guard: u32) {
        Array::<_, u32>::try_from(self.map("GUARD")).unwrap().set(0, guard, 0).unwrap();
    }

    /// Puts a sampling mask in force.
    pub(crate) fn sample(&mut self, mask: u32) {
        let mut map = Array::<_, u32>::try_from(self.map("SAMPLE")).unwrap();
        map.set(0, mask, 0).unwrap();
    }

    /// The sampling mask, and how many events were lost.
    pub(crate) fn sampled(&self) -> (u32, u64) {
        let mask = Array::<_, u32>::try_from(self.ebpf.map("SAMPLE").unwrap()).unwrap();
        let lost = PerCpuArray::<_, u64>::try_from(self.ebpf.map("LOST").unwrap()).unwrap();
        (mask.get(&0, 0).unwrap(), lost.get(&0, 0).unwrap().iter().sum())
    }

    /// Takes the events that are in the ring buffer.
    pub(crate) fn events(&mut self) -> Vec<DropEvent> {
        let mut ring = RingBuf::try_from(self.map("EVENTS")).unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(DropEvent::from_bytes(&item).expect("a whole record"));
        }
        events
    }
}

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Verdict(u32, Reason),
    Entry(u32, u8),
}

/// A counter over all CPUs.
fn sum(array: &PerCpuArray<&MapData, Counter>, index: u32) -> Counter {
    let all = array.get(&index, 0).unwrap();
    all.iter().fold(Counter::default(), |sum, one| Counter {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    })
}
