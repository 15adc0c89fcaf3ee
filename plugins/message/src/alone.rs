//! What the standard library would bring: an allocator, room for what the host hands over, and what becomes of a panic.

use alloc::string::ToString;
use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use crate::guest::dropforge::job::host;

/// The allocator of the C library, as the standard library has it too. It begins with what the memory has left from the start, and a memory
/// that does not grow need not be made smaller after the job.
struct Libc;

#[global_allocator]
static ALLOCATOR: Libc = Libc;

#[link(name = "c")]
unsafe extern "C" {
    fn aligned_alloc(align: usize, size: usize) -> *mut u8;
    fn malloc(size: usize) -> *mut u8;
    fn free(old: *mut u8);
    /// Of the component model; with what `malloc` and `realloc` of the same library have.
    fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8;
}

/// What `malloc` aligns to at least.
const ALIGN: usize = 8;

// SAFETY: those of the C library are what is asked for here, for every layout there is.
unsafe impl GlobalAlloc for Libc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match layout.align() {
            ..=ALIGN => unsafe { malloc(layout.size()) },
            align => unsafe { aligned_alloc(align, layout.size().next_multiple_of(align)) },
        }
    }

    unsafe fn dealloc(&self, old: *mut u8, _: Layout) {
        unsafe { free(old) }
    }
}

/// The linker leaves out what nobody names, and the host asks for it by name.
#[used]
static ROOM: unsafe extern "C" fn(*mut u8, usize, usize, usize) -> *mut u8 = cabi_realloc;

/// The job fails with a trap, and its log says why.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    host::log(host::Level::Error, &info.to_string());
    core::arch::wasm32::unreachable()
}
