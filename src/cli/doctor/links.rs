//! What is wrong with a link to a server.

use super::finding::Finding;
use crate::component::examine::{DomainStatus, LinkStatus, Tried};

/// By how many seconds two clocks may differ.
const SAME_TIME: u64 = 60;

/// Looks at a link. `clock` is the time of this machine, in seconds since 1970.
pub(super) fn check(link: &LinkStatus, tried: &Tried, clock: u64) -> Vec<Finding> {
    if let Some(down) = &link.down {
        return vec![down_for(link, down)];
    }
    let name = &link.name;
    let said = format!(
        "{name} is connected to {}, and the secret is right",
        link.server
    );
    let mut findings = vec![Finding::fine("server", &said)];
    findings.extend(link.domains.iter().map(|domain| privilege(link, domain)));
    findings.extend(presence(link));
    findings.push(round_trip(link, tried));
    findings.push(listed(link, tried));
    findings.push(clocks(link, tried.server_clock, clock));
    findings
}

/// What the daemon says of a link that is down is a cause, with the next step behind it.
fn down_for(link: &LinkStatus, down: &str) -> Finding {
    let symptom = format!("{} is not connected to {}", link.name, link.server);
    let (cause, remedy) = down
        .split_once(". Next step: ")
        .unwrap_or((down, "see the log"));
    let check = match cause {
        cause if cause.starts_with("wrong secret") => "secret",
        cause if cause.starts_with("unknown host") => "component",
        _ => "server",
    };
    Finding::problem(check, &symptom, cause, remedy)
}

fn privilege(link: &LinkStatus, domain: &DomainStatus) -> Finding {
    const CHECK: &str = "privilege";
    let (jid, name) = (&link.jid, &domain.name);
    let presence = format!(
        "Prosody: `privileged_entities = {{ [\"{jid}\"] = {{ presence = \"managed_entity\"; … }} }}` under VirtualHost \"{name}\"; ejabberd: \
         `presence: {{ managed_entity: … }}` under `mod_privilege`"
    );
    match (domain.told, domain.presence) {
        (false, _) => Finding::problem(
            CHECK,
            &format!(
                "the server of {name} accepted {jid}, and grants it nothing: announcements of its users do not arrive"
            ),
            &format!(
                "Prosody: `privilege` is missing in `modules_enabled` of Component \"{jid}\", or of VirtualHost \"{name}\" with its \
                 `privileged_entities`, and nothing is said about it then; ejabberd: `mod_privilege` is missing, or its access rule does not \
                 match {jid}"
            ),
            "install /usr/share/capsd/prosody/capsd.cfg.lua or /usr/share/capsd/ejabberd/capsd.yml (deploy/ of the sources) with your names in \
             it, and restart the server",
        ),
        (true, false) => Finding::problem(
            CHECK,
            &format!(
                "the server of {name} does not grant presence, so announcements of its users do not arrive"
            ),
            "the permission for presence is missing, or it is not `managed_entity`",
            &format!("grant it ({presence}), and restart the server"),
        ),
        (true, true) if domain.disco_info => Finding::fine(
            CHECK,
            &format!("{name} grants presence and questions in the name of its users"),
        ),
        (true, true) => Finding::note(
            CHECK,
            &format!(
                "{name} grants presence; clients are asked from {jid} itself, not in the name of their own account"
            ),
            "questions in the name of users are not granted, which ejabberd can from 24.10 on",
            &format!(
                "Prosody: `iq = {{ [\"http://jabber.org/protocol/disco#info\"] = \"get\" }};` beside `presence` for [\"{jid}\"] under \
                 VirtualHost \"{name}\"; ejabberd from 24.10 on: `iq:` under `mod_privilege`"
            ),
        ),
    }
}

fn presence(link: &LinkStatus) -> Option<Finding> {
    const CHECK: &str = "presence";
    if !link.domains.iter().any(|domain| domain.presence) {
        return None;
    }
    let (name, count) = (&link.name, link.presences);
    Some(match count {
        0 => Finding::warning(
            CHECK,
            &format!("no presence has come over {name} since it is up"),
            "nobody has logged in since then; ejabberd does not repeat who was online before",
            "log in with a client, and run this again while the daemon runs",
        ),
        _ => Finding::fine(
            CHECK,
            &format!("{count} presences have come over {name} since it is up"),
        ),
    })
}

fn round_trip(link: &LinkStatus, tried: &Tried) -> Finding {
    const CHECK: &str = "query";
    let name = &link.name;
    match tried.round_trip_ms {
        Some(milliseconds) => {
            let said =
                format!("a query to {name} went through the server and back in {milliseconds} ms");
            Finding::fine(CHECK, &said)
        }
        None => Finding::problem(
            CHECK,
            &format!("a query to {} did not come through the server", link.jid),
            "another connection holds the JID and receives what is sent to it, the server routes it elsewhere, or it is very slow",
            "see that only one capsd uses this JID, and that no other host or module of the server has it",
        ),
    }
}

fn listed(link: &LinkStatus, tried: &Tried) -> Finding {
    const CHECK: &str = "listed";
    let jid = &link.jid;
    let domain = link
        .domains
        .first()
        .map_or("the server", |domain| &domain.name);
    match tried.listed {
        Some(true) => Finding::fine(CHECK, &format!("{domain} lists {jid} among its services")),
        Some(false) => Finding::warning(
            CHECK,
            &format!("{domain} does not list {jid} among its services (disco#items)"),
            "the component is no subdomain of it",
            &format!(
                "Prosody: add it to `disco_items` of VirtualHost \"{domain}\"; ejabberd: to `extra_domains` of `mod_disco`"
            ),
        ),
        None => Finding::warning(
            CHECK,
            &format!("{domain} does not tell a component what services it has"),
            "the server answers that to users only, or has service discovery switched off",
            "look with a client whether it is listed",
        ),
    }
}

fn clocks(link: &LinkStatus, server: Option<u64>, clock: u64) -> Finding {
    const CHECK: &str = "clock";
    let Some(server) = server else {
        return Finding::note(
            CHECK,
            "the clocks of this machine and of the server were not compared",
            &format!("the server {} does not tell its time", link.server),
            "to have them compared, load `time` (Prosody) or `mod_time` (ejabberd) there",
        );
    };
    let apart = server.abs_diff(clock);
    match apart <= SAME_TIME {
        true => Finding::fine(
            CHECK,
            &format!("the server {} has the same time", link.server),
        ),
        false => Finding::problem(
            CHECK,
            &format!(
                "the clocks of this machine and of the server {} are {apart} seconds apart",
                link.server
            ),
            "one of them is wrong",
            "set both by NTP (`timedatectl` shows whether that is on)",
        ),
    }
}
