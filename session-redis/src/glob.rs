//! The patterns of Redis.

/// Escapes what is special in them, so that a pattern matches exactly this text.
pub(crate) fn escaped(literal: &str) -> String {
    let mut pattern = String::with_capacity(literal.len());
    for c in literal.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
