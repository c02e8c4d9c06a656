//! An attack and its judgement.

use super::{Finished, Scene, is_root};

/// What an attack needs to succeed outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: an ordinary user can.
    Nothing,
    /// A capability. The attack is made root of namespaces of its own, the nearest place where it succeeds unharmed.
    Capability,
    /// Root of the host. As an ordinary user the outside half is not run, and the test says so.
    Root,
    /// A feature that this kernel may lack: outside it may fail with this error, and then nothing is proven.
    Unless(&'static str),
}

/// An attack in the words of the attack program.
pub struct Attack<'a> {
    pub outside: Vec<&'a str>,
    pub inside: Vec<&'a str>,
    pub needs: Needs,
    /// What the loot shows of the secret: must be printed outside and not inside.
    pub canary: Option<&'a str>,
}

impl<'a> Attack<'a> {
    /// The same words on both sides.
    pub fn new(words: &[&'a str]) -> Attack<'a> {
        Attack { outside: words.to_vec(), inside: words.to_vec(), needs: Needs::Nothing, canary: None }
    }

    pub fn inside(mut self, words: &[&'a str]) -> Self {
        self.inside = words.to_vec();
        self
    }

    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    pub fn canary(mut self, canary: &'a str) -> Self {
        self.canary = Some(canary);
        self
    }

    /// Runs it on both sides; `Err` says what was wrong.
    pub fn judge(&self, scene: &Scene) -> Result<(), String> {
        self.judge_outside(scene)?;
        self.judge_inside(scene)
    }

    fn judge_outside(&self, scene: &Scene) -> Result<(), String> {
        let words = match self.needs {
            Needs::Root if !is_root() => {
                eprintln!("not proven as an ordinary user: {:?}", self.outside);
                return Ok(());
            }
            // For root too: what it mounts and renames must not be the host's.
            Needs::Capability => [&["as-own-root"], &self.outside[..]].concat(),
            _ => self.outside.clone(),
        };
        let got = scene.attack_outside(&words);
        if let Needs::Unless(error) = self.needs
            && got.out().contains(error)
        {
            eprintln!("not proven on this kernel: {:?}: {}", self.outside, got.out().trim());
            return Ok(());
        }
        if !got.status.success() || self.canary.is_some_and(|c| !got.out().contains(c)) {
            return Err(format!("{:?} does not succeed outside, so it proves nothing: {}", self.outside, got.all()));
        }
        Ok(())
    }

    /// The inside half alone.
    pub fn judge_inside(&self, scene: &Scene) -> Result<(), String> {
        let got = scene.attack_inside(&self.inside);
        // It really ran: either it said that it lost, or the kernel killed it for the call.
        let ran = got.out().contains("lost ") || got.code() == Some(128 + 31);
        if got.status.success() || !ran {
            return Err(format!("{:?} inside: {}", self.inside, got.all()));
        }
        leaks(&got, self.canary).map_err(|e| format!("{:?} {e}", self.inside))
    }
}

fn leaks(got: &Finished, canary: Option<&str>) -> Result<(), String> {
    match canary {
        // The lost line may repeat the attack's own words, never the loot.
        Some(canary) if got.out().contains(canary) => Err(format!("shows the canary inside: {}", got.all())),
        _ => Ok(()),
    }
}

/// Judges all and fails with the whole list of what was wrong.
pub fn judge_all<'a>(scene: &Scene, attacks: impl IntoIterator<Item = Attack<'a>>) {
    let wrong: Vec<String> = attacks.into_iter().filter_map(|a| a.judge(scene).err()).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n---\n"));
}
