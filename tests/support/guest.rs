//! Guests made of a few lines of WebAssembly text, wrapped into components of the real contract in `wit/`.
//!
//! A test gives the body of `run` (or of `describe`, or of a start function). Around it stand a memory, an allocator, a
//! valid descriptor and a few helpers, so that an attack reads as what it is:
//!
//! ```text
//! guest::run("(loop $forever (br $forever))")
//! guest::run(r#"(return (call $done (text "text/plain") (text "ok")))"#)
//! ```
//!
//! `(text "…")` stands for a pointer and a length. A body leaves its result with `return`; one that runs off its
//! end traps. Imports and helpers are added only where the text names them.

mod component;
mod world;

pub(crate) use self::component::Guest;

/// A plugin that succeeds with `ok`.
pub(crate) fn good() -> Vec<u8> {
    answering("ok")
}

/// A plugin that tries, line by line, what its input says, and answers a line for each; see `tests/guests/probe`.
pub(crate) fn probe() -> Vec<u8> {
    super::shipped("tests/guests/probe.wasm")
}

/// A plugin that succeeds with this text.
pub(crate) fn answering(text: &str) -> Vec<u8> {
    run(&format!(r#"(return (call $done (text "text/plain") (text "{text}")))"#))
}

/// A plugin that succeeds with its input, under the media type the input had.
pub(crate) fn echo() -> Vec<u8> {
    run("(call $input_type (local.get $input) (i32.const 800))
         (call $input_bytes (local.get $input) (i32.const 816))
         (if (i32.load8_u (i32.const 816)) (then (unreachable)))
         (return (call $done (i32.load (i32.const 800)) (i32.load (i32.const 804))
                             (i32.load (i32.const 824)) (i32.load (i32.const 828))))")
}

/// A plugin whose input is JSON that ends with `"ADDRESS"]`, and that answers with the blob of that address, up to 1 MiB of
/// it, or with `not found`.
pub(crate) fn blob_reader() -> Vec<u8> {
    run("(call $input_bytes (local.get $input) (i32.const 816))
         (call $read_blob (i32.sub (i32.add (i32.load (i32.const 824)) (i32.load (i32.const 828))) (i32.const 66))
                          (i32.const 64) (i32.const 840))
         (if (i32.load8_u (i32.const 840))
           (then (if (i32.ne (i32.load8_u (i32.const 848)) (i32.const 1)) (then (unreachable)))
                 (return (call $done (text \"text/plain\") (text \"not found\")))))
         (call $blocking_read (i32.load (i32.const 848)) (i64.const 1048576) (i32.const 864))
         (if (i32.load8_u (i32.const 864)) (then (unreachable)))
         (return (call $done (text \"image/png\") (i32.load (i32.const 868)) (i32.load (i32.const 872))))")
}

/// A plugin that computes until it is stopped.
pub(crate) fn endless() -> Vec<u8> {
    run("(loop $forever (br $forever))")
}

/// A plugin that waits in a host call, off the processor.
pub(crate) fn sleeping(duration: std::time::Duration) -> Vec<u8> {
    let ns = duration.as_nanos();
    run(&format!(
        r#"(call $block (call $subscribe_duration (i64.const {ns})))
           (return (call $done (text "text/plain") (text "ok")))"#
    ))
}

/// A plugin with this body of `run`.
pub(crate) fn run(body: &str) -> Vec<u8> {
    Guest { run: body, ..Guest::GOOD }.component()
}

/// A good plugin but for this start function, which runs whenever it is instantiated.
pub(crate) fn with_start(body: &str) -> Vec<u8> {
    let items = format!("(func $start {body}) (start $start)");
    Guest { items: &items, ..Guest::GOOD }.component()
}

/// A good plugin but for this body of `describe`.
pub(crate) fn with_describe(body: &str) -> Vec<u8> {
    Guest { describe: body, ..Guest::GOOD }.component()
}

/// A good plugin with so many functions that nobody calls, each some hundred bytes of work for a compiler.
pub(crate) fn large(functions: usize) -> Vec<u8> {
    let work: String = (0..40).map(|n| format!("(local.set $x (i64.add (i64.rotl (local.get $x) (i64.const {n})) (i64.load (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 4095)))))")).collect();
    let function = |number| {
        format!("(func $filler{number} (export \"filler{number}\") (param $x i64) (result i64) {work} (local.get $x))")
    };
    let items: String = (0..functions).map(function).collect();
    Guest { items: &items, ..Guest::GOOD }.component()
}

/// A good plugin of about this size: beside what it runs it has a module of many functions, all of which have to be compiled.
pub(crate) fn huge(megabytes: usize) -> Vec<u8> {
    // Each function is a hundred times `x = x xor CONSTANT`, with a constant of its own each time.
    const STEPS: usize = 100;
    let mut constant: u128 = 0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15;
    let mut function = || {
        let mut body = vec![0];
        for _ in 0..STEPS {
            constant = constant.wrapping_mul(0xda94_2042_e4dd_58b5_da94_2042_e4dd_58b5).rotate_left(29);
            body.extend([0x20, 0, 0xfd, 12]);
            body.extend(constant.to_le_bytes());
            body.extend([0xfd, 0x51, 0x21, 0]);
        }
        body.extend([0x20, 0, 0x0b]);
        with_size(&body)
    };
    let count = (megabytes << 20) / function().len();
    let functions: Vec<u8> = (0..count).flat_map(|_| function()).collect();
    let vector = |items: &[u8]| [&leb(count), items].concat();
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        // One type, vector to vector; functions of that type; their bodies.
        &section(1, &[1, 0x60, 1, 0x7b, 1, 0x7b]),
        &section(3, &vector(&vec![0; count])),
        &section(10, &vector(&functions)),
    ];
    // A component may have modules that it makes no use of.
    [good(), section(1, &module.concat())].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], with_size(content).as_slice()].concat()
}

fn with_size(content: &[u8]) -> Vec<u8> {
    [&leb(content.len()), content].concat()
}

/// The format's own way to write a number.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push((number % 128) as u8 | 128);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

/// A plugin that also makes so many instances of a module with an empty memory of its own.
pub(crate) fn crowded(component: Vec<u8>, count: u8) -> Vec<u8> {
    with_parts(component, count, "(module (memory 0))")
}

/// The same with tables of their own instead of memories.
pub(crate) fn of_many_parts(component: Vec<u8>, count: u8) -> Vec<u8> {
    with_parts(component, count, "(module (table 1 funcref))")
}

fn with_parts(mut component: Vec<u8>, count: u8, part: &str) -> Vec<u8> {
    // A component is a header of 8 bytes and sections: an id, a size in LEB128, and that many bytes.
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += u8::from(component[at] == 1);
        let digits = component[at + 1..].iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        let size = (0..digits).fold(0, |size, n| size | usize::from(component[at + 1 + n] & 0x7f) << (7 * n));
        at += 1 + digits + size;
    }
    let module = wat::parse_str(part).expect("valid");
    component.extend([1, u8::try_from(module.len()).expect("a small module")]);
    component.extend(module);
    // Core instances, each "instantiate the last module with no arguments".
    assert!(count <= 40, "longer sections have a longer size");
    component.extend([2, 1 + 3 * count, count]);
    component.extend([0, modules, 0].repeat(usize::from(count)));
    component
}
