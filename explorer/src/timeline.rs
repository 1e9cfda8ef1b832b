//! A history, as a table that a person can read.

use std::fmt::Write;

use session_core::{SessionId, SessionToken, Version};

use crate::{
    call::{Effect, Op},
    history::{Applied, Called, History},
};

/// Short names for ids, tokens and versions, in the order in which they appear.
#[derive(Default)]
struct Names {
    ids: Vec<SessionId>,
    tokens: Vec<SessionToken>,
    versions: Vec<Version>,
}

fn number<T: PartialEq + Clone>(known: &mut Vec<T>, value: &T) -> usize {
    let found = known.iter().position(|other| other == value);
    found.unwrap_or_else(|| {
        known.push(value.clone());
        known.len() - 1
    })
}

impl Names {
    fn id(&mut self, id: SessionId) -> String {
        match number(&mut self.ids, &id) {
            0 => "X".into(),
            1 => "Y".into(),
            2 => "Z".into(),
            more => format!("Z{}", more - 1),
        }
    }

    fn token(&mut self, token: &SessionToken) -> String {
        let index = number(&mut self.tokens, token);
        format!("t{index} of {}", self.id(token.id()))
    }

    fn version(&mut self, version: Option<Version>) -> String {
        match version {
            Some(version) => format!("v{}", number(&mut self.versions, &version)),
            None => "any".into(),
        }
    }
}

/// Writes a history down, one line for each event.
pub fn timeline(history: &History<'_>) -> String {
    let mut names = Names::default();
    let mut text = format!("{}\n", history.case);
    for token in history.initial_jars[0].tokens() {
        let _ = writeln!(text, "the browser holds {}", names.token(&token));
    }
    let _ = writeln!(
        text,
        "{:>3} {:<8} {:<34} {:<46} then",
        "", "request", "event", "store"
    );
    for (step, event) in (0..).zip(&history.events) {
        let who = match event.owner {
            Some(owner) => owner.to_string(),
            None => String::new(),
        };
        let what = match event.fault {
            Some(fault) => format!("{}: {fault}", event.name),
            None => event.name.to_owned(),
        };
        let calls = history.applied.iter();
        let calls = calls.filter(|applied| applied.call.step == step);
        let calls: Vec<_> = calls.map(|applied| call(&mut names, applied)).collect();
        let heard = history.heard.announcements.iter();
        let heard = heard.filter(|one| one.ended == Some(step)).map(|one| {
            let (instance, id) = (one.instance, names.id(one.id));
            match one.lost {
                true => format!("instance {instance} does not hear of {id}"),
                false => format!("instance {instance} hears of {id}"),
            }
        });
        let calls: Vec<_> = calls.into_iter().chain(heard).collect();
        let then = event
            .owner
            .map(|owner| consequences(&mut names, history, owner, step))
            .unwrap_or_default();
        let line = format!(
            "{step:>3} {who:<8} {what:<34} {:<46} {then}",
            calls.join("; ")
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for (id, view) in &history.records {
        let principal = view.seen.principal.map_or("nobody", |who| who.as_str());
        let _ = writeln!(
            text,
            "at the end, {} is {principal}'s, tally {:x}, writes {:x}",
            names.id(*id),
            view.seen.tally,
            view.seen.names
        );
    }
    for (jar, who) in history.jars.iter().zip(["browser", "attacker"]) {
        for token in jar.tokens() {
            let _ = writeln!(text, "at the end, the {who} holds {}", names.token(&token));
        }
    }
    text
}

fn call(names: &mut Names, applied: &Applied) -> String {
    let call = &applied.call;
    let id = names.id(call.id);
    let what = match call.op {
        Op::Load => format!("load {id}"),
        Op::Create => format!("create {id} {}", names.version(call.version)),
        Op::Save => format!(
            "save {id} {} over {}",
            names.version(call.version),
            names.version(call.expected)
        ),
        Op::Touch => format!("touch {id} {}", names.version(call.expected)),
        Op::Destroy => format!("destroy {id} {}", names.version(call.expected)),
    };
    let effect = match (call.op, call.effect) {
        (Op::Load, Effect::Done) => {
            let valid = if applied.token_opens {
                ""
            } else {
                ", token superseded"
            };
            format!("found {}{valid}", names.version(call.found))
        }
        (_, Effect::Done) => "done".into(),
        (_, Effect::Conflict) => format!("conflict with {}", names.version(call.found)),
        (_, Effect::Absent) => "absent".into(),
        (_, Effect::Taken) => "taken".into(),
        (_, Effect::NotApplied) => "not applied".into(),
    };
    let late = if call.late { " (late)" } else { "" };
    format!("{what}: {effect}{late}")
}

/// What a request did after an event, up to its next one.
fn consequences(names: &mut Names, history: &History<'_>, owner: usize, step: u32) -> String {
    let request = &history.requests[owner];
    let mut parts = Vec::new();
    if request.sent == Some(step) {
        parts.push(match &request.presented {
            Some(token) => format!("cookie {}", names.token(token)),
            None => "no cookie".into(),
        });
        parts.push(format!("calls {}", request.script));
    }
    for called in request.calls.iter().filter(|called| called.step == step) {
        parts.push(outcome_of(called));
    }
    if let Some((_, result)) = request.finished.as_ref().filter(|(at, _)| *at == step) {
        parts.push(match result {
            Ok(outcome) => format!("response {}", outcome.kind().as_str()),
            Err(kind) => format!("error {kind:?}"),
        });
        for cookie in &request.cookies {
            parts.push(match cookie.token() {
                Some(token) => format!("sets {}", names.token(&token)),
                None => "removes the cookie".into(),
            });
        }
    }
    parts.join(", ")
}

fn outcome_of(called: &Called) -> String {
    match &called.result {
        Ok(Some(outcome)) => format!("{}: {}", called.verb, outcome.kind().as_str()),
        Ok(None) => called.verb.to_string(),
        Err(kind) => format!("{}: {kind:?}", called.verb),
    }
}
