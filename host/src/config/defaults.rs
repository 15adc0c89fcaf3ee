//! What a host does where nothing is set. The documentation of each setting says the same.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, MIB};
use crate::rate::RateLimit;
use crate::time::Span;

impl Default for Config {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            insecure: false,
            tls_cert: None,
            tls_key: None,
            data: "dropforge-data".into(),
            plugins: "plugins".into(),
            workers: 0,
            parked_jobs_max: 1_000,
            queue_max: 100_000,
            json_bytes_max: 8 * MIB,
            body_bytes_max: 256 * MIB,
            rate_limit: RateLimit::default(),
            cors_origins: Vec::new(),
            hosts: Vec::new(),
            connections_max: 20_000,
            streams_max: 200,
            header_bytes_max: 32 << 10,
            header_timeout: seconds(10),
            idle_timeout: seconds(60),
            wait_max: seconds(300),
            listeners_max: 20_000,
            grace: seconds(10),
            keep_alive: seconds(15),
            timeout: seconds(60),
            timeout_max: seconds(3_600),
            fuel_per_ms: 25_000_000,
            memory_bytes: 256 * MIB,
            memory_bytes_max: 1024 * MIB,
            output_bytes: 256 * MIB,
            output_bytes_max: 4096 * MIB,
            plugin_file_bytes_max: 256 * MIB,
            plugin_checks_max: 2,
            retry_pause: seconds(1),
            retry_pause_max: seconds(600),
            crashes_max: 3,
            keep: seconds(7 * 24 * 3_600),
            keep_jobs_max: 100_000,
            keep_bytes_max: 10 * 1024 * MIB,
            keep_keys: seconds(24 * 3_600),
            keep_uploads: seconds(24 * 3_600),
            uploads_max: 10_000,
            upload_bytes_max: 10 * 1024 * MIB,
            disk_reserve_bytes: 256 * MIB,
            webhooks: Vec::new(),
            webhook_secrets: Vec::new(),
            webhook_timeout: seconds(15),
            webhook_pause: seconds(5),
            webhook_pause_max: seconds(3_600),
            webhook_keep_trying: seconds(24 * 3_600),
            webhooks_max: 100_000,
            log: "info".to_owned(),
            doubts: Vec::new(),
            named: Default::default(),
        }
    }
}
