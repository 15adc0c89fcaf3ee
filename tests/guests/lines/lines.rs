//! A program of WASI preview 1 that traps two calls deep, with line numbers in its debug information.
#![no_std]
#![no_main]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn sched_yield() -> i32;
}

#[inline(never)]
fn divide(dividend: i32, divisor: i32) -> i32 {
    if divisor == 0 {
        core::arch::wasm32::unreachable()
    }
    dividend / divisor
}

#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    let nothing = unsafe { sched_yield() };
    divide(7, nothing);
}
