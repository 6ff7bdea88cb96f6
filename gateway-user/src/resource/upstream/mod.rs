//! Pure: how a service's instances are named, chosen, watched, spared and reached, as operators write it.

mod balance;
mod encoding;
mod guard;
mod health;
mod instance;
mod tls;

pub use balance::{Balance, HashKey};
pub use encoding::Encoding;
pub use guard::{Bounds, MAX_SLOW_START, Outlier, Retry};
pub use health::{HealthCheck, Probe};
pub use instance::Instance;
pub use tls::{Authorities, Tls};

pub(super) use balance::check as check_balance;
pub(super) use encoding::check as check_encodings;
pub(super) use instance::{check as check_instances, instances};
pub(super) use tls::check as check_tls;
