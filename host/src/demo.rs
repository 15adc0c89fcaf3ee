//! placeholder
use clap::Args;
/// x
#[derive(Debug, Args)]
pub struct Demo {}
impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}
