//! The bounds of the comparison: what hyper and axum do without sessions, and what one can write by
//! hand.

mod getex;
mod nothing;

use anyhow::bail;
use bench_scene::Arguments;

fn main() -> anyhow::Result<()> {
    bench_scene::run(serve)
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.variant.as_str() {
        "hyper" => nothing::on_hyper(&arguments).await,
        "axum" => nothing::on_axum(&arguments).await,
        "getex" => getex::serve(&arguments).await,
        other => bail!("no variant {other:?}: expected hyper, axum or getex"),
    }
}
