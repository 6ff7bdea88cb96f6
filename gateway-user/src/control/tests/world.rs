//! A control plane on a temporary directory, and short words for its resources.

use std::{
    cell::{RefCell, RefMut},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};

use crate::{
    base::{Generation, Name, Refusal, Site, clock},
    control::{Config, Control, Edit, FirstStart, Options, Outcome},
    resource::{
        Allowlist, Certificate, Domain, Endpoint, EndpointService, Exposure, Listener, Patch, Route, Service,
        Vpc, WeightedService, certificate::KeyPem, from_toml, gateway,
    },
    snapshot::{Snapshot, Subscriber},
};

/// A fake enforcer.
#[derive(Default)]
pub(crate) struct Enforcer {
    pub(crate) staged: Option<Arc<Snapshot>>,
    pub(crate) live: Arc<Snapshot>,
    pub(crate) fail_stage: bool,
    pub(crate) fail_commit: bool,
    /// What was asked of it.
    pub(crate) calls: Vec<&'static str>,
}

struct Handle(&'static str, Rc<RefCell<Enforcer>>);

impl Subscriber for Handle {
    fn name(&self) -> &'static str {
        self.0
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        let mut enforcer = self.1.borrow_mut();
        enforcer.calls.push("stage");
        if enforcer.fail_stage {
            return Err(Refusal::new("fake_stage", "stage fails"));
        }
        assert!(enforcer.staged.is_none(), "staged twice");
        enforcer.staged = Some(Arc::clone(next));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        let mut enforcer = self.1.borrow_mut();
        enforcer.calls.push("commit");
        let staged = enforcer.staged.take().expect("commit follows stage");
        if enforcer.fail_commit {
            return Err(Refusal::new("fake_commit", "commit fails"));
        }
        enforcer.live = staged;
        Ok(())
    }

    fn abandon(&mut self) {
        let mut enforcer = self.1.borrow_mut();
        enforcer.calls.push("abandon");
        assert!(enforcer.staged.take().is_some(), "abandon follows stage");
    }

    fn generation(&self) -> Generation {
        self.1.borrow().live.generation
    }
}

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) control: Control,
    enforcers: Vec<(&'static str, Rc<RefCell<Enforcer>>)>,
}

impl World {
    pub(crate) fn new(first: FirstStart) -> Self {
        Self::at(first, Site::default())
    }

    /// A control plane on a site with settings of its own; [`Self::reopen`] goes back to the defaults.
    pub(crate) fn at(first: FirstStart, site: Site) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let enforcers = vec![("filter", Rc::default()), ("proxy", Rc::default())];
        let config = Config { site, ..config(directory.path().join("state"), first) };
        let control = Control::open(config, handles(&enforcers)).unwrap();
        Self { directory, control, enforcers }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Every byte of the store.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.state().join("gateway.redb")).unwrap()
    }

    /// Ends the daemon and starts it anew, with enforcers that know nothing.
    pub(crate) fn reopen(&mut self) {
        self.reopen_at(clock::unix);
    }

    /// As [`Self::reopen`], at another time.
    pub(crate) fn reopen_at(&mut self, now: fn() -> Duration) {
        let spare = tempfile::tempdir().unwrap();
        let empty = Control::open(config(spare.path().join("state"), FirstStart::Empty), Vec::new()).unwrap();
        drop(std::mem::replace(&mut self.control, empty));
        self.enforcers = vec![("filter", Rc::default()), ("proxy", Rc::default())];
        self.control =
            Control::open_at(config(self.state(), FirstStart::Empty), handles(&self.enforcers), now).unwrap();
    }

    pub(crate) fn enforcer(&self, name: &str) -> RefMut<'_, Enforcer> {
        self.enforcers.iter().find(|(held, _)| *held == name).unwrap().1.borrow_mut()
    }

    pub(crate) fn live(&self, name: &str) -> Arc<Snapshot> {
        Arc::clone(&self.enforcer(name).live)
    }

    pub(crate) fn ok(&mut self, edit: Edit) -> Outcome {
        let what = format!("{edit:?}");
        let outcome = self.control.edit(edit, Options::default());
        outcome.unwrap_or_else(|refusal| panic!("{what} was refused: {refusal}"))
    }

    /// The refusal of an edit, and that it changed nothing.
    pub(crate) fn refused(&mut self, edit: Edit) -> Refusal {
        let what = format!("{edit:?}");
        let before = (self.control.export(true), self.control.generation(), self.live("filter").generation);
        let Err(refusal) = self.control.edit(edit, Options::default()) else { panic!("{what} was taken") };
        let after = (self.control.export(true), self.control.generation(), self.live("filter").generation);
        assert_eq!(before, after, "{what} was refused and changed something");
        refusal
    }
}

pub(crate) fn config(state: PathBuf, first_start: FirstStart) -> Config {
    Config {
        state,
        owner: None,
        first_start,
        own: vec!["127.0.0.1:9145".parse().unwrap()],
        site: Site::default(),
    }
}

fn handles(enforcers: &[(&'static str, Rc<RefCell<Enforcer>>)]) -> Vec<Box<dyn Subscriber>> {
    enforcers
        .iter()
        .map(|(name, held)| Box::new(Handle(name, Rc::clone(held))) as Box<dyn Subscriber>)
        .collect()
}

/// What a snapshot says, for comparison.
pub(crate) fn told(snapshot: &Snapshot) -> String {
    format!(
        "{snapshot:?} {:?}",
        snapshot.certificates.iter().map(|one| (&one.chain, &one.key)).collect::<Vec<_>>()
    )
}

pub(crate) fn n(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn cidrs(text: &str) -> Allowlist {
    Allowlist::parse(text).unwrap()
}

pub(crate) fn listener(name: &str, address: &str) -> Listener {
    listener_on(name, "eth9", address)
}

pub(crate) fn listener_on(name: &str, interface: &str, address: &str) -> Listener {
    Listener {
        name: n(name),
        gateway: gateway::default_name(),
        exposure: Exposure::Public,
        interface: interface.to_owned(),
        addresses: vec![address.parse().unwrap()],
        http: Some(80),
        https: Some(443),
        open: true,
        wait_address: false,
        limits: crate::resource::Limits::default(),
        proxy_protocol: false,
        trusted_forwarders: Allowlist::default(),
        allow: Allowlist::default(),
    }
}

pub(crate) fn vpc(name: &str, interface: &str, address: &str) -> Vpc {
    from_toml(&format!("name='{name}'\ninterface='{interface}'\naddress='{address}'\nzone='i'\n")).unwrap()
}

pub(crate) fn offer(name: &str, service: &str) -> EndpointService {
    from_toml(&format!(
        "name='{name}'\nservice='{service}'\nservice_name='com.example.{{region}}.{name}'\n\
         dns='{name}-vpc.{{region}}.example.com'\n"
    ))
    .unwrap()
}

pub(crate) fn endpoint(name: &str, service: &str, vpc: &str, subnets: &str) -> Endpoint {
    from_toml(&format!(
        "name='{name}'\nservice='{service}'\nvpc='{vpc}'\nsubnets='{subnets}'\nsecurity_group='10.0.0.0/16'\n"
    ))
    .unwrap()
}

pub(crate) fn listener_ports(name: &str, interface: &str, address: &str, http: u16) -> Listener {
    Listener { http: Some(http), https: None, ..listener_on(name, interface, address) }
}

pub(crate) fn from_toml_listener(text: &str) -> Listener {
    from_toml(text).unwrap()
}

pub(crate) fn service(name: &str, instance: &str) -> Service {
    Service { instances: vec![instance.parse().unwrap()], ..Service::new(n(name)) }
}

pub(crate) fn patch(fields: serde_json::Value) -> Patch {
    serde_json::from_value(fields).unwrap()
}

pub(crate) fn route(name: &str, prefix: &str, service: &str) -> Route {
    Route {
        name: n(name),
        gateway: gateway::default_name(),
        host: None,
        path_prefix: prefix.to_owned(),
        methods: Vec::new(),
        headers: Default::default(),
        strip_prefix: false,
        services: vec![WeightedService { service: n(service), weight: 1 }],
        mirror: None,
        retry_unsafe: false,
    }
}

pub(crate) fn domain(host: &str, cert: Option<&str>) -> Domain {
    Domain {
        host: host.parse().unwrap(),
        gateway: gateway::default_name(),
        exposure: Exposure::Public,
        cert: cert.map(n),
        https_only: false,
    }
}

pub(crate) fn certificate(name: &str, names: &[&str]) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let issued = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Certificate {
        name: n(name),
        gateway: gateway::default_name(),
        chain: issued.pem(),
        key: Some(KeyPem(key.serialize_pem())),
        key_fingerprint: None,
    }
}
