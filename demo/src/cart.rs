//! The cart: the products, and how many of each are in a session's cart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_hyper::{Key, Session, SessionError};

/// The session's cart.
pub(crate) const CART: Key<Cart> = Key::new("cart");
/// The largest count of one product.
const MAX_COUNT: u32 = 99;

/// A product for sale.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    pub(crate) cents: u32,
}

pub(crate) const PRODUCTS: [Product; 4] = [
    Product {
        code: "tea",
        name: "Green tea, 100 g",
        cents: 640,
    },
    Product {
        code: "mug",
        name: "Stoneware mug",
        cents: 1250,
    },
    Product {
        code: "kettle",
        name: "Kettle",
        cents: 4900,
    },
    Product {
        code: "biscuits",
        name: "Ginger biscuits",
        cents: 380,
    },
];

impl Product {
    pub(crate) fn find(code: &str) -> Option<&'static Self> {
        PRODUCTS.iter().find(|product| product.code == code)
    }
}

/// How many of each product, by its code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cart(BTreeMap<String, u32>);

impl Cart {
    /// The products in the cart that are still for sale, and how many of each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static Product, u32)> {
        self.0
            .iter()
            .filter_map(|(code, &count)| Some((Product::find(code)?, count)))
    }

    pub(crate) fn total_cents(&self) -> u64 {
        self.lines()
            .map(|(product, count)| u64::from(product.cents) * u64::from(count))
            .sum()
    }

    fn with_one_more(mut self, code: &str) -> Self {
        let count = self.0.entry(code.to_owned()).or_default();
        *count = count.saturating_add(1).min(MAX_COUNT);
        self
    }
}

/// Adds one to the cart. If two tabs do so concurrently, both count.
pub(crate) fn add(session: &Session, product: &'static Product) -> Result<(), SessionError> {
    session
        .update(CART, |cart| {
            cart.unwrap_or_default().with_one_more(product.code)
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cart_counts_products_and_adds_up_their_prices() {
        let mut cart = Cart::default()
            .with_one_more("tea")
            .with_one_more("tea")
            .with_one_more("mug");
        assert_eq!(cart.total_cents(), 2 * 640 + 1250);
        cart = cart.with_one_more("no longer sold");
        assert_eq!(
            cart.lines()
                .map(|(product, count)| (product.code, count))
                .collect::<Vec<_>>(),
            [("mug", 1), ("tea", 2)]
        );
        cart = (0..200).fold(cart, |cart, _| cart.with_one_more("kettle"));
        assert!(
            cart.lines()
                .any(|(product, count)| product.code == "kettle" && count == MAX_COUNT)
        );
    }
}
