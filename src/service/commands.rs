//! Ad-hoc commands (XEP-0050) of those who administer capsd. For everybody else there are none: what is asked about them is answered as if
//! it were about anything that does not exist.
//!
//! That the program speaks ad-hoc commands is among its features, for everybody alike: own caps have one content, whoever asks.

use std::sync::Arc;

use super::{Request, Service};
use crate::component::Link;
use crate::stanza::form::{self, Reply};
use crate::stanza::write::ErrorReply;
use crate::stanza::{Action, Command, jid, ns};

/// The prefix of the nodes of commands.
const PREFIX: &str = "urn:capsd:0:";

/// Somebody who administers capsd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The component that was spoken to.
    pub component: String,
    /// The place under `admins`, counted from 1.
    pub place: usize,
}

/// Is given what a command says.
pub type Tell = Box<dyn FnOnce(Reply) + Send>;

/// Carries out commands.
pub trait AdminDesk: Send + Sync {
    /// The commands: the word that names each, and what it is called.
    fn commands(&self) -> &'static [(&'static str, &'static str)];

    /// Carries out one of them, now or later.
    fn command(&self, by: Admin, word: &'static str, command: Command, tell: Tell);
}

impl Service {
    /// Gives the service those who carry out commands; once. Without them there are none.
    pub fn connect(&self, desk: Arc<dyn AdminDesk>) {
        let _ = self.admin_desk.set(desk);
    }

    /// The desk, where an administrator asks.
    fn desk_for(&self, request: &Request<'_>) -> Option<(&Arc<dyn AdminDesk>, Admin)> {
        let desk = self.admin_desk.get()?;
        let place = request.link.admin(jid::bare(request.from))?;
        let component = request.link.jid().to_owned();
        Some((desk, Admin { component, place }))
    }

    /// A command; without a desk for it, it is refused as everything is that is not known.
    pub(super) fn command(&self, request: &Request<'_>, command: &Command) {
        let Some((desk, by)) = self.desk_for(request) else {
            // Whoever likes can cause these lines: nobody reads them who did not raise the level.
            tracing::debug!(
                component = request.link.jid(),
                "not carried out: an ad-hoc command of an account that is not among `admins`"
            );
            tracing::trace!(
                account = jid::bare(request.from),
                node = command.node,
                "refused"
            );
            request.refuse(ErrorReply::plain("cancel", "service-unavailable"));
            return;
        };
        let known = find(&**desk, &command.node);
        let Some((word, _)) = known else {
            request.refuse(ErrorReply::plain("cancel", "item-not-found"));
            return;
        };
        if command.too_large {
            request.reply(|out, route| form::command_error(out, route, "bad-payload"));
            return;
        }
        if matches!(command.action, Action::Invalid | Action::Prev) {
            request.reply(|out, route| form::command_error(out, route, "bad-action"));
            return;
        }
        let session = command.session.clone().unwrap_or_else(new_session);
        let link: Arc<Link> = Arc::clone(request.link);
        let [from, id, node] = [request.from, request.id, &command.node].map(str::to_owned);
        let tell = move |reply: Reply| {
            let request = Request {
                link: &link,
                from: &from,
                id: &id,
            };
            request.reply(|out, route| form::command(out, route, &node, &session, &reply));
            link.outbox.wake();
        };
        desk.command(by, word, command.clone(), Box::new(tell));
    }

    /// What a node that is no caps key is; whether it was answered.
    pub(super) fn command_info(&self, request: &Request<'_>, node: &str) -> bool {
        if node != ns::COMMANDS && !node.starts_with(PREFIX) {
            return false;
        }
        let Some((desk, _)) = self.desk_for(request) else {
            return false;
        };
        let (kind, name) = match find(&**desk, node) {
            Some((_, name)) => ("command-node", name),
            None if node == ns::COMMANDS => ("command-list", "Commands of capsd"),
            None => return false,
        };
        request.reply(|out, route| form::command_info(out, route, node, kind, name));
        true
    }

    /// The list of commands; whether it was answered.
    pub(super) fn command_items(&self, request: &Request<'_>, node: Option<&str>) -> bool {
        if node != Some(ns::COMMANDS) {
            return false;
        }
        let Some((desk, _)) = self.desk_for(request) else {
            return false;
        };
        let commands = desk.commands().iter();
        let commands: Vec<_> = commands
            .map(|(word, name)| (format!("{PREFIX}{word}"), *name))
            .collect();
        request.reply(|out, route| form::command_items(out, route, ns::COMMANDS, &commands));
        true
    }
}

fn find(desk: &dyn AdminDesk, node: &str) -> Option<(&'static str, &'static str)> {
    let word = node.strip_prefix(PREFIX)?;
    desk.commands()
        .iter()
        .find(|(known, _)| *known == word)
        .copied()
}

/// Names the session of a command. Nothing is kept for it: all that a later step needs stands in its form.
fn new_session() -> String {
    let mut random = [0; 16];
    // Without randomness it is still a name.
    let _ = getrandom::fill(&mut random);
    format!("{:032x}", u128::from_be_bytes(random))
}
