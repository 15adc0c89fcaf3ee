use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use super::merged;

/// A library that shares the memory and the table of another module, as linkers make them: it calls the host through another table that
/// is filled in when everything else is there, and what comes last fills in the first.
const LINKED: &str = r#"
    (component
      (import "double" (func $double (param "n" u32) (result u32)))
      (import "say" (func $say (param "text" string)))
      (core module $shim
        (type $say (func (param i32 i32)))
        (table (export "table") 1 1 funcref)
        (func (export "say") (param i32 i32) local.get 0 local.get 1 i32.const 0 call_indirect (type $say)))
      (core module $main
        (memory (export "memory") 1)
        (table (export "table") 8 funcref)
        (global (export "elements") i32 i32.const 2)
        (global (export "data") i32 i32.const 64)
        (global (export "count") (mut i32) i32.const 10)
        (data (i32.const 60) "say:"))
      (core module $library
        (type $unused (func (param f64)))
        (type $change (func (param i32) (result i32)))
        (import "env" "memory" (memory 1))
        (import "env" "table" (table 2 funcref))
        (import "env" "elements" (global $elements i32))
        (import "env" "data" (global $data i32))
        (import "env" "count" (global $count (mut i32)))
        (import "outside" "double" (func $double (type $change)))
        (import "outside" "say" (func $say (param i32 i32)))
        (global $end (mut i32) global.get $data)
        (elem (global.get $elements) func $add $double)
        (data (global.get $data) "well")
        (func $add (type $change)
          global.get $count i32.const 1 i32.add global.set $count
          local.get 0 global.get $count i32.add)
        (func $fails (export "fails") unreachable)
        (func (export "next") (type $change)
          local.get 0 i32.const 100 i32.add)
        (func (export "run") (param i32) (result i32)
          i32.const 60 global.get $end i32.const 56 i32.sub call $say
          local.get 0
          global.get $elements call_indirect (type $change)
          global.get $elements i32.const 1 i32.add call_indirect (type $change)
          i32.const 5 call_indirect (type $change)))
      (core module $fixups
        (import "" "table" (table 1 funcref))
        (import "" "say" (func $say (param i32 i32)))
        (elem (i32.const 0) func $say))
      (core module $last
        (import "env" "table" (table 6 funcref))
        (import "library" "next" (func $next (param i32) (result i32)))
        (elem (i32.const 5) func $next))

      (core instance $shim (instantiate $shim))
      (core instance $main (instantiate $main))
      (core func $lowered_double (canon lower (func $double)))
      (core instance $outside
        (export "double" (func $lowered_double))
        (export "say" (func $shim "say")))
      (core instance $env
        (export "memory" (memory $main "memory"))
        (export "table" (table $main "table"))
        (export "elements" (global $main "elements"))
        (export "data" (global $main "data"))
        (export "count" (global $main "count")))
      (core instance $library (instantiate $library (with "env" (instance $env)) (with "outside" (instance $outside))))
      (core func $lowered_say (canon lower (func $say) (memory (core memory $main "memory"))))
      (core instance (instantiate $fixups (with "" (instance
        (export "table" (table $shim "table"))
        (export "say" (func $lowered_say))))))
      (core instance (instantiate $last (with "env" (instance $env)) (with "library" (instance $library))))
      (func (export "run") (param "n" u32) (result u32) (canon lift (core func $library "run")))
      (func (export "fails") (canon lift (core func $library "fails"))))
"#;

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid")
}

fn modules(bytes: &[u8]) -> usize {
    let payloads = Parser::new(0).parse_all(bytes);
    payloads.filter(|payload| matches!(payload, Ok(Payload::ModuleSection { .. }))).count()
}

fn is_valid(bytes: &[u8]) -> bool {
    Validator::new_with_features(WasmFeatures::default()).validate_all(bytes).is_ok()
}

/// What a component answers, and what it says to the host meanwhile.
fn run(bytes: &[u8], n: u32) -> (u32, String) {
    let engine = Engine::default();
    let component = Component::from_binary(&engine, bytes).expect("valid");
    let mut linker = Linker::<String>::new(&engine);
    linker.root().func_wrap("double", |_, (n,): (u32,)| Ok((n * 2,))).expect("named once");
    let say = |mut store: wasmtime::StoreContextMut<String>, (text,): (String,)| {
        store.data_mut().push_str(&text);
        Ok(())
    };
    linker.root().func_wrap("say", say).expect("named once");
    let mut store = Store::new(&engine, String::new());
    let instance = linker.instantiate(&mut store, &component).expect("all is there");
    let run = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "run").expect("it is there");
    let (answer,) = run.call(&mut store, (n,)).expect("no trap");
    (answer, store.into_data())
}

#[test]
fn what_is_linked_at_each_instantiation_becomes_one_module_that_does_the_same() {
    let linked = component(LINKED);
    let merged = merged(&linked).expect("clear").expect("there is something to merge");
    // What needs a function that is made with the merged one's memory stays.
    assert_eq!((modules(&linked), modules(&merged)), (5, 2));
    for n in [1, 7] {
        assert_eq!(run(&linked, n), ((n + 11) * 2 + 100, "say:well".to_owned()));
        assert_eq!(run(&merged, n), run(&linked, n));
    }
}

#[test]
fn functions_are_called_what_they_were_in_the_file() {
    let stopped_in = |bytes: &[u8]| {
        let engine = Engine::default();
        let component = Component::from_binary(&engine, bytes).expect("valid");
        let mut linker = Linker::<()>::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("traps can stand for all");
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &component).expect("all is there");
        let fails = instance.get_typed_func::<(), ()>(&mut store, "fails").expect("it is there");
        let error = fails.call(&mut store, ()).expect_err("a trap");
        let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>().expect("it has one");
        crate::sandbox::backtrace::lines(backtrace)
    };
    let unnamed = LINKED.replace("(func $fails (export", "(func (export");
    for (text, expected) in [(LINKED, "fails"), (&unnamed, "function 3")] {
        let linked = component(text);
        let merged = merged(&linked).expect("clear").expect("there is something to merge");
        assert_eq!(stopped_in(&linked), [expected]);
        assert_eq!(stopped_in(&merged), [expected]);
    }
}

/// Each of them is compiled as it is, and answers as it did.
#[test]
fn what_cannot_be_moved_stays_where_it_is() {
    let change = |from: &str, to: &str| {
        assert!(LINKED.contains(from), "{from}");
        component(&LINKED.replace(from, to))
    };
    let starts = change("(core module $main", "(core module $main (func $start nop) (start $start)");
    let has_lines = change("(core module $main", "(core module $main (@custom \".debug_info\" \"\")");
    for bytes in [starts, has_lines] {
        assert!(merged(&bytes).expect("clear").is_none());
        assert_eq!(run(&bytes, 1), (124, "say:well".to_owned()));
    }
    let twice = change("(core instance $main", "(core instance (instantiate $shim)) (core instance $main");
    let one = merged(&twice).expect("clear").expect("there is something to merge");
    assert_eq!(modules(&one), 5, "what is there twice is part of the merged one, and stays");
    assert_eq!(run(&one, 1), (124, "say:well".to_owned()));
    // What a component within does when it begins to be there comes after the traps of those before it.
    let within =
        r#"(component $within (core module $m (func $start) (start $start)) (core instance (instantiate $m)))"#;
    let between = change(
        "(core func $lowered_double",
        &format!("{within} (instance (instantiate $within)) (core func $lowered_double"),
    );
    let two = merged(&between).expect("clear").expect("there is something to merge");
    assert_eq!(modules(&two), 5, "with that of the component within");
    assert_eq!(run(&two, 1), (124, "say:well".to_owned()));
    // A component within that takes a module from this one goes by its number.
    let within = "(component $within (alias outer 1 $shim (core module $same)) (core instance (instantiate $same)))";
    let taken =
        change("(core instance $main", &format!("{within} (instance (instantiate $within)) (core instance $main"));
    assert!(merged(&taken).is_err());
    // As far as to the one that starts, there are two.
    let library_starts = change("(func (export \"next\")", "(func $start) (start $start) (func (export \"next\")");
    let two = merged(&library_starts).expect("clear").expect("there is something to merge");
    assert_eq!(modules(&two), 4);
    assert_eq!(run(&two, 1), (124, "say:well".to_owned()));
}

/// What comes last is taken only if nobody can tell that it was there earlier.
#[test]
fn what_comes_later_stays_behind_what_it_depends_on() {
    let fills = "(elem (i32.const 0) func $say)";
    let starts = format!("{fills} (func $start) (start $start)");
    let table = r#"(import "env" "table" (table $env 6 funcref))"#;
    let fills_both = format!("{table} {fills} (elem (table $env) (i32.const 5) func $say)");
    let with_env = r#"(instantiate $fixups (with "env" (instance $env))"#;
    for (text, expected) in [
        (LINKED.to_owned(), 2),
        (LINKED.replace(fills, &starts), 3),
        (LINKED.replace(fills, &fills_both).replace("(instantiate $fixups", with_env), 3),
    ] {
        let linked = component(&text);
        let merged = merged(&linked).expect("clear").expect("there is something to merge");
        assert_eq!(modules(&merged), expected);
        assert_eq!(run(&linked, 1), (124, "say:well".to_owned()));
        assert_eq!(run(&merged, 1), (124, "say:well".to_owned()));
    }
}

#[test]
fn shipped_plugins_become_smaller_and_stay_valid() {
    for name in ["integrate", "message", "pdf-to-png"] {
        let file = format!("{}/../plugins/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(file).expect("it is committed");
        let merged = merged(&bytes).expect("clear").expect("there is something to merge");
        assert!(modules(&merged) < modules(&bytes), "{name}");
        assert!(is_valid(&merged), "{name}");
    }
}

#[test]
fn a_damaged_file_does_not_become_valid_by_being_merged() {
    let linked = component(LINKED);
    let is_merged = |bytes: &[u8], what: &str| match merged(bytes) {
        Ok(Some(merged)) => {
            assert!(is_valid(bytes) || !is_valid(&merged), "{what}");
            true
        }
        _ => false,
    };
    let mut changed = linked.clone();
    let mut merged_count = 0;
    for place in 0..linked.len() {
        for value in [0, 1, 0x7f, 0xff, linked[place] ^ 1, linked[place] ^ 0x40, linked[place].wrapping_add(1)] {
            changed[place] = value;
            merged_count += u32::from(is_merged(&changed, &format!("byte {place} was made {value}")));
        }
        changed[place] = linked[place];
        is_merged(&linked[..place], &format!("the first {place} bytes"));
    }
    assert!(merged_count > 100, "{merged_count}");
}
