//! Many instances and one server.

use super::*;

/// How many attempts to connect 500 instances make in each second, when a server is down for a
/// minute and refuses them. Only the first connection of a node probes a server that is down, so
/// an instance counts once until the server is back, and with its other connection then.
#[test]
fn five_hundred_instances_let_a_server_come_back() {
    const INSTANCES: usize = 500;
    const CONNECTIONS: usize = 2;
    const DOWN: Duration = Duration::from_secs(60);
    let config = BreakerConfig {
        failures: 3,
        connect_timeout: Duration::from_secs(1),
        probe_every: Duration::from_secs(2),
    };
    let start = Instant::now();
    let mut per_second = [0; 64];
    for _ in 0..INSTANCES {
        let mut now = start;
        let mut state = Breaker::<()>::Idle.on(Event::Requested, &config, now).state;
        while now < start + DOWN {
            per_second[(now - start).as_secs() as usize] += 1;
            state = state.on(Event::AttemptStarted, &config, now).state;
            let refused = Failure::NoServer {
                text: "connection refused".to_owned(),
            };
            let transition = state.on(Event::AttemptFailed(refused), &config, now);
            let Action::RetryAfter(pause) = transition.action else {
                panic!("the repair ended: {transition:?}");
            };
            state = transition.state;
            now += crate::backoff::jitter(pause);
        }
        per_second[(now - start).as_secs() as usize] += CONNECTIONS;
        assert!(matches!(state, Breaker::Down { .. }));
    }
    println!("attempts per second: {per_second:?}");
    // they began at the same moment, and pauses of 10 ms and more have doubled seven times by then
    let while_down = &per_second[5..60];
    assert!(
        while_down.iter().all(|count| *count < INSTANCES),
        "{while_down:?}"
    );
    let back = &per_second[60..];
    assert!(
        back.iter().all(|count| *count <= CONNECTIONS * INSTANCES),
        "{back:?}"
    );
    let connected: usize = back.iter().sum();
    assert_eq!(connected, CONNECTIONS * INSTANCES);
}
