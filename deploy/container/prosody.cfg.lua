-- Prosody in the container of compose.yaml: one domain, accounts on the local store, and capsd as a component.
-- For more than trying it, give it certificates (`prosodyctl cert`) and remove the two lines on encryption.
pidfile = "/run/prosody/prosody.pid"
log = "*console"
plugin_paths = { "/usr/lib/prosody/modules" }
modules_enabled = { "roster", "saslauth", "tls", "dialback", "disco", "ping", "pep", "register", "version" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
-- Reached by the containers of the same network alone.
component_interfaces = { "0.0.0.0" }

VirtualHost "example.org"
	modules_enabled = { "privilege" }
	privileged_entities = {
		["caps.example.org"] = {
			presence = "managed_entity";
			iq = { ["http://jabber.org/protocol/disco#info"] = "get" };
		};
	}

Component "caps.example.org"
	component_secret = os.getenv("CAPSD_SECRET")
	modules_enabled = { "privilege" }
