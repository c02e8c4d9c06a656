//! What an answer of a model says, whatever protocol it is in.

use cofferdam_core::event::Usage;
use cofferdam_exchange::cut;

use super::held::{Held, Pool};

/// Most bytes of a text that are kept, of what the model wrote for people and of each tool call's arguments.
pub(crate) const TEXT: usize = 1 << 20;
/// Most tool calls of an answer.
pub(crate) const CALLS: usize = 128;
/// Most bytes of a name, an id, a reason.
pub(crate) const NAME: usize = 256;
/// Most bytes of the words of an error.
const ERROR: usize = 1024;

/// An answer so far.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) model: Option<String>,
    pub(crate) stop: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) text: Held,
    pub(crate) calls: Vec<Call>,
    pub(crate) error: Option<String>,
    /// Whether its protocol says that it is over.
    pub(crate) over: bool,
    /// Whether something was written: the first token.
    pub(crate) begun: bool,
    /// Tool calls that are not kept.
    pub(crate) beyond: u64,
    pool: Pool,
}

/// A tool call.
#[derive(Debug)]
pub(crate) struct Call {
    /// By which the parts of a stream name it.
    place: u64,
    /// Empty where the protocol gives none.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Held,
}

impl Told {
    pub(crate) fn new(pool: &Pool) -> Told {
        Told {
            model: None,
            stop: None,
            usage: None,
            text: Held::new(TEXT, pool),
            calls: Vec::new(),
            error: None,
            over: false,
            begun: false,
            beyond: 0,
            pool: pool.clone(),
        }
    }

    /// The model that answers.
    pub(crate) fn model(&mut self, model: Option<&str>) {
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            self.model = Some(cut(model, NAME));
        }
    }

    /// Why it stopped.
    pub(crate) fn stop(&mut self, stop: Option<&str>) {
        if let Some(stop) = stop {
            self.stop = Some(cut(stop, NAME));
        }
    }

    /// More text.
    pub(crate) fn text(&mut self, text: &str) {
        self.begun |= !text.is_empty();
        self.text.push(text.as_bytes());
    }

    /// A tool call begins, or is named again.
    pub(crate) fn call(&mut self, place: u64, id: &str, name: &str) {
        self.begun = true;
        let Some(call) = self.at(place) else { return };
        if !id.is_empty() {
            call.id = cut(id, NAME);
        }
        if !name.is_empty() {
            call.name = cut(name, NAME);
        }
    }

    /// Whether there is a call of this place.
    pub(crate) fn has_call(&self, place: u64) -> bool {
        self.calls.iter().any(|call| call.place == place)
    }

    /// More of its arguments.
    pub(crate) fn arguments(&mut self, place: u64, more: &str) {
        self.begun = true;
        if let Some(call) = self.at(place) {
            call.arguments.push(more.as_bytes());
        }
    }

    /// All of its arguments.
    pub(crate) fn all_arguments(&mut self, place: u64, all: &str) {
        if let Some(call) = self.at(place) {
            call.arguments.replace(all.as_bytes());
        }
    }

    fn at(&mut self, place: u64) -> Option<&mut Call> {
        // The latest is the one that is written.
        if let Some(at) = self.calls.iter().rposition(|call| call.place == place) {
            return self.calls.get_mut(at);
        }
        if self.calls.len() >= CALLS {
            self.beyond += 1;
            return None;
        }
        let arguments = Held::new(TEXT, &self.pool);
        self.calls.push(Call { place, id: String::new(), name: String::new(), arguments });
        self.calls.last_mut()
    }

    /// What went wrong; the first counts.
    pub(crate) fn failed(&mut self, error: &str) {
        if self.error.is_none() {
            self.error = Some(cut(error, ERROR));
        }
    }
}
