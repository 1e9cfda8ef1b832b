//! The chart that the README shows: throughput as a share of plain hyper's, by route.
//!
//! It carries its own colours for light and dark, and asks for no font but the reader's own.

use std::fmt::Write;

use crate::{
    report::figure,
    results::{Results, Timing},
    servers::{Role, Route, SERVERS, Server},
};

const WIDTH: usize = 860;
const LEFT: usize = 176;
const RIGHT: usize = 56;
const BAR: usize = 13;
const GAP: usize = 3;
const HEAD: usize = 58;

const STYLE: &str = "\
    text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 } .route { font-size: 13px; font-weight: 600 } .small { fill: #59636e; font-size: 11px }
    .ours { fill: #0969da } .peer { fill: #afb8c1 } .anchor { fill: #bf8700 } .plain { fill: #7d8590 } .token { fill: #8250df } .grid { stroke: #d1d9e0 }
    .back { fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc } .small { fill: #9198a1 }
      .ours { fill: #4493f8 } .peer { fill: #57606a } .anchor { fill: #d29922 } .plain { fill: #7d8590 } .token { fill: #ab7df8 } .grid { stroke: #3d444d }
      .back { fill: #0d1117 }
    }";

/// Draws the medians of the runs.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for route in Route::ALL {
        let mut rows: Vec<_> = SERVERS
            .iter()
            .filter(|server| is_shown(server))
            .map(|server| (server, figure(results, server.name, route, Timing::ratio)))
            .filter(|(_, ratio)| ratio.is_finite())
            .collect();
        rows.sort_by(|one, other| other.1.total_cmp(&one.1));
        if rows.is_empty() {
            continue;
        }
        text(&mut body, LEFT, y + 12, "route", "start", route.name());
        y += 20;
        let longest = rows.iter().map(|(_, ratio)| *ratio).fold(0.0, f64::max);
        for (server, ratio) in rows {
            let length = (ratio / longest * (WIDTH - LEFT - RIGHT) as f64).max(1.0);
            let class = class(server.role);
            text(&mut body, LEFT - 8, y + 11, "", "end", &label(server));
            push(
                &mut body,
                &format!(
                    "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
                ),
            );
            text(
                &mut body,
                LEFT + length as usize + 6,
                y + 11,
                "small",
                "start",
                &format!("{ratio:.2}"),
            );
            y += BAR + GAP;
        }
        y += 14;
    }
    let mut head = String::new();
    text(
        &mut head,
        16,
        26,
        "title",
        "start",
        "Requests per second, as a share of plain hyper without sessions",
    );
    let mut x = 16;
    for (role, name) in [
        (Role::Ours, "this project"),
        (Role::Peer, "peers"),
        (Role::Anchor, "one axum handler by hand"),
        (Role::Token, "signed tokens, no logout"),
        (Role::Plain, "no sessions"),
    ] {
        push(
            &mut head,
            &format!(
                "<rect class=\"{}\" x=\"{x}\" y=\"38\" width=\"11\" height=\"11\" rx=\"2\"/>",
                class(role)
            ),
        );
        text(&mut head, x + 16, 48, "small", "start", name);
        x += 40 + name.len() * 7;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\" \
         aria-label=\"Throughput of session libraries by route\">\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n{head}{body}</svg>\n"
    )
}

/// The other variants are in the tables.
fn is_shown(server: &Server) -> bool {
    !matches!(
        server.name,
        "hyper" | "ours hyper touch" | "ours hyper near miss"
    )
}

fn label(server: &Server) -> String {
    server
        .name
        .replace("ours hyper", "ours, hyper")
        .replace("ours axum", "ours, axum")
}

fn class(role: Role) -> &'static str {
    match role {
        Role::Plain => "plain",
        Role::Anchor => "anchor",
        Role::Ours => "ours",
        Role::Peer => "peer",
        Role::Token => "token",
    }
}

fn text(out: &mut String, x: usize, y: usize, class: &str, anchor: &str, text: &str) {
    push(
        out,
        &format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>"
        ),
    );
}

fn push(out: &mut String, line: &str) {
    // writing to a string cannot fail
    let _ = writeln!(out, "{line}");
}
