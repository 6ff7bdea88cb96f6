//! Suite `kernel_room`: `gateway_user::kernel` against the kernel, without the rest of the daemon. Needs root.
//!
//! Where a new test goes:
//! - `change`: attaching, swapping generations, counters, events, what a refused or abandoned change leaves;
//! - `adopt`: what outlives the daemon, how the next one takes it over, detach;
//! - `interface`: VLANs, loopback, MTU, interfaces that come and go.
//! - `addresses`: the addresses that the gateway holds itself;
//! - `tcx`: the second tier, on devices without native XDP.
//! - `large`: lists of more entries than a slot holds;
//! - `marks`: the ports that the program looks up at all;
//! - `torture`: ten thousand swaps under a flood.
//! - `privileges`: the daemon after it gave up root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics with a backtrace")]

mod addresses;
mod adopt;
mod change;
mod interface;
mod large;
mod marks;
mod policy;
mod privileges;
mod tcx;
mod torture;
