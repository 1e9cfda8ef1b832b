//! One server beside a cluster, as a table.

use std::fmt::{self, Write};

use crate::results::{Clustered, Timing, Topology, median, quiet};

/// What a request on a cluster may cost Redis, if it costs one on one server.
const BAR: f64 = 1.15;

/// As Markdown.
pub(crate) fn table(clustered: &Clustered) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = write_table(&mut out, clustered);
    out
}

fn write_table(out: &mut String, clustered: &Clustered) -> fmt::Result {
    writeln!(
        out,
        "## One server and a cluster\n\n\
         | | sessions in | connections | per second | server CPU µs | Redis CPU µs, all nodes | ÷ one server, as many for each node | ÷ one server, as many in all | Redis commands | Redis reads | errors | |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
    for cell in &clustered.cells {
        let timings = quiet(cell.timings.iter());
        let of = |of: fn(&Timing) -> f64| median(timings.iter().map(|timing| of(timing)));
        let ratio = |connections| {
            let base = clustered.cell(cell.route, Topology::OneServer, connections)?;
            Some(cell.ratio(base, |timing| timing.redis_cpu_us))
        };
        let (store, each, all) = match cell.store {
            Topology::OneServer => ("one server".to_owned(), None, None),
            Topology::Cluster(1) => ("a cluster of one".to_owned(), ratio(cell.connections), None),
            Topology::Cluster(primaries) => (
                format!("a cluster of {primaries}"),
                ratio(cell.connections / primaries),
                ratio(cell.connections),
            ),
        };
        let verdict = match each.filter(|_| all.is_some()) {
            None => String::new(),
            Some(ratio) if ratio <= BAR => format!("bar {BAR}: reached"),
            Some(_) => format!("bar {BAR}: missed"),
        };
        let [each, all] =
            [each, all].map(|ratio| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")));
        writeln!(
            out,
            "| {} | {} | {} | {:.0} | {:.1} | {:.2} | {each} | {all} | {:.2} | {:.2} | {} | {verdict} |",
            cell.route.name(),
            store,
            cell.connections,
            of(|timing| timing.per_second),
            of(|timing| timing.server_cpu_us),
            of(|timing| timing.redis_cpu_us),
            of(|timing| timing.redis_commands),
            of(|timing| timing.redis_reads),
            cell.timings
                .iter()
                .map(|timing| timing.errors)
                .sum::<usize>(),
        )?;
    }
    writeln!(out, "\nMeasured by itself: {}.", clustered.about)
}
