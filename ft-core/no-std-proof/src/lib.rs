//! A proof that ft-core is free of std: a static library with a panic handler of its own, which std has too.
//!
//! If ft-core or anything below it linked std, the compiler would refuse with `duplicate lang item`.
//! `cargo xtask no-std` builds this, and once more with `std-sneaks-in`, which must fail for that reason.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;
use core::ptr;

use ft_core::manifest::Manifest;
use ft_core::tree::{self, Shape};
use ft_core::{Epoch, VmId};

// Names it, so that it is linked.
#[cfg(feature = "std-sneaks-in")]
use bytes as _;

/// Never has memory: the library is linked, not run.
struct NoMemory;

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

// SAFETY: `alloc` always fails, which the contract allows, so `dealloc` is never called.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// Uses the core, so that its code is generated and linked.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn ft_core_without_std(vm: u64) -> bool {
    let mut tree = tree::new(Shape::Paired, Epoch::first(vm));
    tree.insert(VmId(vm)).is_ok() && Manifest::decode(&vm.to_le_bytes()).is_err()
}
