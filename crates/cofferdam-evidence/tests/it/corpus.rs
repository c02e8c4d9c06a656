//! Evidence altered in every way that comes to mind, and the judgement of two verifiers that share no code: this crate's
//! and the one in Python.
//!
//! Also compiled into the integration tests of `cofferdam`, over the evidence of real runs.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cofferdam_evidence::{Commitment, Options, RecorderKey, State, VerifierKey, verify};
use fastrand::Rng;
use signed_note::{Note, StandardSigner};

/// The files of an evidence directory.
#[derive(Clone)]
pub struct Files {
    pub log: Vec<u8>,
    pub checkpoints: Vec<u8>,
    pub key: Vec<u8>,
    /// Relative to the directory.
    pub blobs: Vec<(PathBuf, Vec<u8>)>,
}

/// What a verifier has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Verified,
    Cut,
    Tampered,
    /// Whatever both say: an alteration that may hit a bit without meaning.
    Agreement,
}

/// One alteration.
pub struct Case {
    pub name: String,
    pub files: Files,
    pub witness: Option<Commitment>,
    pub expected: Expected,
}

impl Files {
    pub fn read(dir: &Path) -> Files {
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        let mut blobs = Vec::new();
        let mut stack = vec![dir.join("blobs")];
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.is_file() {
                blobs.push((path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
        blobs.sort();
        Files { log: read("log.jsonl"), checkpoints: read("checkpoints"), key: read("key"), blobs }
    }

    fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (name, content) in [("log.jsonl", &self.log), ("checkpoints", &self.checkpoints), ("key", &self.key)] {
            fs::write(dir.join(name), content).unwrap();
        }
        for (name, content) in &self.blobs {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), content).unwrap();
        }
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.log.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn notes(&self) -> Vec<Vec<u8>> {
        let text = String::from_utf8(self.checkpoints.clone()).unwrap();
        let starts: Vec<usize> = text.match_indices("cofferdam.dev/run/").map(|(at, _)| at).collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        starts.iter().zip(ends).map(|(from, to)| text.as_bytes()[*from..to].to_vec()).collect()
    }
}

struct Corpus<'a> {
    source: &'a Files,
    random: Rng,
    cases: Vec<Case>,
}

impl Corpus<'_> {
    fn add(&mut self, name: impl Into<String>, expected: Expected, alter: impl FnOnce(&mut Files)) {
        let mut files = self.source.clone();
        alter(&mut files);
        self.cases.push(Case { name: name.into(), files, witness: None, expected });
    }

    fn log(&mut self, name: impl Into<String>, expected: Expected, log: Vec<u8>) {
        self.add(name, expected, |files| files.log = log);
    }

    fn checkpoints(&mut self, name: impl Into<String>, expected: Expected, checkpoints: Vec<u8>) {
        self.add(name, expected, |files| files.checkpoints = checkpoints);
    }

    fn flips(&mut self) {
        let (log, notes) = (self.source.log.clone(), self.source.checkpoints.clone());
        for line in ranges(&self.source.lines()).into_iter().take(14) {
            for _ in 0..4 {
                let at = self.random.usize(line.clone());
                let log = flipped(&log, at, &mut self.random);
                self.log(format!("flip of log byte {at}"), Expected::Tampered, log);
            }
            // The newline itself.
            let log = flipped(&log, line.end - 1, &mut self.random);
            self.log(format!("flip of log byte {}", line.end - 1), Expected::Tampered, log);
        }
        for note in ranges(&self.source.notes()).into_iter().take(8) {
            for _ in 0..6 {
                let at = self.random.usize(note.start..note.end - 1);
                let notes = flipped(&notes, at, &mut self.random);
                self.checkpoints(format!("flip of checkpoint byte {at}"), Expected::Tampered, notes);
            }
        }
        for at in 0..self.source.key.len() - 1 {
            if at % 9 == 0 {
                let key = flipped(&self.source.key, at, &mut self.random);
                // A hexadecimal digit may only have become a capital.
                self.add(format!("flip of key byte {at}"), Expected::Agreement, |files| files.key = key);
            }
        }
    }

    fn lines_moved(&mut self) {
        let lines = self.source.lines();
        for n in sampled(lines.len() - 1, 10, &mut self.random) {
            let mut dropped = lines.clone();
            dropped.remove(n);
            self.log(format!("line {n} dropped"), Expected::Tampered, dropped.concat());
            let mut swapped = lines.clone();
            swapped.swap(n, n + 1);
            self.log(format!("lines {n} and {} swapped", n + 1), Expected::Tampered, swapped.concat());
            let mut doubled = lines.clone();
            doubled.insert(n, lines[n].clone());
            self.log(format!("line {n} doubled"), Expected::Tampered, doubled.concat());
        }
    }

    fn truncations(&mut self) {
        let (log, notes) = (self.source.log.clone(), self.source.checkpoints.clone());
        for _ in 0..15 {
            let at = self.random.usize(0..log.len());
            self.log(format!("log cut at byte {at}"), Expected::Tampered, log[..at].to_vec());
            let first = self.source.notes()[0].len();
            let at = self.random.usize(first..notes.len());
            self.checkpoints(format!("checkpoints cut at byte {at}"), Expected::Cut, notes[..at].to_vec());
            let at = self.random.usize(0..first);
            self.checkpoints(format!("checkpoints cut at byte {at}"), Expected::Tampered, notes[..at].to_vec());
        }
    }

    fn spliced(&mut self, other: &Files) {
        let (ours, theirs) = (self.source.lines(), other.lines());
        let most = ours.len().min(theirs.len());
        for n in sampled(most - 1, 8, &mut self.random) {
            let spliced = [&ours[..=n], &theirs[n + 1..]].concat().concat();
            self.log(format!("spliced with another run after line {n}"), Expected::Tampered, spliced);
        }
        self.checkpoints("the checkpoints of another run", Expected::Tampered, other.checkpoints.clone());
        let (ours, theirs) = (self.source.notes(), other.notes());
        for n in 1..ours.len().min(theirs.len()) {
            let mixed = [&ours[..n], &theirs[n..]].concat().concat();
            self.checkpoints(format!("checkpoints of another run from {n} on"), Expected::Tampered, mixed);
        }
    }

    fn signed_anew(&mut self, stranger: &Stranger) {
        let notes = self.source.notes();
        let signed: Vec<Vec<u8>> = notes.iter().map(|note| stranger.sign(note, false)).collect();
        let all = signed.concat();
        self.checkpoints("signed anew with another key", Expected::Tampered, all.clone());
        let key = stranger.vkey.clone().into_bytes();
        self.add("another key and its signatures", Expected::Tampered, |files| {
            files.checkpoints = all;
            files.key = key;
        });
        for n in [0, notes.len() / 2, notes.len() - 1] {
            let mut mixed = notes.clone();
            mixed[n].clone_from(&signed[n]);
            self.checkpoints(format!("checkpoint {n} signed with another key"), Expected::Tampered, mixed.concat());
        }
        let both: Vec<Vec<u8>> = notes.iter().map(|note| stranger.sign(note, true)).collect();
        self.checkpoints("with the signatures of a witness besides", Expected::Verified, both.concat());
    }

    /// Back to an older state, together with its checkpoints: only who knows a commitment sees it.
    fn rolled_back(&mut self, published: Commitment) {
        let (lines, notes) = (self.source.lines(), self.source.notes());
        for n in sampled(notes.len() - 1, 8, &mut self.random) {
            let kept = &notes[n];
            let size: usize = std::str::from_utf8(kept).unwrap().lines().nth(1).unwrap().parse().unwrap();
            if size == lines.len() {
                continue;
            }
            let alter = |files: &mut Files| {
                files.log = lines[..size].concat();
                files.checkpoints = notes[..=n].concat();
            };
            self.add(format!("back to checkpoint {n}"), Expected::Cut, alter);
            self.add(format!("back to checkpoint {n}, with a commitment"), Expected::Tampered, alter);
            self.cases.last_mut().unwrap().witness = Some(published);
        }
        self.add("untouched, with a commitment", Expected::Verified, |_| {});
        self.cases.last_mut().unwrap().witness = Some(published);
        for size in [1, published.size] {
            self.add("untouched, with another commitment", Expected::Tampered, |_| {});
            let root = cofferdam_core::change::Digest([7; 32]);
            self.cases.last_mut().unwrap().witness = Some(Commitment { size, root });
        }
    }

    fn notes_moved(&mut self) {
        let notes = self.source.notes();
        for n in sampled(notes.len(), 6, &mut self.random) {
            let mut doubled = notes.clone();
            doubled.insert(n, notes[n].clone());
            self.checkpoints(format!("checkpoint {n} twice"), Expected::Verified, doubled.concat());
        }
        let mut reversed = notes.clone();
        reversed.reverse();
        self.checkpoints("checkpoints backwards", Expected::Tampered, reversed.concat());
        let without_last = notes[..notes.len() - 1].concat();
        self.checkpoints("without the last checkpoint", Expected::Cut, without_last);
        self.checkpoints("without any checkpoint", Expected::Tampered, Vec::new());
        let crlf = String::from_utf8(notes.concat()).unwrap().replace('\n', "\r\n").into_bytes();
        self.checkpoints("checkpoints with CRLF", Expected::Tampered, crlf);
        for garbage in ["garbage", "garbage\n", "\n\n\n", "o\n1\nx\n\n\u{2014} k AAAA\n", "\u{1}\n"] {
            let torn = matches!(garbage, "garbage" | "garbage\n");
            let expected = if torn { Expected::Cut } else { Expected::Tampered };
            let more = [&notes.concat(), garbage.as_bytes()].concat();
            self.checkpoints(format!("checkpoints and {garbage:?}"), expected, more);
        }
    }

    fn blobs_altered(&mut self) {
        for n in 0..self.source.blobs.len() {
            let pack = self.source.blobs[n].0.parent() == Some(Path::new("blobs"));
            // What a pack does not hold whole is missing.
            let damaged = if pack { Expected::Verified } else { Expected::Tampered };
            for _ in 0..4 {
                let (length, mut random) = (self.source.blobs[n].1.len(), self.random.fork());
                self.add(format!("a flip in blob {n}"), Expected::Agreement, |files| {
                    let at = random.usize(0..length);
                    files.blobs[n].1 = flipped(&files.blobs[n].1, at, &mut random);
                });
                // Before the salt of a pack's first record are its digest and length.
                let first = if pack { 36 } else { 0 };
                self.add(format!("a flip in the salt of blob {n}"), Expected::Tampered, |files| {
                    let at = first + random.usize(0..32);
                    files.blobs[n].1 = flipped(&files.blobs[n].1, at, &mut random);
                });
                let cut = self.random.usize(0..length);
                self.add(format!("blob {n} cut at {cut}"), damaged, |files| files.blobs[n].1.truncate(cut));
            }
            self.add(format!("blob {n} and garbage"), damaged, |files| files.blobs[n].1.extend(b"garbage"));
            self.add(format!("blob {n} deleted"), Expected::Verified, |files| drop(files.blobs.remove(n)));
            self.add(format!("blob {n} removed on purpose"), Expected::Verified, |files| {
                let (name, _) = files.blobs.remove(n);
                files.blobs.push((format!("{}.removed", name.display()).into(), b"{}\n".to_vec()));
            });
            if pack {
                self.add(format!("pack {n} under zeros"), Expected::Agreement, |files| files.blobs[n].1[36..].fill(0));
                self.add(format!("pack {n} twice"), Expected::Verified, |files| {
                    let again = files.blobs[n].1.clone();
                    files.blobs[n].1.extend(again);
                });
            }
        }
        if self.source.blobs.len() > 1 {
            self.add("two blobs swapped", Expected::Tampered, |files| {
                let first = files.blobs[0].1.clone();
                files.blobs[0].1 = std::mem::replace(&mut files.blobs[1].1, first);
            });
        }
    }

    /// Lines that nobody recorded, and lines that are read in two ways.
    fn forged(&mut self) {
        let lines = self.source.lines();
        let size = lines.len();
        let forged = |seq: usize, data: &str| {
            format!(
                "{{\"seq\":{seq},\"time\":\"2026-11-24T13:40:01.000000000Z\",\"kind\":\"prompt\",\"data\":{data}}}\n"
            )
        };
        let appended = |line: &str| [self.source.log.clone(), line.as_bytes().to_vec()].concat();
        let digest = "ab".repeat(32);
        let good = [
            forged(size, "{}"),
            forged(size, "{\"x\":\"\\\"}}\\n{\\\"seq\\\":9\"}"),
            format!(" {}", forged(size, "{}")).trim_start().to_owned(),
            forged(size, "{}").replace(",\"kind\"", ",\"more\":[1,{\"seq\":7}],\"cause\":0,\"kind\""),
            forged(size, &format!("{{\"blob\":{{\"digest\":\"{digest}\",\"size\":1}}}}")),
        ];
        let bad = [
            forged(size + 1, "{}"),
            forged(size, "[]"),
            forged(size, "{}").replace("prompt", "run.started"),
            forged(size, "{}").replace(",\"kind\"", &format!(",\"cause\":{size},\"kind\"")),
            forged(size, "{}").replace(",\"kind\"", ",\"cause\":-1,\"kind\""),
            forged(size, "{}").replace(",\"kind\"", ",\"cause\":true,\"kind\""),
            forged(size, "{}").replace(",\"kind\"", &format!(",\"seq\":{size},\"kind\"")),
            forged(size, "{}").replace(&format!("\"seq\":{size}"), &format!("\"seq\":{size}.0")),
            forged(size, "{}").replace("2026-11-24", "2026-02-30"),
            forged(size, "{}").replace("2026-11-24T", "2026-11-24t"),
            forged(size, "{}").replace("01.000000000Z", "01Z"),
            forged(size, "{}").replace("2026-", "9026-"),
            forged(size, "{\"n\":NaN}"),
            forged(size, "{\"blob\":{\"digest\":\"ab\",\"size\":1}}"),
            forged(size, "{\"blob\":{\"digest\":\"\",\"size\":-1}}"),
            forged(size, "{}").replace("}}\n", "}}}\n"),
            forged(size, "{}").replace("{\"seq\"", "\u{feff}{\"seq\""),
            format!(" {}", forged(size, "{}")),
            format!("[{size},\"2026-11-24T13:40:01.000000000Z\",\"prompt\",null,{{}}]\n"),
            "garbage\n".to_owned(),
            "\n".to_owned(),
            "null\n".to_owned(),
        ];
        let mut found: Vec<(String, Vec<u8>, Expected)> = Vec::new();
        found.extend(good.iter().map(|line| (format!("unsigned {line:?}"), appended(line), Expected::Cut)));
        found.extend(bad.iter().map(|line| (format!("unsigned {line:?}"), appended(line), Expected::Tampered)));
        found.push(("trailing garbage".into(), appended("garbage"), Expected::Cut));
        let not_utf8 = [self.source.log.clone(), b"{\"seq\":\xff}\n".to_vec()].concat();
        found.push(("a line that is no UTF-8".into(), not_utf8, Expected::Tampered));
        for n in [1, size / 2, size] {
            let mut more = lines.clone();
            more.insert(n, forged(n, "{}").into_bytes());
            let expected = if n == size { Expected::Cut } else { Expected::Tampered };
            found.push((format!("a forged line {n}"), more.concat(), expected));
        }
        let crlf = lines.iter().map(|line| [&line[..line.len() - 1], b"\r\n"].concat()).collect::<Vec<_>>().concat();
        found.push(("CRLF".into(), crlf, Expected::Tampered));
        for end in [&b"\"}}\n"[..], b""] {
            let giant = [&self.source.log, &b"{\"x\":\""[..], &vec![b'x'; 16 << 20], end].concat();
            found.push((format!("a giant line, ended by {end:?}"), giant, Expected::Tampered));
        }
        for (name, log, expected) in found {
            self.log(name, expected, log);
        }
    }
}

/// Another person with a key.
struct Stranger {
    signer: StandardSigner,
    vkey: String,
}

impl Stranger {
    fn new(dir: &Path) -> Stranger {
        let vkey = RecorderKey::load_or_create(dir).unwrap().vkey().to_owned();
        let secret = fs::read_to_string(dir.join("recorder.key")).unwrap();
        Stranger { signer: StandardSigner::new(secret.trim()).unwrap(), vkey }
    }

    fn sign(&self, note: &[u8], besides: bool) -> Vec<u8> {
        let old = Note::from_bytes(note).unwrap();
        let mut new = if besides { old } else { Note::new(old.text(), &[]).unwrap() };
        new.add_sigs(&[&self.signer]).unwrap();
        new.to_bytes()
    }
}

/// All alterations of one run's evidence; `other` is that of another run under the same key.
pub fn corpus(source: &Files, other: &Files, published: Commitment, seed: u64, temporary: &Path) -> Vec<Case> {
    fs::create_dir_all(temporary).unwrap();
    let mut corpus = Corpus { source, random: Rng::with_seed(seed), cases: Vec::new() };
    corpus.add("untouched", Expected::Verified, |_| {});
    corpus.flips();
    corpus.lines_moved();
    corpus.truncations();
    corpus.spliced(other);
    corpus.signed_anew(&Stranger::new(&temporary.join("stranger")));
    corpus.rolled_back(published);
    corpus.notes_moved();
    corpus.blobs_altered();
    corpus.forged();
    corpus.cases
}

/// Lets both verifiers judge all cases, and fails with the list of what was wrong.
pub fn judge(cases: &[Case], vkey: &str, script: &Path, temporary: &Path) {
    let trusted = VerifierKey::parse(vkey, "test").unwrap();
    let (mut manifest, mut ours) = (String::new(), Vec::new());
    for (n, case) in cases.iter().enumerate() {
        let dir = temporary.join(format!("case-{n}"));
        case.files.write(&dir);
        let options = Options { trusted: Some(&trusted), witness: case.witness, ..Options::default() };
        ours.push(match verify(&dir, &options).unwrap().state {
            State::Verified => (Expected::Verified, None),
            State::Cut => (Expected::Cut, None),
            State::Tampered(fault) => (Expected::Tampered, Some(fault.range)),
        });
        let witness = case.witness.map(|w| format!("{}:{}", w.size, w.root)).unwrap_or_default();
        manifest.push_str(&format!("{}\t{witness}\n", dir.display()));
    }
    let theirs = python(script, vkey, &manifest);
    let mut wrong = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        if case.expected != Expected::Agreement && case.expected != ours[n].0 {
            wrong.push(format!("{}: {:?}, not {:?}", case.name, ours[n], case.expected));
        }
        if let Some(theirs) = &theirs
            && theirs[n].0 != ours[n]
        {
            wrong.push(format!("{}: ours {:?}, the other {:?}", case.name, ours[n], theirs[n]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

type Judgement = (Expected, Option<Range<u64>>);

/// What the verifier in Python says of each, and in its words; nothing where there is no Python.
fn python(script: &Path, vkey: &str, manifest: &str) -> Option<Vec<(Judgement, String)>> {
    let spawned = Command::new("python3")
        .arg(script)
        .args(["--batch", "--key", vkey])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("skipped: there is no python3 here");
        return None;
    };
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        let verdict = match said["verdict"].as_str().unwrap() {
            "verified" => (Expected::Verified, None),
            "cut" => (Expected::Cut, None),
            _ => (Expected::Tampered, Some(said["start"].as_u64().unwrap()..said["end"].as_u64().unwrap())),
        };
        (verdict, said["said"].to_string())
    };
    let all: Vec<_> = text.lines().map(read).collect();
    assert_eq!(all.len(), manifest.lines().count(), "the verifier in Python did not get through");
    Some(all)
}

fn ranges(pieces: &[Vec<u8>]) -> Vec<Range<usize>> {
    let mut end = 0;
    let range = |piece: &Vec<u8>| {
        end += piece.len();
        end - piece.len()..end
    };
    pieces.iter().map(range).collect()
}

fn flipped(bytes: &[u8], at: usize, random: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << random.u8(0..8);
    bytes
}

/// At most `most` different numbers below `below`, in order.
fn sampled(below: usize, most: usize, random: &mut Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..below).collect();
    random.shuffle(&mut all);
    all.truncate(most);
    all.sort_unstable();
    all
}
