//! The page with the devices of a user, on which they are ended and the password is changed.

use std::time::SystemTime;

use http::StatusCode;
use maud::{Markup, html};

use crate::{
    account::Listed,
    pages::{end_notice, format_duration, page},
};

/// The contents of the page.
pub(crate) struct Devices {
    pub(crate) sessions: Vec<Listed>,
    /// Whether the login is recent enough to change the password.
    pub(crate) is_fresh: bool,
    pub(crate) note: Option<Note>,
}

/// What became of the form that the user sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    PasswordChanged,
    WrongPassword,
    /// The login is too old, so the password has to be confirmed first.
    Reauthenticate,
}

impl Note {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::PasswordChanged => StatusCode::OK,
            Self::WrongPassword => StatusCode::UNAUTHORIZED,
            Self::Reauthenticate => StatusCode::FORBIDDEN,
        }
    }
}

/// The page.
pub(crate) fn devices(devices: &Devices) -> Markup {
    let now = SystemTime::now();
    let others = devices.sessions.iter().filter(|listed| !listed.current);
    page(
        "Your devices",
        html! {
            (end_notice())
            @match devices.note {
                Some(Note::PasswordChanged) => p.note #changed role="status" {
                    "Your password is changed, and your other devices are logged out."
                },
                Some(Note::WrongPassword) => p.note.bad #wrong role="alert" { "Wrong password." },
                Some(Note::Reauthenticate) => p.note.bad #stale role="alert" {
                    "Please confirm your current password first."
                },
                None => {},
            }
            section {
                h2 { "Logged in" }
                table #devices {
                    thead { tr { th { "Browser" } th { "Address" } th { "Last seen" } th {} } }
                    tbody { @for listed in &devices.sessions { (row(listed, now)) } }
                }
                @if others.count() > 0 {
                    form.action method="post" action="/devices/end-others" {
                        button #end-others { "Log out the others" }
                        span.hint { "Every device but this one." }
                    }
                }
                form.action method="post" action="/devices/end-all" {
                    button #end-all { "Log out everywhere" }
                    span.hint { "This device, too." }
                }
            }
            section {
                h2 { "Your password" }
                @if devices.is_fresh {
                    form #password method="post" action="/password" {
                        (password_input("New password", "new-password"))
                        button { "Change it" }
                    }
                    p.hint {
                        "It logs out your other devices. This instance knows the new password until "
                        "it ends; the one on the login page stays valid, for other visitors."
                    }
                } @else {
                    form #reauthenticate method="post" action="/reauthenticate" {
                        (password_input("Current password", "current-password"))
                        button { "Continue" }
                    }
                    p.hint { "You logged in a while ago. Confirm your password to change it." }
                }
            }
            p { a href="/" { "Back to the shop" } }
        },
    )
}

fn row(listed: &Listed, now: SystemTime) -> Markup {
    let idle = now.duration_since(listed.last_seen_at).unwrap_or_default();
    let address = listed.device.address.map(|address| address.to_string());
    html! {
        tr.current[listed.current] data-id=(listed.id) {
            td title=[listed.device.user_agent.as_deref()] {
                (listed.device.name())
                @if listed.current { strong.this { " (this device)" } }
            }
            td { (address.as_deref().unwrap_or("unknown")) }
            td { @if listed.current || idle.as_secs() < 60 { "now" } @else { (format_duration(idle)) " ago" } }
            td {
                form method="post" action="/devices/end" {
                    button name="id" value=(listed.id) { "Log out" }
                }
            }
        }
    }
}

fn password_input(label: &str, autocomplete: &str) -> Markup {
    html! {
        label { (label) input type="password" name="password" autocomplete=(autocomplete) required; }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::device::Device;

    use super::*;

    fn listed(current: bool, user_agent: &str) -> Listed {
        let seen_at = SystemTime::now() - Duration::from_secs(600);
        Listed {
            id: "AAAAAAAAAAAAAAAAAAAAAA".parse().expect("an id"),
            current,
            created_at: seen_at,
            authenticated_at: Some(seen_at),
            last_seen_at: seen_at,
            expires_at: None,
            device: Device {
                user_agent: Some(user_agent.into()),
                address: None,
            },
        }
    }

    fn html(sessions: Vec<Listed>, is_fresh: bool) -> String {
        let note = None;
        devices(&Devices {
            sessions,
            is_fresh,
            note,
        })
        .into_string()
    }

    #[test]
    fn the_text_of_a_client_is_escaped() {
        let page = html(vec![listed(false, "<script>\"")], true);
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&lt;script&gt;&quot;"), "{page}");
    }

    #[test]
    fn others_can_be_ended_if_there_are_any() {
        let alone = html(vec![listed(true, "curl")], true);
        assert!(!alone.contains("end-others") && alone.contains("end-all"));
        assert!(alone.contains("this device"));
        let page = html(vec![listed(true, "curl"), listed(false, "wget")], true);
        assert!(
            page.contains("end-others") && page.contains("10m ago"),
            "{page}"
        );
    }

    #[test]
    fn an_old_login_is_asked_for_the_password() {
        for (is_fresh, shown, hidden) in [
            (true, "new-password", "current-password"),
            (false, "current-password", "new-password"),
        ] {
            let page = html(vec![listed(true, "curl")], is_fresh);
            assert!(page.contains(shown) && !page.contains(hidden), "{page}");
        }
    }
}
