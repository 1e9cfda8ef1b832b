//! The nodes and the map, without servers.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use session_core::StoreErrorKind;
use test_support::{eventually, port};

use super::*;

fn address(port: u16) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

fn cluster(seed: u16) -> Arc<Cluster> {
    let config = RedisConfig::cluster(["h"]).expect("an address");
    let announcer = Announcer::new(&config.prefix);
    Cluster::new(vec![address(seed)], Arc::new(config), announcer, None)
}

/// One node serves all slots.
fn served_by(port: u16) -> Result<Vec<SlotRange>, Failure> {
    Ok(vec![SlotRange {
        first: 0,
        last: 16_383,
        primary: address(port),
    }])
}

/// The node that the map has for a key, and the one that is known at its address.
fn nodes_of(cluster: &Cluster, key: &str) -> (Arc<Node>, Option<Arc<Node>>) {
    let map = cluster.map.borrow();
    let node = map.node(slot(key)).cloned().expect("a node");
    let address = Address::parse(&node.source().to_string(), 0).expect("an address");
    let known = cluster.lock_nodes().get(&address).cloned();
    (node, known)
}

#[test]
fn an_address_has_one_node_although_maps_arrive_while_slots_move() {
    let cluster = cluster(1);
    assert!(cluster.apply(served_by(1)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                cluster.moved("k", address(2));
            }
        });
        let mut moved = 0;
        for _ in 0..1000 {
            let _ = cluster.apply(served_by(1));
            let (node, known) = nodes_of(&cluster, "k");
            moved += usize::from(node.source().to_string().ends_with(":2"));
            let same = known.is_some_and(|known| Arc::ptr_eq(&node, &known));
            if !same {
                stop.store(true, Ordering::Relaxed);
            }
            assert!(same, "another node at the address of {node:?}");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(moved > 0, "no slot was moved in between");
    });
}

#[test]
fn a_node_that_only_a_redirection_names_is_dropped_with_the_next_map() {
    let cluster = cluster(1);
    assert!(cluster.apply(served_by(1)));
    let mode = SendMode {
        asking: Some(address(2)),
        ..SendMode::default()
    };
    assert!(cluster.node("k", &mode).is_some());
    assert_eq!(cluster.lock_nodes().len(), 2);
    assert!(!cluster.apply(served_by(1)), "the map is the same");
    assert_eq!(cluster.lock_nodes().len(), 1);
}

/// The first operation waits for the first attempt. Those after it know the reason at once, while
/// the map is fetched again and again in the background.
#[tokio::test]
async fn operations_fail_at_once_while_there_is_no_map() {
    let cluster = cluster(port::free());
    let far = Instant::now() + Duration::from_secs(3600);
    let failure = cluster.find_node("k", far).await.expect_err("no cluster");
    let kind = failure.clone().into_store_error(false).kind();
    assert_eq!(kind, StoreErrorKind::Unavailable);
    let mut find = std::pin::pin!(cluster.find_node("k", far));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(find.as_mut().poll(cx)));
    match polled.await {
        std::task::Poll::Ready(found) => assert_eq!(found.err(), Some(failure)),
        std::task::Poll::Pending => panic!("it waits"),
    }
    let attempts = || cluster.map.borrow().attempts();
    let before = attempts();
    eventually("the map is asked for again", async || {
        attempts() > before + 1
    })
    .await;
}
