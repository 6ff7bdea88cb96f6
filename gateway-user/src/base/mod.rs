//! Words that every room shares: generations, names, clocks, secrets. No room may be used here.

pub mod clock;
pub mod generation;
pub mod name;
pub mod refusal;
pub mod site;

pub use generation::Generation;
pub use name::Name;
pub use refusal::Refusal;
pub use site::Site;
