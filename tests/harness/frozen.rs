//! One thread of a running daemon that stands still, as a defect would leave it, while the others go on.

use std::{fs, marker::PhantomData, path::PathBuf};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::wait;

/// What a worker does while it has nothing to do. Stopped anywhere else it could hold a lock that other threads need.
#[cfg(target_arch = "x86_64")]
const IDLE: libc::c_long = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const IDLE: libc::c_long = libc::SYS_epoll_pwait;

/// The thread goes on when this goes. Only the thread that made it may end it: that is how the kernel has it.
#[derive(Debug)]
pub struct Frozen {
    thread: Pid,
    _here: PhantomData<*const ()>,
}

// === impl Frozen ===

impl Frozen {
    /// Stops the thread with this name of a process that the test has started.
    #[must_use]
    #[track_caller]
    pub fn new(process: u32, name: &str) -> Self {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        let mut threads =
            fs::read_dir(&tasks).expect("the process runs").map(|task| task.expect("a task").path());
        let task = threads
            .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name))
            .unwrap_or_else(|| panic!("{process} has no thread {name}"));
        let id = task.file_name().and_then(|id| id.to_str()?.parse().ok()).expect("a thread's id");
        let thread = Pid::from_raw(id);
        ptrace::seize(thread, ptrace::Options::empty()).expect("the thread is the test's to stop");
        let frozen = Self { thread, _here: PhantomData };
        wait::until("the thread to be idle", || {
            ptrace::interrupt(thread).expect("it runs");
            waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
            let call = fs::read_to_string(task.join("syscall")).expect("it is stopped");
            let idle = call.split(' ').next().and_then(|number| number.parse().ok()) == Some(IDLE);
            if !idle {
                ptrace::cont(thread, None).expect("it is stopped");
            }
            idle.then_some(())
        });
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A process that has ended needs no more than that.
        let _ = ptrace::detach(self.thread, None);
    }
}
