//! What led to an exec.

use std::rc::Rc;

use cofferdam_core::event::Link;

use super::Processes;
use crate::monitor::names::Names;
use crate::monitor::record::RecordError;
use crate::monitor::resident;

/// How far up the parents of a process are followed.
const GENERATIONS: u32 = 64;

impl Processes {
    /// The `process.exec` of the program that a process runs, which it may have from an ancestor.
    pub(in crate::monitor) fn program_of(&mut self, pid: u32) -> Result<u64, RecordError> {
        let parent = resident::parent(pid).unwrap_or(0);
        Ok(self.cause(pid, parent)?.0)
    }

    /// What led to an exec: the process's own last one, or that of its nearest ancestor that has one.
    pub(super) fn cause(&mut self, pid: u32, parent: u32) -> Result<(u64, Link, Option<Rc<Names>>), RecordError> {
        if let Some(process) = self.known.get(&pid) {
            return Ok((process.seq, Link::Process, process.names.clone()));
        }
        let mut ancestor = parent;
        for _ in 0..GENERATIONS {
            if ancestor == 0 || ancestor == self.init {
                break;
            }
            if let Some(process) = self.known.get(&ancestor) {
                return Ok((process.seq, Link::Parent, process.names.clone()));
            }
            ancestor = resident::parent(ancestor).unwrap_or(0);
        }
        if self.totals.execs > 0 {
            // Its parent is gone, and init has it: who bore it is news of the connector.
            self.census.read().map_err(RecordError::Processes)?;
            let mut ancestor = self.census.parent(pid);
            for _ in 0..GENERATIONS {
                let Some(of) = ancestor.filter(|of| *of != self.init) else { break };
                if let Some(process) = self.known.get(&of) {
                    return Ok((process.seq, Link::Parent, process.names.clone()));
                }
                if let Some(seq) = self.ended.get(of) {
                    return Ok((*seq, Link::Parent, None));
                }
                ancestor = self.census.parent(of);
            }
        }
        Ok((self.origin, Link::Parent, self.start.clone()))
    }
}
