// SPDX-License-Identifier: GPL-2.0

//! Attributes of the kernel's files, without the kernel.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// A suite of unit tests: cargo runs them as the tests that they are.
#[proc_macro_attribute]
pub fn kunit_tests(_name: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// A structure with pinned fields: nothing moves here that must not.
#[proc_macro_attribute]
pub fn pin_data(_args: TokenStream, item: TokenStream) -> TokenStream {
    without_pin(item)
}

/// Leaves out each `#[pin]`.
fn without_pin(tokens: TokenStream) -> TokenStream {
    let mut result = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Bracket
                    && group.stream().to_string() == "pin" =>
            {
                result.pop();
            }
            TokenTree::Group(group) => {
                let inner = without_pin(group.stream());
                result.push(Group::new(group.delimiter(), inner).into());
            }
            other => result.push(other),
        }
    }
    result.into_iter().collect()
}
