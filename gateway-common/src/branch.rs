//! Comparisons in the form that makes the frequent way the straight one.

/// Whether a word is another one than `EXPECTED`, where it mostly is not.
///
/// LLVM turns `a != b` into `a == b` with the branches exchanged, and its BPF backend cannot turn it back: the frequent
/// way would be a jump over a jump. A signed comparison of a number that it knows nothing of stays as it is.
#[inline(always)]
#[must_use]
pub fn differs<const EXPECTED: u32>(word: u32) -> bool {
    const { assert!(EXPECTED <= i32::MAX as u32) };
    let mut difference = word as u64;
    #[cfg(target_arch = "bpf")]
    #[expect(unsafe_code, reason = "the only way to hide a value from the compiler")]
    // SAFETY: arithmetic on a register.
    unsafe {
        core::arch::asm!(
            "{0} ^= {expected}",
            inout(reg) difference,
            expected = const EXPECTED,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        difference ^= EXPECTED as u64;
    }
    difference as i64 > 0
}
