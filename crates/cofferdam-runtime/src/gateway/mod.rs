//! The gateway's process: who it is before it serves, and which interceptors it has.

mod counter;
mod guard;
mod prices;
pub(crate) mod shapes;
mod unsent;
mod values;
mod wanted;

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use cofferdam_core::plan::PlannedCredential;
use cofferdam_credentials::oauth::Grant;
use cofferdam_credentials::{Injector, Planned};
use cofferdam_enclosure::{Channel, Received, read_large};
use cofferdam_evidence::{Secrets, Striker};
use cofferdam_exchange::Interceptor;
use cofferdam_gateway::{Authority, Before, Handle, Say, Settings, Sockets};
use cofferdam_models::budget::judge::Rules;
use cofferdam_models::budget::never_send::{NeverSend, Unsent};
use cofferdam_models::{Models, Prices};
use cofferdam_policy::models::ModelPolicy;
use cofferdam_policy::{Credential, Rule};
use guard::Guard;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use values::Values;
pub(crate) use wanted::Wanted;

use crate::prepare::Prepared;

/// The name by which this program knows that it is to be a gateway (`argv[0]`).
pub const NAME: &str = "coffer-gateway";

/// What the monitor hands over, as a memory file under [`Cover`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// What the gateway is to know.
    pub(crate) settings: Settings,
    /// What must not leave.
    pub(crate) secrets: Secrets,
    /// What requests may carry.
    pub(crate) credentials: Vec<PlannedCredential>,
    /// What models cost.
    pub(crate) prices: Prices,
    /// Which of them may be asked, and for how much.
    pub(crate) models: ModelPolicy,
    /// What is not sent to them.
    pub(crate) unsent: Vec<Unsent>,
}

impl Birth {
    /// From a run's plan, with the secrets that are known by now, the authority that its programs trust, the rules that
    /// were added since, and what earlier gateways gave out.
    ///
    /// # Errors
    /// Where the plan holds what is no rule, or the person's table of prices or files that are not sent cannot be read, in
    /// words.
    pub(crate) fn of(
        run: &Prepared,
        secrets: &Secrets,
        authority: Authority,
        added: &[Rule],
        before: Before,
    ) -> Result<Birth, String> {
        let plan = &run.plan;
        let rules: Result<Vec<Rule>, _> = plan.network.rules.iter().map(Rule::deserialize).collect();
        let mut rules = rules.map_err(|e| format!("the plan holds what is no rule: {e}"))?;
        rules.extend_from_slice(added);
        let settings = Settings {
            run: plan.run.clone(),
            names: plan.network.names.clone(),
            before,
            rules,
            authority,
            roots: plan.network.roots.clone(),
            proxy: run.proxy.clone(),
        };
        // What the person gives the command is there to be used.
        let given =
            |value: &[u8]| plan.enclosure.env.iter().any(|variable| memchr::memmem::find(&variable.0, value).is_some());
        let mut known = Secrets::default();
        run.decoys.add_to(&mut known).map_err(|e| format!("the contents of decoys cannot be known: {e}"))?;
        known.join(secrets.without(given));
        let credentials = plan.network.credentials.clone();
        let models = match &plan.network.models {
            Some(models) => {
                ModelPolicy::deserialize(&models.policy).map_err(|e| format!("the plan's [models]: {e}"))?
            }
            None => ModelPolicy::default(),
        };
        let unsent = unsent::unsent(&models, plan.project.as_path())?;
        Ok(Birth { settings, secrets: known, credentials, prices: prices::prices()?, models, unsent })
    }
}

/// Announces a [`Birth`]: its memory file is the first descriptor, then come the sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cover {
    /// How many of the sockets are listeners.
    pub(crate) tcp: usize,
    /// How many of them, behind the listeners, are datagram sockets; the last one asks for owners.
    pub(crate) udp: usize,
}

/// The whole life of a gateway; the exit status of its process. Its channel to the monitor is standard input.
pub fn main() -> i32 {
    // Where these fail, the closed channel still ends it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap_or_default();
    rustix::thread::set_name(c"coffer-gateway").unwrap_or_default();
    let Ok(control) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::from(control);
    let Ok(Received::Message(cover, files)) = channel.receive::<Cover>() else { return 1 };
    match taken(&cover, files).and_then(|(birth, sockets)| serve(birth, sockets, &channel)) {
        Ok(()) => 0,
        // The monitor says it to the person.
        Err(why) => i32::from(channel.send(&Say::Failed { why }, &[]).is_err()),
    }
}

fn serve(birth: Birth, sockets: Sockets, channel: &Channel) -> Result<(), String> {
    let control = channel.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let known = Striker::new(&birth.secrets).map_err(|e| e.to_string())?;
    let credentials: Result<Vec<Planned>, String> = birth.credentials.into_iter().map(planned).collect();
    let credentials = credentials?;
    let (secrets, prices, models) = (birth.secrets, birth.prices, birth.models);
    let never = NeverSend::new(&birth.unsent);
    let interceptors = |handle: Handle| -> Result<Vec<Box<dyn Interceptor>>, String> {
        // The guard first: it sees what the program sent, and the values that it knows stand in none of that.
        let mut all: Vec<Box<dyn Interceptor>> = vec![Box::new(Guard::new(known.clone()))];
        // Before credentials are written into requests: it sees none.
        let rules = Rules::new(models, prices.clone(), never, Rc::new(counter::Asks(handle.clone())));
        all.push(Box::new(Models::new(Box::new(rules), prices)));
        if !credentials.is_empty() {
            all.push(Box::new(Injector::new(credentials, Box::new(Values::new(handle, secrets, known)))?));
        }
        Ok(all)
    };
    cofferdam_gateway::serve(birth.settings, sockets, control, interceptors).map_err(|e| e.to_string())
}

/// A credential of the plan.
fn planned(planned: PlannedCredential) -> Result<Planned, String> {
    let credential = Credential::deserialize(&planned.credential);
    let credential = credential.map_err(|e| format!("the plan holds what is no credential: {e}"))?;
    let grant = planned.sign_in.map(|own| Grant::deserialize(own.grant)).transpose();
    let grant = grant.map_err(|e| format!("the plan holds what is no sign-in: {e}"))?;
    Ok(Planned { credential, placeholder: planned.placeholder, grant })
}

/// Reads what came with a cover.
fn taken(cover: &Cover, files: Vec<OwnedFd>) -> Result<(Birth, Sockets), String> {
    let mut files = files.into_iter();
    let memory = files.next().ok_or("the monitor sent no settings")?;
    let birth = read_large(memory).map_err(|e| format!("the settings cannot be read: {e}"))?;
    let tcp: Vec<OwnedFd> = files.by_ref().take(cover.tcp).collect();
    let udp: Vec<OwnedFd> = files.by_ref().take(cover.udp).collect();
    let diag = files.next().ok_or("the monitor sent too few sockets")?;
    Ok((birth, Sockets { tcp, udp, diag }))
}
