//! What is kept of which stream.

use std::process::{Command, Stdio};

use cofferdam_core::event::{Source, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use sha2::{Digest, Sha256};

use super::{bash, recorded};

#[test]
fn standard_output_and_error_are_two_outputs_of_one_command() {
    let (output, recorded) = recorded(|| bash("echo out; echo err >&2; exit 3").output().unwrap());
    assert_eq!((&output.stdout[..], &output.stderr[..], output.status.code()), (&b"out\n"[..], &b"err\n"[..], Some(3)));
    let (out, err) = (recorded.saying("out\n"), recorded.saying("err\n"));
    assert_eq!((out.output.stream, err.output.stream), (Stream::Stdout, Stream::Stderr));
    assert_eq!(out.output.source, Source::Pipe);
    assert_eq!(out.exec, err.exec);
    assert!(recorded.execs.contains_key(&out.exec.unwrap()));
    assert_eq!((out.output.bytes, out.output.dropped, out.output.head), (4, 0, 4));
    assert_eq!(recorded.counted.recorded, 8);
    assert_eq!((recorded.counted.counted, recorded.counted.unexplained), (Some(8), 0));
    assert_eq!(recorded.gaps, []);
}

#[test]
fn one_pipe_for_both_keeps_the_order() {
    let (text, recorded) = recorded(|| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut child = bash("for i in {1..300}; do echo o$i; echo e$i >&2; done")
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let text = std::io::read_to_string(std::fs::File::from(reader)).unwrap();
        assert!(child.wait().unwrap().success());
        text
    });
    let expected: String = (1..=300).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert_eq!(text, expected);
    assert_eq!(recorded.saying(&expected).output.stream, Stream::Both);
}

#[test]
fn every_stage_of_a_pipeline_is_recorded_and_nothing_twice() {
    let (output, recorded) = recorded(|| bash("seq 5 | tac | head -2; echo done").output().unwrap());
    assert_eq!(output.stdout, b"5\n4\ndone\n");
    assert_eq!(recorded.texts(), ["1\n2\n3\n4\n5\n", "5\n4\n3\n2\n1\n", "5\n4\ndone\n"]);
}

#[test]
fn a_subshell_that_writes_itself_keeps_its_order() {
    let script = "( for i in {1..50}; do echo shell $i; /bin/echo command $i; done ) | cat";
    let (output, _) = recorded(|| bash(script).output().unwrap());
    let expected: String = (1..=50).map(|i| format!("shell {i}\ncommand {i}\n")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn commands_that_are_given_one_pipe_share_a_tee() {
    let (text, recorded) = recorded(|| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        for i in 0..20 {
            let status = bash(&format!("echo {i}")).stdout(writer.try_clone().unwrap()).status().unwrap();
            assert!(status.success());
        }
        drop(writer);
        std::io::read_to_string(std::fs::File::from(reader)).unwrap()
    });
    let expected: String = (0..20).map(|i| format!("{i}\n")).collect();
    assert_eq!(text, expected, "in the order in which they ran");
    let kept: Vec<u8> = recorded.outputs.iter().flat_map(|o| o.head.clone()).collect();
    assert_eq!(kept, expected.as_bytes());
}

#[test]
fn two_commands_at_a_time_share_a_tee() {
    let (lines, recorded) = recorded(|| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let start =
            || bash("for i in {1..200}; do echo line $i; done").stdout(writer.try_clone().unwrap()).spawn().unwrap();
        let mut children = [start(), start()];
        drop(writer);
        let text = std::io::read_to_string(std::fs::File::from(reader)).unwrap();
        children.iter_mut().for_each(|c| assert!(c.wait().unwrap().success()));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(lines.len(), 400);
    for i in 1..=200 {
        assert_eq!(lines.iter().filter(|l| **l == format!("line {i}")).count(), 2);
    }
    assert_eq!(recorded.counted.recorded, recorded.counted.counted.unwrap());
}

#[test]
fn of_200_mb_nothing_changes_on_the_way_and_both_ends_are_kept() {
    const BYTES: u64 = 200_000_000;
    let script = format!("seq 1000000000 | head -c {BYTES}");
    let digest_of = |mut command: Command| {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(child.stdout.as_mut().unwrap(), &mut hasher).unwrap();
        (bytes, hasher.finalize(), child.wait().unwrap().code())
    };
    let bare = digest_of(bash(&script));
    let (teed, recorded) = recorded(|| digest_of(bash(&script)));
    assert_eq!(teed, bare);
    assert_eq!(teed.0, BYTES);
    let output = recorded.outputs.iter().find(|o| o.output.bytes == BYTES).unwrap();
    assert_eq!(output.output.head, 1 << 20);
    let content = recorded.content(output);
    let tail = &content[1 << 20..];
    assert!(tail.len() >= 64 << 10, "only {} bytes of the end are kept", tail.len());
    let mut all = Vec::new();
    let mut child = bash(&script).stdout(Stdio::piped()).spawn().unwrap();
    std::io::copy(child.stdout.as_mut().unwrap(), &mut all).unwrap();
    child.wait().unwrap();
    assert!(all.starts_with(&content[..1 << 20]));
    assert!(all.ends_with(tail));
    assert_eq!(recorded.counted.unexplained, 0);
}

#[test]
fn outputs_around_the_size_of_the_head_are_whole() {
    for bytes in [8191u64, 8192, 8193, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 20) + 50_000] {
        let (output, recorded) =
            recorded(|| Command::new("head").args(["-c", &bytes.to_string(), "/dev/urandom"]).output().unwrap());
        assert_eq!(output.stdout.len() as u64, bytes);
        let kept = &recorded.outputs[0];
        assert_eq!((kept.output.bytes, kept.output.dropped), (bytes, 0));
        assert_eq!(kept.output.head, bytes, "there is no gap");
        assert_eq!(recorded.content(kept), output.stdout);
    }
}

#[test]
fn a_thousand_short_commands_are_a_thousand_outputs() {
    let ((), recorded) = recorded(|| {
        for i in 0..1000 {
            let output = Command::new("/bin/echo").arg(i.to_string()).output().unwrap();
            assert_eq!(output.stdout, format!("{i}\n").into_bytes());
        }
    });
    assert_eq!(recorded.outputs.len(), 1000);
    let mut execs: Vec<u64> = recorded.outputs.iter().map(|o| o.exec.unwrap()).collect();
    execs.sort_unstable();
    execs.dedup();
    assert_eq!(execs.len(), 1000, "each its own command's");
    let mut expected: Vec<String> = (0..1000).map(|i| format!("{i}\n")).collect();
    expected.sort();
    assert_eq!(recorded.texts(), expected);
}

#[test]
fn terminals_null_and_closed_streams_are_left_alone() {
    let (status, recorded) =
        recorded(|| bash("echo x; exec 1>&-; /bin/true").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap());
    assert!(status.success());
    assert_eq!((recorded.outputs.len(), recorded.gaps.len()), (0, 0));
}
