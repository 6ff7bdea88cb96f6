//! Pure: a query and a view give an answer. Authoritative only: nothing is looked up elsewhere, nothing is transferred.
//!
//! Whatever the bytes are, the outcome is silence or one message that repeats the query's id, and its question where it
//! could be read; over UDP never longer than the asker takes.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use super::view::{Dead, Place, View};

/// Length of a message's header.
pub(super) const HEADER: usize = 12;
/// Largest answer over UDP to an asker without EDNS (RFC 1035 §4.2.1).
const PLAIN: usize = 512;
/// Largest answer over UDP at all, and what we say that we take: it passes every link unfragmented (DNS flag day 2020).
const LARGEST: u16 = 1232;
/// CNAMEs that are followed; the plan has chains of two.
const CHAIN: usize = 8;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A message to send back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) code: ResponseCode,
    /// It did not fit; the asker comes back over TCP.
    pub(super) truncated: bool,
    /// For the log.
    pub(super) question: Option<Query>,
}

/// What a view says about a question.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) records: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// The answer to a message; `None` for what must not be answered.
pub(super) fn respond(view: &View, dead: Dead<'_>, bytes: &[u8], transport: Transport) -> Option<Reply> {
    let head = Head::read(bytes)?;
    if head.code != OpCode::Query {
        return head.bare(ResponseCode::NotImp);
    }
    if head.questions != 1 {
        return head.bare(ResponseCode::FormErr);
    }
    let Ok(request) = Message::from_vec(bytes) else {
        return head.reply(question(bytes), ResponseCode::FormErr);
    };
    let Some(query) = request.queries.first() else { return head.bare(ResponseCode::FormErr) };
    let mut reply = head.message();
    reply.add_query(query.clone());
    let mut limit = if transport == Transport::Tcp { usize::from(u16::MAX) } else { PLAIN };
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST);
        // RFC 3225 §3: the bit is copied; there are no signatures to leave out.
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(edns);
        if transport == Transport::Udp {
            limit = usize::from(asked.max_payload().min(LARGEST)).max(PLAIN);
        }
    }
    if request.version() > 0 {
        reply.metadata.response_code = ResponseCode::BADVERS;
    } else {
        let answer = answer(view, dead, query);
        reply.metadata.response_code = answer.code;
        reply.metadata.authoritative = answer.authoritative;
        reply.answers = answer.records;
        reply.authorities = answer.authority;
        reply.additionals = answer.additional;
    }
    pack(&reply, limit)
}

/// A short answer that says "come back over TCP", in place of a whole one to an asker who asks too often.
pub(super) fn slip(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = Head::read(bytes).filter(|head| head.code == OpCode::Query && head.questions == 1)?;
    let mut reply = head.message();
    reply.add_query(question(bytes)?);
    reply.metadata.truncation = true;
    reply.to_vec().ok()
}

/// What the view says.
pub(super) fn answer(view: &View, dead: Dead<'_>, query: &Query) -> Answer {
    let kind = query.query_type();
    if query.query_class() != DNSClass::IN || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        return Answer::refused();
    }
    let Some(mut place) = view.find(query.name()) else { return Answer::refused() };
    let mut answer = Answer::new();
    let mut owner = query.name().clone();
    for _ in 0..CHAIN {
        let Some(node) = place.node else {
            // RFC 6604 §3: with a chain the code is that of its last name.
            answer.code = ResponseCode::NXDomain;
            answer.deny(&place, view.ttl);
            return answer;
        };
        let wanted = if kind == RecordType::ANY { node.first().unwrap_or(kind) } else { kind };
        let data = node.data(wanted, dead);
        if !data.is_empty() {
            answer.glue(view, dead, &data);
            answer
                .records
                .extend(data.into_iter().map(|data| Record::from_rdata(owner.clone(), view.ttl, data)));
            return answer;
        }
        let Some(target) = node.alias() else {
            answer.deny(&place, view.ttl);
            return answer;
        };
        let alias = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
        answer.records.push(Record::from_rdata(owner, view.ttl, alias));
        owner = target.clone();
        // A chain that leaves our zones is for the asker to follow.
        let Some(next) = view.find(target) else { return answer };
        place = next;
    }
    answer
}

// === impl Answer ===

impl Answer {
    fn new() -> Self {
        Self {
            code: ResponseCode::NoError,
            authoritative: true,
            records: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    fn refused() -> Self {
        Self { code: ResponseCode::Refused, authoritative: false, ..Self::new() }
    }

    /// RFC 2308 §3: the SOA says how long the absence may be remembered.
    fn deny(&mut self, place: &Place<'_>, ttl: u32) {
        let soa = RData::SOA(place.zone.soa.clone());
        self.authority.push(Record::from_rdata(place.origin.clone(), ttl, soa));
    }

    /// The addresses of name servers that are named.
    fn glue(&mut self, view: &View, dead: Dead<'_>, data: &[RData]) {
        for data in data {
            let RData::NS(server) = data else { continue };
            let Some(node) = view.find(&server.0).and_then(|place| place.node) else { continue };
            for kind in [RecordType::A, RecordType::AAAA] {
                let addresses = node.data(kind, dead).into_iter();
                self.additional
                    .extend(addresses.map(|data| Record::from_rdata(server.0.clone(), view.ttl, data)));
            }
        }
    }
}

/// What every answer repeats of the query's header. Read by hand, because what follows it may be broken.
struct Head {
    id: u16,
    code: OpCode,
    recursion_desired: bool,
    questions: u16,
}

// === impl Head ===

impl Head {
    /// `None` for what is too short to have a header, and for answers: two servers must not talk to each other for ever.
    fn read(bytes: &[u8]) -> Option<Self> {
        let [id, id_low, flags, _, questions, questions_low, ..] = *bytes.first_chunk::<HEADER>()?;
        (flags & 0x80 == 0).then(|| Self {
            id: u16::from_be_bytes([id, id_low]),
            code: OpCode::from_u8((flags >> 3) & 0xf),
            recursion_desired: flags & 1 != 0,
            questions: u16::from_be_bytes([questions, questions_low]),
        })
    }

    fn message(&self) -> Message {
        let mut message = Message::new(self.id, MessageType::Response, self.code);
        message.metadata.recursion_desired = self.recursion_desired;
        message
    }

    fn bare(&self, code: ResponseCode) -> Option<Reply> {
        self.reply(None, code)
    }

    fn reply(&self, question: Option<Query>, code: ResponseCode) -> Option<Reply> {
        let mut message = self.message();
        message.metadata.response_code = code;
        message.queries.extend(question);
        pack(&message, PLAIN)
    }
}

/// The first question of a message whose rest may be broken.
fn question(bytes: &[u8]) -> Option<Query> {
    let mut decoder = BinDecoder::new(bytes);
    decoder.read_slice(HEADER).ok()?;
    Query::read(&mut decoder).ok()
}

fn pack(message: &Message, limit: usize) -> Option<Reply> {
    let code = message.metadata.response_code;
    let question = message.queries.first().cloned();
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(Reply { bytes, code, truncated: false, question });
    }
    // Nothing but header, question and OPT: a part of the records would be of no use.
    let bytes = message.truncate().to_vec().ok()?;
    Some(Reply { bytes, code, truncated: true, question })
}

/// The records of an answer as one would write them in a zone file.
pub(super) fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

/// The name of a code as `dig` prints it.
pub(super) fn code_name(code: ResponseCode) -> &'static str {
    use ResponseCode::{BADVERS, FormErr, NXDomain, NoError, NotImp, Refused};

    // A handful of the codes that there are.
    let names = [
        (NoError, "NOERROR"),
        (FormErr, "FORMERR"),
        (NXDomain, "NXDOMAIN"),
        (NotImp, "NOTIMP"),
        (Refused, "REFUSED"),
        (BADVERS, "BADVERS"),
    ];
    names.into_iter().find(|(one, _)| *one == code).map_or("SERVFAIL", |(_, name)| name)
}

/// A question as the command line asks it.
pub(super) fn ask(name: &str, kind: &str) -> Option<Query> {
    let name: Name = super::name::parse(name)?;
    let kind: RecordType = kind.to_ascii_uppercase().parse().ok()?;
    Some(Query::query(name, kind))
}
