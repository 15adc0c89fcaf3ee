//! Sockets through the standard library.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

/// Connects, sends a line, and answers everything that comes back.
pub(crate) fn tcp(address: &str, text: &str) -> Result<String, String> {
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(text.as_bytes())?;
        stream.write_all(b"\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(|error: std::io::Error| error.to_string())
}

/// Connects and sends so many bytes.
pub(crate) fn pour(address: &str, bytes: usize) -> Result<String, String> {
    let send = || {
        let mut stream = TcpStream::connect(address)?;
        let chunk = [b'x'; 4096];
        (0..bytes.div_ceil(chunk.len())).try_for_each(|_| stream.write_all(&chunk))
    };
    send().map(|()| "sent".into()).map_err(|error: std::io::Error| error.to_string())
}

/// Looks a name up.
pub(crate) fn resolve(name: &str) -> Result<String, String> {
    let addresses = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    Ok(addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" "))
}

/// Waits for connections, or tries to.
pub(crate) fn listen(address: &str) -> Result<String, String> {
    TcpListener::bind(address).map(|_| "listening".into()).map_err(|error| error.to_string())
}

/// Sends a datagram, or tries to.
pub(crate) fn udp(address: &str) -> Result<String, String> {
    let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", address);
    send().map(|_| "sent".into()).map_err(|error| error.to_string())
}
