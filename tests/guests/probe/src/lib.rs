//! A guest of the tests: tries, line by line, what its input says, and answers a line for each with what came of it.
//!
//! | line | does |
//! | --- | --- |
//! | `env NAME`, `config NAME` | asks for a value |
//! | `vars` | names all environment variables |
//! | `read PATH`, `list PATH`, `write PATH`, `remove PATH` | tries it on a file or folder |
//! | `http METHOD SCHEME AUTHORITY PATH [NAME:VALUE…]` | sends a request, answers status and body |
//! | `send SCHEME AUTHORITY BYTES` | sends a request with so long a body |
//! | `count SCHEME AUTHORITY PATH` | answers how long the response's body is |
//! | `crowd COUNT AUTHORITY PATH` | sends so many requests at once and counts the refused ones |
//! | `tcp ADDRESS TEXT` | connects, sends the text and a line's end, answers what comes back |
//! | `pour ADDRESS BYTES` | connects and sends so many bytes |
//! | `resolve NAME`, `listen ADDRESS`, `udp ADDRESS` | tries it |
//! | `sleep MS` | waits |

mod http;
mod network;

wit_bindgen::generate!({ path: ["../../../wit/0.1.0", "wit"], world: "test:probe/probe", generate_all });

use dropforge::job::types::{Body, Done, InputDescription, Limits, OutputDescription};

struct Probe;

export!(Probe);

impl Guest for Probe {
    fn describe() -> Descriptor {
        Descriptor {
            summary: "Tries what its input says.".into(),
            version: "1.0.0".into(),
            input: InputDescription { media_types: vec!["text/plain".into()], schema: None },
            parameters: None,
            output: OutputDescription { media_type: "text/plain".into(), schema: None, artifacts: String::new() },
            examples: Vec::new(),
            limits: Limits { timeout_ms: None, memory_bytes: None, output_bytes: None },
        }
    }

    fn run(_context: Context, input: Input) -> Result<Outcome, Failure> {
        let bytes = input.bytes().map_err(|error| Failure::InvalidInput(format!("{error:?}")))?;
        let text = String::from_utf8(bytes).map_err(|error| Failure::InvalidInput(error.to_string()))?;
        let answers: Vec<String> = text.lines().map(answer).collect();
        Ok(Outcome::Done(Done { media_type: "text/plain".into(), body: Body::Bytes(answers.join("\n").into_bytes()) }))
    }
}

fn answer(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let tried = match words.as_slice() {
        ["env", name] => Ok(std::env::var(name).unwrap_or_else(|_| "unset".into())),
        ["vars"] => Ok(std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" ")),
        ["config", name] => Ok(dropforge::job::host::config(name).unwrap_or_else(|| "unset".into())),
        ["read", path] => std::fs::read_to_string(path).map_err(|error| error.to_string()),
        ["list", path] => list(path).map_err(|error| error.to_string()),
        ["write", path] => std::fs::write(path, "written").map(|()| "written".into()).map_err(|error| error.to_string()),
        ["remove", path] => std::fs::remove_file(path).map(|()| "removed".into()).map_err(|error| error.to_string()),
        ["http", method, scheme, authority, path, fields @ ..] => http::fetch(method, scheme, authority, path, fields),
        ["send", scheme, authority, bytes] => http::send(scheme, authority, bytes.parse().unwrap_or(0)),
        ["count", scheme, authority, path] => http::count(scheme, authority, path),
        ["crowd", count, authority, path] => http::crowd(count.parse().unwrap_or(0), authority, path),
        ["tcp", address, text] => network::tcp(address, text),
        ["pour", address, bytes] => network::pour(address, bytes.parse().unwrap_or(0)),
        ["resolve", name] => network::resolve(name),
        ["listen", address] => network::listen(address),
        ["udp", address] => network::udp(address),
        ["sleep", ms] => {
            std::thread::sleep(std::time::Duration::from_millis(ms.parse().unwrap_or(0)));
            Ok("slept".into())
        }
        _ => Err("no such thing to try".into()),
    };
    tried.unwrap_or_else(|error| format!("error: {error}"))
}

fn list(path: &str) -> std::io::Result<String> {
    let names = std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names.join(" "))
}
