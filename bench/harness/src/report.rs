//! The results as tables, and the bars one by one.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;

use crate::{
    BENCH, chart, cluster_report,
    counts::SCENES,
    results::{Near, Results, Scene, Timing, median, quiet},
    servers::{HYPER, Role, Route, SERVERS},
};

const BEGIN: &str = "<!-- written by `cargo xtask bench --publish` from here -->";
const END: &str = "<!-- to here -->";

/// Writes chart and tables where readers find them.
pub(crate) fn publish(results: &Results) -> anyhow::Result<()> {
    let docs = Path::new(BENCH).join("../docs");
    fs::create_dir_all(&docs)?;
    fs::write(docs.join("bench.svg"), chart::draw(results))?;
    let page = docs.join("BENCHMARKS.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|_| format!("{BEGIN}\n{END}\n"));
    let (before, rest) = text
        .split_once(BEGIN)
        .context("docs/BENCHMARKS.md has no place for tables")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/BENCHMARKS.md does not end its tables")?;
    fs::write(
        page,
        format!("{before}{BEGIN}\n\n{}\n{END}{after}", tables(results)),
    )?;
    Ok(())
}

/// All tables, as Markdown.
pub(crate) fn tables(results: &Results) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = write_bars(&mut out, results)
        .and_then(|()| write_counts(&mut out, results))
        .and_then(|()| match &results.near {
            Some(near) => write_near(&mut out, near),
            None => Ok(()),
        })
        .and_then(|()| write_timed(&mut out, results))
        .and_then(|()| write_scenarios(&mut out, results))
        .and_then(|()| match &results.cluster {
            Some(clustered) => writeln!(out, "{}", cluster_report::table(clustered)),
            None => Ok(()),
        })
        .and_then(|()| write_about(&mut out, results));
    out
}

/// The median of one figure of one server on one route.
pub(crate) fn figure(
    results: &Results,
    server: &str,
    route: Route,
    of: impl Fn(&Timing) -> f64,
) -> f64 {
    let samples = results
        .samples
        .iter()
        .filter(|sample| sample.server == server && sample.route == route);
    median(
        quiet(samples.map(|sample| &sample.timing))
            .into_iter()
            .map(of),
    )
}

/// The best of those with a role, by a figure of which more is better.
fn best(
    results: &Results,
    role: Role,
    route: Route,
    of: impl Fn(&Timing) -> f64,
) -> Option<(&'static str, f64)> {
    let all = SERVERS
        .iter()
        .filter(|server| server.role == role && (role != Role::Ours || is_default(server.name)));
    let all = all.map(|server| (server.name, figure(results, server.name, route, &of)));
    all.filter(|(_, value)| value.is_finite())
        .max_by(|one, other| one.1.total_cmp(&other.1))
}

/// Ours on Redis as it comes: what the bars are about.
fn is_default(name: &str) -> bool {
    name == "ours hyper" || name == "ours axum"
}

fn write_bars(out: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(out, "## Bars\n")?;
    writeln!(
        out,
        "| bar | ours, hyper | ours, axum | against | factor, hyper | factor, axum | |\n|---|---|---|---|---|---|---|"
    )?;
    let ours = |route, of: fn(&Timing) -> f64| {
        ["ours hyper", "ours axum"].map(|name| figure(results, name, route, of))
    };
    let mut bar = |name: &str, [hyper, axum]: [f64; 2], (whom, value): (&str, f64), least: f64| {
        // what serves hyper is the library's own figure; axum's own cost is told beside it
        let verdict = match (hyper / value >= least, axum / value >= least) {
            (true, true) => "reached",
            (true, false) => "reached on hyper, missed on axum",
            (false, true) => "missed on hyper, reached on axum",
            (false, false) => "missed",
        };
        writeln!(
            out,
            "| {name} | {hyper:.3} | {axum:.3} | {whom} {value:.3} | {:.2} | {:.2} | {verdict} |",
            hyper / value,
            axum / value
        )
    };
    let anonymous = ours(Route::Anonymous, Timing::ratio);
    bar(
        "anonymous ≥ 0.95 × plain hyper",
        anonymous,
        ("plain hyper", 1.0),
        0.95,
    )?;
    let axum = figure(results, "axum", Route::Anonymous, Timing::ratio);
    bar(
        "(the same beside plain axum)",
        anonymous,
        ("plain axum", axum),
        0.95,
    )?;
    let near = ["ours hyper near", "ours axum near"]
        .map(|name| figure(results, name, Route::Read, Timing::ratio));
    bar(
        "near-cached read ≥ 0.80 × plain hyper",
        near,
        ("plain hyper", 1.0),
        0.8,
    )?;
    bar(
        "near-cached read ≥ 0.85 × plain axum",
        near,
        ("plain axum", axum),
        0.85,
    )?;
    for (route, least) in [
        (Route::Read, 1.5),
        (Route::Write, 1.2),
        (Route::Login, 1.0),
        (Route::Logout, 1.0),
    ] {
        let own = ours(route, Timing::ratio);
        if let Some(peer) = best(results, Role::Peer, route, Timing::ratio) {
            bar(
                &format!("{} ≥ {least} × the best peer", route.name()),
                own,
                peer,
                least,
            )?;
        }
        if let (Route::Read | Route::Write, Some(anchor)) =
            (route, best(results, Role::Anchor, route, Timing::ratio))
        {
            let least = if route == Route::Read { 1.1 } else { 1.0 };
            bar(
                &format!("{} ≥ {least:.1} × by hand", route.name()),
                own,
                anchor,
                least,
            )?;
        }
    }
    writeln!(out, "\nThroughput ÷ plain hyper's; medians.\n")?;
    writeln!(
        out,
        "| p99 at 32 connections, in plain hyper's p50 | ours, hyper | ours, axum | best peer | |\n|---|---|---|---|---|"
    )?;
    for route in Route::ALL {
        let [hyper, axum] = ours(route, Timing::p99_ratio);
        let Some((peer, least)) = best(results, Role::Peer, route, |timing| -timing.p99_ratio())
        else {
            continue;
        };
        let verdict = match (hyper <= -least, axum <= -least) {
            (true, true) => "reached",
            (true, false) => "reached on hyper, missed on axum",
            (false, true) => "missed on hyper, reached on axum",
            (false, false) => "missed",
        };
        writeln!(
            out,
            "| {} | {hyper:.2} | {axum:.2} | {peer} {:.2} | {verdict} |",
            route.name(),
            -least
        )?;
    }
    writeln!(out)
}

fn write_counts(out: &mut String, results: &Results) -> std::fmt::Result {
    if results.counts.is_empty() {
        return Ok(());
    }
    let remote: Vec<_> = results
        .counts
        .iter()
        .filter(|count| count.value_bytes > 0.0)
        .collect();
    writeln!(
        out,
        "## Counted\n\n### Redis commands per request\n\n| | {} |",
        SCENES.join(" | ")
    )?;
    writeln!(out, "|---|{}", "---|".repeat(SCENES.len()))?;
    for count in &remote {
        let cells = SCENES.map(|scene| count.scenes.get(scene).map(commands).unwrap_or_default());
        writeln!(out, "| {} | {} |", count.server, cells.join(" | "))?;
    }
    for (title, of) in [
        (
            "Round trips per request",
            (|scene| format!("{}", scene.round_trips.round() as i64)) as fn(&Scene) -> String,
        ),
        ("Bytes per request, to Redis / from Redis", |scene| {
            format!(
                "{} / {}",
                scene.in_bytes.round() as i64,
                scene.out_bytes.round() as i64
            )
        }),
    ] {
        writeln!(
            out,
            "\n### {title}\n\n| | {} |\n|---|{}",
            SCENES.join(" | "),
            "---|".repeat(SCENES.len())
        )?;
        for count in &remote {
            let cells = SCENES.map(|scene| count.scenes.get(scene).map(of).unwrap_or_default());
            writeln!(out, "| {} | {} |", count.server, cells.join(" | "))?;
        }
    }
    writeln!(out, "\n### Sizes\n")?;
    writeln!(
        out,
        "| | stored value | `MEMORY USAGE` of a session | `Cookie` value | response head: anonymous, read, write | `Set-Cookie` lines | connections |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for count in &results.counts {
        let scenes: Vec<_> = ["anonymous", "read", "write"]
            .iter()
            .filter_map(|scene| count.scenes.get(*scene))
            .collect();
        let each = |of: fn(&Scene) -> f64| {
            scenes
                .iter()
                .map(|scene| format!("{:.0}", of(scene)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let stored = if count.value_bytes > 0.0 {
            [count.value_bytes, count.memory_bytes].map(|bytes| format!("{bytes:.0}"))
        } else {
            ["–".to_owned(), "–".to_owned()]
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            count.server,
            stored[0],
            stored[1],
            count.cookie_bytes,
            each(|scene| scene.head_bytes),
            each(|scene| scene.set_cookies),
            count.connections
        )?;
    }
    writeln!(out)
}

/// `GET + 2×PING`, or how many of a command there are in a request on average.
fn commands(scene: &Scene) -> String {
    if scene.commands.is_empty() {
        return "none".to_owned();
    }
    let each = scene.commands.iter().map(|(name, calls)| match calls {
        calls if (calls - 1.0).abs() < 0.001 => name.clone(),
        calls => format!("{calls}×{name}"),
    });
    each.collect::<Vec<_>>().join(" + ")
}

fn write_timed(out: &mut String, results: &Results) -> std::fmt::Result {
    if results.samples.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Timed\n")?;
    for route in Route::ALL {
        writeln!(out, "### {} /{}\n", route.method(), route.name())?;
        writeln!(
            out,
            "| | ÷ hyper (min–max) | per second | p50 µs | p99 µs | p99 ÷ hyper's p50 | server CPU µs | CPU ÷ hyper | server busy | Redis CPU µs | Redis commands | Redis reads | MiB | errors | rounds kept |"
        )?;
        writeln!(
            out,
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for server in SERVERS {
            let samples: Vec<_> = results
                .samples
                .iter()
                .filter(|sample| sample.server == server.name && sample.route == route)
                .collect();
            if samples.is_empty() {
                continue;
            }
            let timings = quiet(samples.iter().map(|sample| &sample.timing));
            let of = |of: fn(&Timing) -> f64| median(timings.iter().map(|timing| of(timing)));
            let ratios = timings.iter().map(|timing| timing.ratio());
            let (least, most) = ratios.fold((f64::MAX, 0.0), |(least, most), ratio| {
                (ratio.min(least), ratio.max(most))
            });
            writeln!(
                out,
                "| {} | **{:.3}** ({least:.3}–{most:.3}) | {:.0} | {:.0} | {:.0} | {:.2} | {:.1} | {:.2} | {:.0} % | {:.1} | {:.2} | {:.2} | {:.0} | {} | {}/{} |",
                server.name,
                of(Timing::ratio),
                of(|timing| timing.per_second),
                of(|timing| timing.p50_us),
                of(|timing| timing.p99_us),
                of(Timing::p99_ratio),
                of(|timing| timing.server_cpu_us),
                of(Timing::cpu_ratio),
                of(|timing| timing.server_busy) * 100.0,
                of(|timing| timing.redis_cpu_us),
                of(|timing| timing.redis_commands),
                of(|timing| timing.redis_reads),
                median(samples.iter().map(|sample| sample.resident_mib)),
                samples
                    .iter()
                    .map(|sample| sample.timing.errors)
                    .sum::<usize>(),
                timings.len(),
                samples.len(),
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_near(out: &mut String, near: &Near) -> std::fmt::Result {
    let commands: Vec<_> = near
        .commands
        .iter()
        .map(|(name, calls)| format!("{calls:.3} {name}"))
        .collect();
    writeln!(
        out,
        "## Near cache\n\nA kept session of 300 bytes as JSON takes {:.0} bytes in the process ({} were kept). When {:.0} of 100 reads ask Redis, a read costs {:.3} round trips on average: {}.\n",
        near.kept_bytes,
        near.sessions,
        near.misses * 100.0,
        near.round_trips,
        commands.join(", "),
    )
}

fn write_scenarios(out: &mut String, results: &Results) -> std::fmt::Result {
    if let [few, .., many] = &results.many[..] {
        writeln!(out, "## Many sessions\n")?;
        writeln!(
            out,
            "| sessions | read ÷ hyper | server CPU ÷ hyper | Redis CPU µs | value | `MEMORY USAGE` | all of Redis ÷ sessions | errors |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        let ratio =
            |timings: &[Timing]| median(quiet(timings.iter()).into_iter().map(Timing::ratio));
        for side in [few, many] {
            writeln!(
                out,
                "| {} | {:.3} | {:.2} | {:.1} | {:.0} | {:.0} | {:.0} | {} |",
                side.sessions,
                ratio(&side.timings),
                median(side.timings.iter().map(Timing::cpu_ratio)),
                median(side.timings.iter().map(|timing| timing.redis_cpu_us)),
                side.value_bytes,
                side.memory_bytes,
                side.used_memory_bytes,
                side.timings
                    .iter()
                    .map(|timing| timing.errors)
                    .sum::<usize>(),
            )?;
        }
        let factor = ratio(&many.timings) / ratio(&few.timings);
        let said = |reached| if reached { "reached" } else { "missed" };
        writeln!(
            out,
            "\nThroughput with many ÷ with few: {factor:.2} (bar 0.9: {}).",
            said(factor >= 0.9)
        )?;
        writeln!(
            out,
            "Memory of a 300-byte session: {:.0} bytes (bar 500: {}).\n",
            many.memory_bytes,
            said(many.memory_bytes <= 500.0)
        )?;
    }
    if results.growth.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "## Growth\n\n| | route | instances | connections | bytes | ÷ hyper | server CPU µs | CPU ÷ hyper | Redis CPU µs |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for cell in &results.growth {
        let of = |of: fn(&Timing) -> f64| median(quiet(cell.timings.iter()).into_iter().map(of));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.3} | {:.1} | {:.2} | {:.1} |",
            cell.server,
            cell.route.name(),
            cell.instances,
            cell.connections,
            cell.bytes,
            of(Timing::ratio),
            of(|timing| timing.server_cpu_us),
            of(Timing::cpu_ratio),
            of(|timing| timing.redis_cpu_us)
        )?;
    }
    writeln!(out)
}

fn write_about(out: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(out, "## What ran\n\n| | |\n|---|---|")?;
    for (name, value) in &results.about {
        writeln!(out, "| {name} | {value} |")?;
    }
    for server in SERVERS {
        writeln!(out, "| {} | {} |", server.name, server.set)?;
    }
    let drifts = results
        .samples
        .iter()
        .map(|sample| sample.timing.hyper_drift);
    let noisy = results
        .samples
        .iter()
        .filter(|sample| sample.timing.is_noisy())
        .count();
    let speed = results
        .samples
        .iter()
        .map(|sample| sample.timing.hyper_per_second);
    let (slowest, fastest) = speed.fold((f64::MAX, 0.0), |(least, most), speed| {
        (speed.min(least), speed.max(most))
    });
    if !results.samples.is_empty() {
        writeln!(
            out,
            "| quiet | {noisy} of {} measurements are noisy (over 10 % of a core used by others, plain hyper held up, or its runs over 25 % apart) and left out where quiet ones remain; {} did {slowest:.0}–{fastest:.0} requests per second, and its runs around one measurement lay {:.0} % apart (median) |",
            results.samples.len(),
            HYPER.name,
            median(drifts) * 100.0
        )?;
    }
    Ok(())
}
