//! What the person asked for: as an argument, on standard input, at the terminal, in requests to models.

mod known;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cofferdam_core::Bytes;
use cofferdam_core::event::{EventKind, Link, Prompt, PromptSource};
use cofferdam_evidence::{BlobStore, Log};
use rustix::termios::{LocalModes, tcgetattr};

use known::Known;

use super::record::RecordError;
use super::typing::Typing;
use crate::protocol::INPUT_KEPT;

/// Input that comes after such a pause is another prompt.
const PAUSE: Duration = Duration::from_millis(500);
/// Most prompts from one batch of keys: what is pasted without brackets is one text, not a thousand.
const MOST_LINES: usize = 16;

/// The prompts of a run.
pub(super) struct Prompts {
    blobs: BlobStore,
    /// Absent where lines are not to be kept.
    typing: Option<Typing>,
    input: Input,
    /// What came of a message.
    message: Vec<u8>,
    /// The latest prompt's place in the log; 0 before the first one.
    origin: u64,
    known: Known,
}

/// Standard input under way.
#[derive(Default)]
struct Input {
    text: Vec<u8>,
    /// Bytes of the prompts that were written already.
    written: u64,
    /// When its last piece came; absent where nothing waits.
    last: Option<Instant>,
}

impl Prompts {
    pub(super) fn new(blobs: BlobStore, record_typing: bool) -> Prompts {
        Prompts {
            blobs,
            typing: record_typing.then(Typing::default),
            input: Input::default(),
            message: Vec::new(),
            origin: 0,
            known: Known::default(),
        }
    }

    /// The seq of the latest prompt, 0 (`run.started`) where there is none: what top commands come from.
    pub(super) fn origin(&self) -> u64 {
        self.origin
    }

    /// Writes the prompt that the command's arguments carry, where they do.
    pub(super) fn at_start(&mut self, asked: Option<&Bytes>, log: &mut Log) -> Result<Option<Prompt>, RecordError> {
        let Some(Bytes(text)) = asked else { return Ok(None) };
        let kept = &text[..text.len().min(INPUT_KEPT)];
        self.write(PromptSource::Argument, kept, text.len() as u64, log).map(Some)
    }

    /// Takes a piece of an agent's standard input.
    pub(super) fn input(&mut self, piece: &[u8]) {
        // The client keeps to the bound; this one is ours.
        let room = INPUT_KEPT.saturating_sub(self.input.text.len());
        self.input.text.extend_from_slice(&piece[..piece.len().min(room)]);
        self.input.last = Some(Instant::now());
    }

    /// Takes a piece of what a message on the standard input asks, and writes it with the last one, which says how many
    /// `bytes` it has.
    pub(super) fn message(
        &mut self,
        piece: &[u8],
        bytes: Option<u64>,
        log: &mut Log,
    ) -> Result<Option<Prompt>, RecordError> {
        let room = INPUT_KEPT.saturating_sub(self.message.len());
        self.message.extend_from_slice(&piece[..piece.len().min(room)]);
        let Some(bytes) = bytes else { return Ok(None) };
        let text = std::mem::take(&mut self.message);
        self.write(PromptSource::Message, &text, bytes, log).map(Some)
    }

    /// Writes the input that is complete: because it ended, or because nothing came for a while.
    pub(super) fn input_if_due(&mut self, log: &mut Log) -> Result<Option<Prompt>, RecordError> {
        match self.input_due() {
            Some(left) if left.is_zero() => self.write_input(None, log),
            _ => Ok(None),
        }
    }

    /// When [`Prompts::input_if_due`] has something to do.
    pub(super) fn input_due(&self) -> Option<Duration> {
        self.input.last.map(|last| PAUSE.saturating_sub(last.elapsed()))
    }

    /// Writes what waits of the standard input, with its `total` of bytes where that is known.
    pub(super) fn input_ended(&mut self, total: Option<u64>, log: &mut Log) -> Result<Option<Prompt>, RecordError> {
        self.write_input(total, log)
    }

    fn write_input(&mut self, total: Option<u64>, log: &mut Log) -> Result<Option<Prompt>, RecordError> {
        self.input.last = None;
        let text = std::mem::take(&mut self.input.text);
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let bytes = total.unwrap_or(0).saturating_sub(self.input.written).max(text.len() as u64);
        self.input.written += text.len() as u64;
        self.write(PromptSource::Stdin, &text, bytes, log).map(Some)
    }

    /// Takes keys on their way to the terminal `tty` (the pty's master), and writes the lines that they end.
    ///
    /// While the line discipline assembles lines and does not show them, a program asks for a password: nothing of such a
    /// line is kept.
    pub(super) fn typed(&mut self, keys: &[u8], tty: impl AsFd, log: &mut Log) -> Result<Vec<Prompt>, RecordError> {
        let Some(typing) = &mut self.typing else { return Ok(Vec::new()) };
        if asks_unseen(tty) {
            typing.unseen_keys(keys);
            return Ok(Vec::new());
        }
        let mut lines = typing.keys(keys);
        let rest = lines.split_off(lines.len().min(MOST_LINES));
        if let Some(last) = lines.last_mut() {
            for line in rest {
                last.text.push('\n');
                last.text.push_str(&line.text);
                last.bytes += line.bytes + 1;
            }
        }
        lines.iter().map(|line| self.write(PromptSource::Typed, line.text.as_bytes(), line.bytes, log)).collect()
    }

    fn write(&mut self, source: PromptSource, kept: &[u8], bytes: u64, log: &mut Log) -> Result<Prompt, RecordError> {
        let prompt = Prompt { source, bytes, text: self.blobs.put(kept)? };
        self.known.add(kept);
        self.origin = log.append(None, EventKind::Prompt(prompt.clone()))?;
        Ok(prompt)
    }

    /// Writes a turn of the person's that stands in a model request, unless another prompt holds the same text. `request` is
    /// its place in the log.
    pub(super) fn in_model(
        &mut self,
        request: u64,
        text: &[u8],
        bytes: u64,
        log: &mut Log,
    ) -> Result<Option<Prompt>, RecordError> {
        // What is being typed into standard input may be this very turn.
        self.write_input(None, log)?;
        if text.trim_ascii().is_empty() || self.known.has(text) {
            return Ok(None);
        }
        self.known.add(text);
        let prompt = Prompt { source: PromptSource::Model, bytes, text: self.blobs.put(text)? };
        log.append(Some((request, Link::Exchange)), EventKind::Prompt(prompt.clone()))?;
        Ok(Some(prompt))
    }
}

/// Whether a terminal is in line mode without echo; also where it cannot be asked.
fn asks_unseen(tty: impl AsFd) -> bool {
    tcgetattr(tty).map_or(true, |state| {
        state.local_modes.contains(LocalModes::ICANON) && !state.local_modes.contains(LocalModes::ECHO)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use cofferdam_core::RunId;
    use cofferdam_core::change::Digest;
    use cofferdam_core::event::{Event, RunStarted};
    use cofferdam_evidence::{RecorderKey, read_events};
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{OptionalActions, tcsetattr};

    use super::*;

    struct Desk {
        dir: tempfile::TempDir,
        log: Log,
        prompts: Prompts,
    }

    impl Desk {
        fn new(record_typing: bool) -> Desk {
            let dir = tempfile::tempdir().unwrap();
            let evidence = dir.path().join("evidence");
            std::fs::create_dir(&evidence).unwrap();
            let key = RecorderKey::load_or_create(&dir.path().join("keys")).unwrap();
            let run = RunId::from_random([7; 12]);
            let started = RunStarted {
                run: run.clone(),
                version: String::new(),
                project: "/p".into(),
                cwd: "/p".into(),
                argv: vec![],
                environment: vec![],
                uid: 0,
                host: String::new(),
                kernel: String::new(),
                plan: Digest([0; 32]),
                boundary: vec![],
                boot: String::new(),
            };
            let log = Log::create(&evidence, &run, key, started).unwrap();
            Desk { log, prompts: Prompts::new(BlobStore::open(&evidence).unwrap(), record_typing), dir }
        }

        fn text(&self, prompt: &Prompt) -> String {
            let blobs = BlobStore::open(&self.dir.path().join("evidence")).unwrap();
            let mut text = String::new();
            blobs.get(&prompt.text).unwrap().read_to_string(&mut text).unwrap();
            text
        }

        fn logged(mut self) -> Vec<Event> {
            self.log.checkpoint().unwrap();
            self.log.close().unwrap();
            read_events(&self.dir.path().join("evidence")).unwrap().map(Result::unwrap).collect()
        }
    }

    fn terminal() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, slave)
    }

    fn set(slave: &OwnedFd, modes: LocalModes, on: bool) {
        let mut state = tcgetattr(slave).unwrap();
        state.local_modes.set(modes, on);
        tcsetattr(slave, OptionalActions::Now, &state).unwrap();
    }

    #[test]
    fn an_argument_is_the_first_prompt_and_the_origin() {
        let mut desk = Desk::new(true);
        assert_eq!(desk.prompts.origin(), 0);
        let none = desk.prompts.at_start(None, &mut desk.log).unwrap();
        assert_eq!((none, desk.prompts.origin()), (None, 0));
        let long = "y".repeat(100_000);
        let prompt = desk.prompts.at_start(Some(&Bytes::from(long.as_str())), &mut desk.log).unwrap().unwrap();
        assert_eq!((prompt.source, prompt.bytes, prompt.text.size), (PromptSource::Argument, 100_000, 65_536));
        assert_eq!(desk.text(&prompt), long[..65_536]);
        assert_eq!(desk.prompts.origin(), 1);
        let events = desk.logged();
        assert_eq!(events[1].what, EventKind::Prompt(prompt));
    }

    #[test]
    fn a_turn_in_a_request_is_a_prompt_unless_another_one_holds_it() {
        let mut desk = Desk::new(true);
        desk.prompts.at_start(Some(&"fix the parser".into()), &mut desk.log).unwrap().unwrap();
        let (master, slave) = terminal();
        set(&slave, LocalModes::ECHO, true);
        desk.prompts.typed(b"yes\r", &master, &mut desk.log).unwrap();
        desk.prompts.input(br#"{"method":"session/prompt","text":"say \"hi\"\n now"}"#);
        let turn = |desk: &mut Desk, text: &str| {
            let prompt = desk.prompts.in_model(1, text.as_bytes(), 7, &mut desk.log).unwrap();
            prompt.map(|prompt| (prompt.source, prompt.bytes, desk.text(&prompt)))
        };
        for known in [
            "fix the parser",
            " fix the parser\n",
            "Context: …\n\nfix the parser",
            "yes",
            "say \"hi\"\n now",
            "",
            " \n",
        ] {
            assert_eq!(turn(&mut desk, known), None, "{known:?}");
        }
        let new = Some((PromptSource::Model, 7, "yes, and the lexer".to_owned()));
        assert_eq!(turn(&mut desk, "yes, and the lexer"), new, "a short one is not known by what it holds");
        assert_eq!(turn(&mut desk, "yes, and the lexer"), None, "not twice");
        let origin = desk.prompts.origin();
        let events = desk.logged();
        let last = events.last().unwrap();
        assert_eq!((last.cause, last.link), (Some(1), Some(Link::Exchange)));
        assert_eq!(origin, last.seq - 1, "what top commands come from is what the person gave the run itself");
    }

    #[test]
    fn input_is_one_prompt_at_its_end_or_after_a_pause() {
        let mut desk = Desk::new(true);
        assert_eq!(desk.prompts.input_due(), None);
        desk.prompts.input(b"first ");
        desk.prompts.input(b"turn\n");
        assert!(desk.prompts.input_due().unwrap() > Duration::ZERO);
        assert_eq!(desk.prompts.input_if_due(&mut desk.log).unwrap(), None);
        std::thread::sleep(PAUSE);
        let first = desk.prompts.input_if_due(&mut desk.log).unwrap().unwrap();
        assert_eq!((desk.text(&first).as_str(), first.bytes), ("first turn\n", 11));
        assert_eq!(desk.prompts.input_due(), None);
        desk.prompts.input(&[b'x'; INPUT_KEPT]);
        desk.prompts.input(b"beyond what the client may send");
        let second = desk.prompts.input_ended(Some(1_000_011), &mut desk.log).unwrap().unwrap();
        assert_eq!((second.bytes, second.text.size), (1_000_000, 65_536));
        assert_eq!(desk.prompts.input_ended(None, &mut desk.log).unwrap(), None);
        assert_eq!((desk.prompts.origin(), desk.logged().len()), (2, 3));
    }

    #[test]
    fn typed_lines_are_kept_and_passwords_are_not() {
        let mut desk = Desk::new(true);
        let (master, slave) = terminal();
        let seen = desk.prompts.typed(b"one\rtw", &master, &mut desk.log).unwrap();
        assert_eq!((desk.text(&seen[0]).as_str(), seen.len(), seen[0].source), ("one", 1, PromptSource::Typed));
        set(&slave, LocalModes::ECHO, false);
        assert_eq!(desk.prompts.typed(b"hunter2\r", &master, &mut desk.log).unwrap(), []);
        assert_eq!(desk.prompts.typed(b"hun", &master, &mut desk.log).unwrap(), []);
        set(&slave, LocalModes::ECHO, true);
        assert_eq!(desk.prompts.typed(b"ter2\r", &master, &mut desk.log).unwrap(), []);
        // Full-screen programs echo themselves.
        set(&slave, LocalModes::ECHO | LocalModes::ICANON, false);
        let raw = desk.prompts.typed("fix it, bitte schön\r".as_bytes(), &master, &mut desk.log).unwrap();
        assert_eq!(desk.text(&raw[0]), "fix it, bitte schön");
        assert_eq!(desk.prompts.origin(), 2);
        drop(slave);
        assert_eq!(desk.logged().len(), 3);
    }

    #[test]
    fn a_text_pasted_as_lines_is_few_prompts() {
        let mut desk = Desk::new(true);
        let (master, _slave) = terminal();
        let keys: String = (0..1000).map(|n| format!("line {n}\r")).collect();
        let seen = desk.prompts.typed(keys.as_bytes(), &master, &mut desk.log).unwrap();
        assert_eq!(seen.len(), MOST_LINES);
        let last = desk.text(&seen[MOST_LINES - 1]);
        assert!(last.starts_with("line 15\nline 16\n") && last.ends_with("line 999"), "{last}");
        assert_eq!(seen[MOST_LINES - 1].bytes, last.len() as u64);
    }

    #[test]
    fn typing_is_not_kept_where_that_was_asked() {
        let mut desk = Desk::new(false);
        let (master, _slave) = terminal();
        assert_eq!(desk.prompts.typed(b"one\r", &master, &mut desk.log).unwrap(), []);
        assert_eq!(desk.logged().len(), 1);
    }
}
