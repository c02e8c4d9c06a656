//! Texts within bounds.

/// The text, or as much of it as this many bytes hold and `…`.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        assert_eq!(cut("aäb", 2), "a…");
        assert_eq!(cut("aä", 3), "aä");
        assert_eq!(cut("ää", 1), "…");
    }
}
