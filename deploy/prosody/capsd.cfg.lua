-- capsd beside Prosody 0.12 or later.
--
-- Copy this file to /etc/prosody/conf.d/ (readable by the group prosody, not by others: it holds a secret), replace example.org by your
-- domain and CHANGE-ME by a long random secret, and give the same secret to capsd. Then run `prosodyctl check config` and restart
-- Prosody; a reload does not add hosts. mod_privilege is in Debian's package prosody-modules.
--
-- If your VirtualHost stands in another file, its block there and the one below are joined; but of an option that both set, such as
-- modules_enabled, the one that is read last counts, so move these lines into your block then.

VirtualHost "example.org"
	-- In addition to the modules that are enabled for all hosts. Once mod_capsd is installed (README.md beside this file), add "capsd".
	modules_enabled = { "privilege" }
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
