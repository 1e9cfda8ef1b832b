//! The suite for stores, used from another crate, on the stores that this crate provides.

#![cfg(all(feature = "contract", feature = "memory"))]

use std::sync::Arc;

use session_core::{AnyStore, MemoryStore};

mod a_memory_store {
    use super::*;

    session_core::contract!(|| async { MemoryStore::new() });
    session_core::changes_contract!(|| async { MemoryStore::new() });
}

mod a_shared_store {
    use super::*;

    session_core::contract!(|| async { Arc::new(MemoryStore::new()) });
}

mod an_erased_store {
    use super::*;

    session_core::contract!(|| async { AnyStore::new(MemoryStore::new()) });
    session_core::changes_contract!(|| async { AnyStore::new(MemoryStore::new()) });
}

mod a_shared_erased_store {
    use super::*;

    session_core::contract!(|| async { Arc::new(AnyStore::new(MemoryStore::new())) });
}

/// Every check gets a store of its own from the closure, which may use `tokio`.
mod a_store_that_is_made_asynchronously {
    use super::*;

    session_core::contract!(|| async {
        tokio::task::yield_now().await;
        tokio::spawn(async { MemoryStore::new() })
            .await
            .expect("the task is not cancelled")
    });
}
