-- capsd beside Prosody 0.12 or later.
--
-- Copy this file to /etc/prosody/conf.d/, replace example.org by your domain and CHANGE-ME by a long random secret, give the same
-- secret to capsd, then run `prosodyctl check config` and reload or restart Prosody. mod_privilege comes with Debian's package
-- prosody-modules; elsewhere: `prosodyctl install --server=https://modules.prosody.im/rocks/ mod_privilege`.
--
-- If another file configures this VirtualHost already, move the lines below into it: a second block adds to the first, but an option
-- that stands in both, such as modules_enabled, is taken from the one that is read last.

VirtualHost "example.org"
	modules_enabled = { "privilege" } -- in addition to the modules that are enabled for all hosts
	privileged_entities = {
		["caps.example.org"] = {
			-- capsd sees the presence of local users, and nothing else of them: no rosters, no messages.
			presence = "managed_entity";
			-- capsd may put one kind of question to a client, from the client's own account: what can you do?
			iq = { ["http://jabber.org/protocol/disco#info"] = "get" };
		};
	}

Component "caps.example.org"
	component_secret = "CHANGE-ME"
	-- Required here too: without it capsd connects but hears nothing, and Prosody reports no error.
	modules_enabled = { "privilege" }
