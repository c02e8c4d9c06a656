//! The ends of processes: heard from their pidfds, recorded with what the kernel tells of them.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cofferdam_core::event::{Counted, EventKind, ExitSource, Link, ProcessExit, ProcessImage, Statement};
use cofferdam_sys::pidfd;
use rustix::event::{Timespec, epoll};
use rustix::fs::{fstat, fstatfs};
use rustix::process::Signal;

use super::{Processes, REFUSED, Totals, agent};
use crate::monitor::images::Image;
use crate::monitor::record::{RecordError, Recorder};

/// `PID_FS_MAGIC` of linux/magic.h.
const PIDFS: rustix::fs::FsWord = 0x5049_4446;
/// How long large programs that are still being read are waited for at the end.
const LAST_IMAGES: Duration = Duration::from_secs(2);

impl Processes {
    pub(super) fn hear_ends(&mut self) -> Result<(), RecordError> {
        let mut events: [epoll::Event; 64] = std::array::from_fn(|_| epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        });
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.ends, &mut events[..], Some(&now)) {
            Ok(got) => {
                self.heard.extend(events[..got].iter().map(|event| {
                    let (flags, data) = (event.flags, event.data); // the structure is packed
                    (data.u64(), flags.contains(epoll::EventFlags::HUP))
                }));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(RecordError::Processes(e.into())),
        }
    }

    pub(super) fn record_ends(
        &mut self,
        recorder: &mut Recorder,
        gone: &mut Vec<(u32, u64)>,
    ) -> Result<(), RecordError> {
        for (data, reaped) in std::mem::take(&mut self.heard) {
            let (pid, generation) = (data as u32, (data >> 32) as u32);
            if self.known.get(&pid).is_some_and(|p| p.generation == generation) {
                self.try_end(pid, reaped, recorder, gone)?;
            }
        }
        Ok(())
    }

    /// A process has ended, or may have. What its status was is known of the kernel once it is `reaped`.
    pub(super) fn try_end(
        &mut self,
        pid: u32,
        reaped: bool,
        recorder: &mut Recorder,
        gone: &mut Vec<(u32, u64)>,
    ) -> Result<(), RecordError> {
        let Some(process) = self.known.get_mut(&pid) else { return Ok(()) };
        let status = match &process.pidfd {
            Some(fd) => pidfd::exit_status(fd.as_fd()).map_err(RecordError::Processes)?,
            None => None,
        };
        if status.is_some() || reaped {
            gone.push((pid, process.seq));
            self.end(pid, status.map(|s| (s, ExitSource::Pidfd)), recorder)?;
        } else if let Some(fd) = &process.pidfd
            && process.ended.is_none()
        {
            process.ended = Some(Instant::now());
            // Ready as long as it is not reaped, which only its parent can change: from here on only HUP is of interest.
            let data = epoll::EventData::new_u64(u64::from(process.generation) << 32 | u64::from(pid));
            epoll::modify(&self.ends, fd, data, epoll::EventFlags::empty())
                .map_err(|e| RecordError::Processes(e.into()))?;
        }
        Ok(())
    }

    pub(super) fn end(
        &mut self,
        pid: u32,
        known: Option<(i32, ExitSource)>,
        recorder: &mut Recorder,
    ) -> Result<(), RecordError> {
        let known = match known {
            Some(known) => Some(known),
            None => {
                self.census.read().map_err(RecordError::Processes)?;
                self.census.status(pid).map(|status| (status, ExitSource::Connector))
            }
        };
        let killed = |status: i32| outcome(status).1 == Some(Signal::KILL.as_raw());
        let known = match known {
            Some((status, _)) if self.over && killed(status) => Some((status, ExitSource::RunEnd)),
            other => other,
        };
        let Some(process) = self.known.remove(&pid) else { return Ok(()) };
        self.samples.forget(pid);
        self.ended.insert(pid, process.seq);
        let end = process.ended.unwrap_or_else(Instant::now);
        let (code, signal) = known.map_or((None, None), |(status, _)| outcome(status));
        let data = ProcessExit {
            pid,
            code,
            signal,
            microseconds: u64::try_from(end.saturating_duration_since(process.begun).as_micros()).unwrap_or(u64::MAX),
            memory: process.memory,
            source: known.map_or(ExitSource::Unknown, |(_, source)| source),
        };
        recorder.append(Some((process.seq, Link::Process)), EventKind::ProcessExit(data))?;
        self.totals.exits += 1;
        Ok(())
    }

    /// From now on everything inside is killed: who ends by that, ends with the run.
    pub(in crate::monitor) fn close(&mut self) {
        self.over = true;
    }

    /// Everything inside is gone: records the ends that are not recorded yet, and states what was counted. The second
    /// result is whom [`Processes::turn`] has not named.
    pub(in crate::monitor) fn finish(
        &mut self,
        recorder: &mut Recorder,
        statement: &mut Statement,
    ) -> Result<(Totals, Vec<(u32, u64)>), RecordError> {
        let mut gone = Vec::new();
        self.record_ends(recorder, &mut gone)?;
        self.images_read(recorder)?;
        self.census.read().map_err(RecordError::Processes)?;
        for (pid, seq) in self.known.iter().map(|(pid, process)| (*pid, process.seq)).collect::<Vec<_>>() {
            let status = match self.known.get(&pid).and_then(|p| p.pidfd.as_ref()) {
                Some(fd) => pidfd::exit_status(fd.as_fd()).map_err(RecordError::Processes)?,
                None => None,
            };
            let known = status.map(|s| (s, ExitSource::Pidfd));
            let known = known.or_else(|| self.census.status(pid).map(|s| (s, ExitSource::Connector)));
            self.end(pid, Some(known.unwrap_or((Signal::KILL.as_raw(), ExitSource::RunEnd))), recorder)?;
            gone.push((pid, seq));
        }
        let deadline = Instant::now() + LAST_IMAGES;
        while let Some(image) = self.images.await_next(deadline) {
            agent::came(&mut self.agent, &image, recorder)?;
            image_read(image, recorder)?;
        }
        agent::write(&mut self.agent, recorder)?;
        let Totals { execs, exits, processes, unknown, refused, names, .. } = self.totals;
        gap(recorder, "digests of executed programs that could not be read in time", self.images.dropped())?;
        gap(recorder, "names of environments that were too many", names)?;
        gap(recorder, "processes killed in an exec of which it is not known whether it happened", unknown)?;
        // The first was told when it happened.
        gap(recorder, REFUSED, refused.saturating_sub(1))?;
        self.census.state(execs, unknown, statement);
        statement.exits = Counted { recorded: exits, counted: Some(processes), unexplained: exits.abs_diff(processes) };
        Ok((self.totals, gone))
    }
}

pub(super) fn gap(recorder: &mut Recorder, what: &str, count: u64) -> Result<(), RecordError> {
    if count > 0 {
        recorder.append(None, EventKind::EvidenceGap { what: what.to_owned(), count })?;
    }
    Ok(())
}

pub(super) fn image_read(image: Image, recorder: &mut Recorder) -> Result<(), RecordError> {
    for (seq, executable) in image.execs.into_iter().filter(|(_, e)| e.digest.is_some()) {
        let data = ProcessImage { executable, size: image.size };
        recorder.append(Some((seq, Link::Process)), EventKind::ProcessImage(data))?;
    }
    Ok(())
}

/// Code and signal of a status as `waitpid(2)` gives it.
fn outcome(status: i32) -> (Option<i32>, Option<i32>) {
    match status & 0x7f {
        0 => (Some(status >> 8 & 0xff), None),
        signal => (None, Some(signal)),
    }
}

/// Whether a process that has executed is another one than that which is known by its number.
pub(super) fn is_another(known: &OwnedFd, executed: Option<&OwnedFd>, ended: bool) -> bool {
    // From Linux 6.9 on each process has an inode of its own for its descriptors.
    let inode = |fd: &OwnedFd| {
        let is_own = fstatfs(fd).is_ok_and(|fs| fs.f_type == PIDFS);
        if is_own { fstat(fd).ok().map(|stat| stat.st_ino) } else { None }
    };
    match (inode(known), executed.and_then(inode)) {
        (Some(known), Some(executed)) => known != executed,
        // Of one that had ended when its exec was told, the end has not been told yet: it is the one that is known.
        _ => !ended && pidfd::has_ended(known.as_fd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_even_when_it_has_ended() {
        let open = |pid: u32| {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
        };
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let (first, second, own) = (open(child.id()), open(child.id()), open(std::process::id()));
        assert!(!is_another(&first, Some(&second), true));
        child.wait().unwrap();
        assert!(!is_another(&first, Some(&second), true));
        assert!(is_another(&first, Some(&own), false));
        assert!(is_another(&first, None, false) && !is_another(&own, None, false));
    }

    #[test]
    fn a_status_is_a_code_or_a_signal() {
        assert_eq!(outcome(0x0300), (Some(3), None));
        assert_eq!(outcome(0), (Some(0), None));
        assert_eq!(outcome(9), (None, Some(9)));
        assert_eq!(outcome(0x80 | 11), (None, Some(11)), "with a core dump");
    }
}
