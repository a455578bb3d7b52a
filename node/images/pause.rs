//! The pause program: first process of every Pod sandbox.
//!
//! It holds the Pod's namespaces open, reaps orphans when the Pod shares one process namespace, and ends on SIGTERM or
//! SIGINT. It uses neither std nor libc, so that the image is a few kilobytes: signals are blocked and then waited for
//! one by one, which needs no handlers.
#![no_std]
#![no_main]

use core::arch::asm;

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
const SIGNAL_SET_BYTES: usize = 8;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const WAIT4: usize = 260;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves every register but rax, rcx and r11; the callers pass valid pointers.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves every register but x0; the callers pass valid pointers.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             options(nostack));
    }
    result
}

/// Entry point: no arguments are read, nothing is returned to.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let signals: u64 = [SIGINT, SIGTERM, SIGCHLD].iter().fold(0, |set, signal| set | 1 << (signal - 1));
    let set = &raw const signals as usize;
    // SAFETY: `set` points at eight readable bytes for the whole of the program; null pointers are allowed where passed.
    unsafe {
        syscall(number::RT_SIGPROCMASK, SIG_BLOCK, set, 0, SIGNAL_SET_BYTES);
        loop {
            match syscall(number::RT_SIGTIMEDWAIT, set, 0, 0, SIGNAL_SET_BYTES) as usize {
                SIGCHLD => while syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {},
                SIGINT | SIGTERM => {
                    syscall(number::EXIT_GROUP, 0, 0, 0, 0);
                }
                _ => {}
            }
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
