//! Output that goes to regular files.

use std::fs::File;
use std::process::Stdio;

use cofferdam_core::event::{Source, Stream};

use super::{bash, recorded_in};

#[test]
fn a_file_is_read_when_its_command_ends_and_not_again_for_its_children() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out");
    std::fs::write(&path, "before\n").unwrap();
    let ((), recorded, _) = recorded_in(|| {
        let file = File::options().append(true).open(&path).unwrap();
        let status = bash("echo shell; /bin/echo command; /bin/echo error >&2")
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .unwrap();
        assert!(status.success());
    });
    let output = recorded.saying("shell\ncommand\nerror\n");
    assert_eq!((output.output.stream, output.output.source), (Stream::Both, Source::File));
    assert_eq!(recorded.outputs.len(), 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nshell\ncommand\nerror\n");
}

#[test]
fn a_redirection_inside_a_script_is_its_commands_output() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out");
    let script = format!("seq 3 > {0}; seq 4 5 >> {0}", path.display());
    let ((), recorded, _) = recorded_in(|| assert!(bash(&script).stdout(Stdio::null()).status().unwrap().success()));
    assert_eq!(recorded.texts(), ["1\n2\n3\n", "4\n5\n"]);
}

#[test]
fn head_and_tail_of_a_large_file_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out");
    let ((), recorded, _) = recorded_in(|| {
        let status = bash("exec seq 1000000").stdout(File::create(&path).unwrap()).status().unwrap();
        assert!(status.success());
    });
    let all = std::fs::read(&path).unwrap();
    let output = &recorded.outputs[0];
    let content = recorded.content(output);
    assert_eq!(output.output.bytes, all.len() as u64);
    assert_eq!(output.output.head, 1 << 20);
    assert_eq!(content[..1 << 20], all[..1 << 20]);
    assert_eq!(content[1 << 20..], all[all.len() - (64 << 10)..]);
}

#[test]
fn a_file_open_for_reading_is_no_output() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("in");
    std::fs::write(&path, "text").unwrap();
    let (_, recorded, _) =
        recorded_in(|| bash("/bin/true").stdout(File::open(&path).unwrap()).stderr(Stdio::null()).status().unwrap());
    assert_eq!((recorded.outputs.len(), recorded.gaps.len()), (0, 0));
}

#[test]
fn a_fifo_with_a_name_may_change_its_reader() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("fifo");
    let script = format!(
        "mkfifo {0}; (exec bash -c 'echo 1; read -t 1 x < <(sleep 9); echo 2' > {0}) & head -1 {0}; cat {0}; wait $!; \
         echo $?",
        fifo.display()
    );
    let (output, recorded, _) = recorded_in(|| bash(&script).output().unwrap());
    assert_eq!(output.stdout, b"1\n2\n0\n");
    assert_eq!(recorded.gaps.len(), 1, "{:?}", recorded.gaps);
}

#[test]
fn what_a_child_that_executes_nothing_writes_to_a_file_is_its_parents() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out");
    let script = format!(
        "import os\nif os.fork() == 0:\n  os.dup2(os.open('{}', os.O_WRONLY | os.O_CREAT), 1)\n  try: \
         os.execv('/nonexistent', ['x'])\n  except OSError: os.write(1, b'no such program')\n  os._exit(1)\nos.wait()\n\
         os.execv('/bin/true', ['true'])",
        path.display()
    );
    let (status, recorded, _) = recorded_in(|| super::python(&script).stdout(Stdio::null()).status().unwrap());
    assert!(status.success());
    assert!(recorded.saying("no such program").exec.is_some());
}
