//! `dropforge demo`: a real host, a real client, a PDF of seventeen pages.
//!
//! Renders the bundled document once, then eight times at once, through HTTP like anybody's program would, and shows how
//! close eight at once come to what the processors allow.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use futures_util::future::try_join_all;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::sleep;

use crate::client::{Client, JobView, Seen};
use crate::config::Config;
use crate::interrupts::Interrupts;
use crate::server::Server;
use crate::shipped::{INTEGRATE, MESSAGE, PDF_TO_PNG, Shipped};

const PLUGINS: [(&str, &Shipped); 3] =
    [("pdf-to-png.wasm", &PDF_TO_PNG), ("integrate.wasm", &INTEGRATE), ("message.wasm", &MESSAGE)];
/// 17 pages of text, vectors and pictures.
pub(crate) static DOCUMENT: &[u8] = include_bytes!("../assets/demo.pdf");
const DPI: u32 = 200;
const AT_ONCE: usize = 8;
/// How long compiling may take on a slow machine.
const READY_MAX: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// See it work: render a PDF once and eight times at once, through a real host.
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for the page images; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "dropforge-demo")]
    out: PathBuf,
    /// Threads that run jobs [default: one for each processor]
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Leave the host running afterwards, and say what to try
    #[arg(long)]
    keep: bool,
    /// Say what was measured as JSON, and nothing else
    #[arg(long, conflicts_with = "keep")]
    json: bool,
}

impl Demo {
    /// Runs from start to end, unless Ctrl-C comes before, and cleans up after itself. Answers whether it came to its end.
    pub async fn run(self) -> anyhow::Result<bool> {
        crate::logging::start("warn")?;
        // Ready to be interrupted before there is anything to leave behind.
        let mut interrupts = Interrupts::listen()?;
        let folder = tempfile::Builder::new().prefix("dropforge-demo-").tempdir()?;
        let config = self.configure(folder.path())?;
        let server = Server::start(&config).await?;
        let shown = tokio::select! {
            shown = self.show(&config, &server) => shown.map(|()| true),
            () = interrupts.next() => Ok(false),
        };
        let shown = match shown {
            Ok(true) if self.keep => self.stay(&server, &mut interrupts).await.map(|()| true),
            shown => shown,
        };
        // Also after a failure: the host stops in order and the folder goes.
        server.stop().await?;
        if matches!(shown, Ok(false)) {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "interrupted; the host and its jobs are gone, pages that were saved stay in {}",
                self.out.display()
            );
        }
        shown
    }

    fn configure(&self, folder: &Path) -> anyhow::Result<Config> {
        let plugins = folder.join("plugins");
        std::fs::create_dir(&plugins)?;
        for (name, plugin) in PLUGINS {
            std::fs::write(plugins.join(name), plugin.as_slice())?;
        }
        let listen = "127.0.0.1:0".parse()?;
        let workers = self.workers;
        Ok(Config { listen, workers, data: folder.join("data"), plugins, ..Config::default() })
    }

    async fn show(&self, config: &Config, server: &Server) -> anyhow::Result<()> {
        let workers = config.worker_count();
        self.tell(format_args!("A host with {workers} workers listens on http://{}", server.address()))?;
        let client = Client::new(&format!("http://{}", server.address()), None)?;
        let (compiling, started) = (spinner("compiling the plugins"), Instant::now());
        while !client.is_ready().await? {
            ensure!(started.elapsed() < READY_MAX, "the plugins were not ready after {} s", READY_MAX.as_secs());
            sleep(LOOK_EVERY).await;
        }
        compiling.finish_and_clear();
        self.tell(format_args!("Three plugins compiled and checked in {}", seconds(started.elapsed())))?;

        let bars = MultiProgress::new();
        let started = Instant::now();
        let job = self.render(&client, bars.add(bar("one document"))).await?;
        let one = started.elapsed();
        let pages = client.save_artifacts(&job, &self.out, |_, _| {}).await?;
        write_contact_sheet(&self.out, &pages)?;

        let started = Instant::now();
        let renders = (1..=AT_ONCE).map(|number| self.render(&client, bars.add(bar(&format!("document {number}")))));
        try_join_all(renders).await?;
        let eight = started.elapsed();

        self.print_table(one, eight, workers, pages.len())
    }

    /// For people.
    fn tell(&self, text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { say(text) }
    }

    /// Submits the document and follows it to its end; answers its id.
    async fn render(&self, client: &Client, bar: ProgressBar) -> anyhow::Result<String> {
        let dpi = DPI.to_string();
        let job = client.submit("pdf-to-png", &[("dpi", &dpi)], None, None, DOCUMENT).await?;
        let id = client.parse::<JobView>(&job)?.id;
        let end = client.follow(&id, |seen| {
            if let Seen::Progress(progress) = seen {
                bar.set_position((progress.fraction * 100.0) as u64);
                bar.set_message(progress.message);
            }
        });
        let job: JobView = client.parse(&end.await?)?;
        ensure!(job.state == "succeeded", "the job {id} did not succeed: {:?}", job.failure);
        bar.finish_with_message("done");
        Ok(id)
    }

    fn print_table(&self, one: Duration, eight: Duration, workers: usize, pages: usize) -> anyhow::Result<()> {
        let rounds = AT_ONCE.div_ceil(workers);
        let ideal = one * u32::try_from(rounds).unwrap_or(u32::MAX);
        let share = 100.0 * ideal.as_secs_f64() / eight.as_secs_f64();
        if self.json {
            let measured = json!({
                "pages": pages, "dpi": DPI, "workers": workers, "documents_at_once": AT_ONCE,
                "one_ms": one.as_millis(), "at_once_ms": eight.as_millis(), "ideal_ms": ideal.as_millis(),
                "reached_percent": share.round(), "folder": self.out,
            });
            return say(format_args!("{measured}"));
        }
        say(format_args!(
            "\n  {pages} pages at {DPI} dpi, one document     {:>8}\n  \
             eight documents at once           {:>8}\n  \
             ideal on {workers:>2} workers ({rounds} rounds)    {:>8}\n  \
             reached                           {share:>6.0} %\n",
            seconds(one),
            seconds(eight),
            seconds(ideal),
        ))?;
        let sheet = self.out.join("index.html");
        say(format_args!("{pages} page images in {}; open {} to see them all", self.out.display(), sheet.display()))
    }

    async fn stay(&self, server: &Server, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let url = format!("http://{}", server.address());
        let pdf = self.out.join("demo.pdf");
        std::fs::write(&pdf, DOCUMENT)?;
        say(format_args!(
            "\nThe host goes on; stop it with Ctrl-C. In another terminal, try:\n\n  \
             curl {url}/v1/kinds\n  \
             curl -H 'Prefer: wait=10' {url}/v1/jobs -d '{{\"kind\": \"integrate\", \"input\": {{\"f\": \"sqrt(4-xs**2)\", \"a\": 0, \"b\": 2, \"c\": 0, \"d\": 2, \"size\": 1000}}}}'\n  \
             curl '{url}/v1/kinds/pdf-to-png/jobs?dpi=100&first_page=3&last_page=3' --data-binary @{pdf}\n  \
             curl {url}/v1/jobs?limit=1\n  \
             curl {url}/v1/jobs/ID/artifacts/page-003.png -o page-003.png\n",
            pdf = pdf.display(),
        ))?;
        tokio::select! {
            () = interrupts.next() => Ok(()),
            reason = server.failed() => anyhow::bail!("the host ended because its store failed: {reason}"),
        }
    }
}

/// All pages on one page.
fn write_contact_sheet(folder: &Path, pages: &[PathBuf]) -> anyhow::Result<()> {
    let names = pages.iter().filter_map(|path| path.file_name()?.to_str());
    let images: String =
        names.map(|name| format!("<a href=\"{name}\"><img src=\"{name}\" alt=\"{name}\"></a>\n")).collect();
    let sheet = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Dropforge demo</title>\n\
         <style>body {{ background: #ddd; text-align: center }} img {{ width: 15rem; margin: .5rem; box-shadow: 0 2px 6px #0006 }}</style>\n\
         {images}</html>\n"
    );
    std::fs::write(folder.join("index.html"), sheet).context("cannot write the contact sheet")
}

fn bar(name: &str) -> ProgressBar {
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("  {prefix:12} [{bar:40}] {elapsed:>4}  {msg}");
    let bar = ProgressBar::new(100).with_prefix(name.to_owned());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn say(text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
