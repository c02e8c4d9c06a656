//! `[tripwires]`.

use toml::de::{DeTable, DeValue};

use super::walk::Walk;

/// Whether decoys are to stand in the homes of runs; `None` where the file does not say.
pub(super) fn enabled(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<bool> {
    let (tripwires, _) = walk.table(table, "tripwires")?;
    walk.known(tripwires, &["enabled"], "`[tripwires]`");
    let value = tripwires.get("enabled")?;
    match value.get_ref() {
        DeValue::Boolean(enabled) => Some(*enabled),
        other => {
            walk.wrong_type("enabled", "true or false", other, value.span());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Class;
    use crate::rule::LayerKind;
    use crate::schema::parse;
    use crate::source::Source;

    #[test]
    fn the_persons_own_file_alone_can_switch_them_off() {
        let read = |text: &str, layer| parse(&Source::new("policy.toml", format!("version = 1\n{text}")), layer);
        let off = "[tripwires]\nenabled = false\n";
        let parsed = read(off, LayerKind::Person);
        assert_eq!((parsed.tripwires, parsed.diagnostics.len()), (Some(false), 0));
        assert_eq!(read("", LayerKind::Person).tripwires, None);
        let classes = |text, layer| read(text, layer).diagnostics.iter().map(|d| d.class).collect::<Vec<_>>();
        assert_eq!(classes(off, LayerKind::Project), [Class::UnknownKey]);
        assert_eq!(read(off, LayerKind::Project).tripwires, None);
        assert_eq!(classes("[tripwires]\nenabled = 0\n", LayerKind::Person), [Class::WrongType]);
        assert_eq!(classes("[tripwires]\nenable = false\n", LayerKind::Person), [Class::UnknownKey]);
    }
}
