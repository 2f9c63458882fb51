%%% Notifications (PEP, XEP-0163) for a session whose abilities mod_caps learned too late.
%%%
%%% mod_pubsub decides at login what to send by what mod_caps knows at that moment. If mod_caps had to ask and the answer came from capsd, the
%%% moment may be over; then what was published last is sent now. Whoever was told already may be told twice.
-module(mod_capsd_notify).

-export([is_late/2, tell/2]).

-include("mod_capsd.hrl").

%% How long to wait until mod_caps has read an answer: so often, so many milliseconds.
-define(TRIES, 50).
-define(PAUSE, 20).

%% Whether that is a question of the server about one of its own sessions, to which mod_caps does not know the answer.
-spec is_late(iq(), binary()) -> boolean().
is_late(#iq{from = JID, to = JID} = IQ, Node) ->
    Host = JID#jid.lserver,
    gen_mod:is_loaded(Host, mod_caps) andalso gen_mod:is_loaded(Host, mod_pubsub) andalso features(IQ, Node) =:= [];
is_late(_, _) ->
    false.

%% Sends what was published last, as soon as mod_caps knows the answer to that question.
-spec tell(iq(), binary()) -> ok.
tell(IQ, Node) ->
    Session = self(),
    _ = spawn(fun() -> tell(IQ, Node, Session, ?TRIES) end),
    ok.

tell(_, _, _, 0) ->
    ok;
tell(#iq{to = JID} = IQ, Node, Session, Tries) ->
    case features(IQ, Node) of
        [] ->
            timer:sleep(?PAUSE),
            tell(IQ, Node, Session, Tries - 1);
        Features ->
            Host = JID#jid.lserver,
            ejabberd_hooks:run(caps_update, Host, [JID, JID, Features]),
            lists:foreach(
                fun(Contact) -> ejabberd_hooks:run(presence_probe_hook, Host, [JID, Contact, Session]) end, online_contacts(JID)
            )
    end.

features(#iq{to = #jid{lserver = Host}}, Node) ->
    case binary:matches(Node, <<"#">>) of
        [] ->
            [];
        Places ->
            {At, 1} = lists:last(Places),
            <<URL:At/binary, "#", Ver/binary>> = Node,
            mod_caps:get_features(Host, #caps{node = URL, version = Ver})
    end.

%% The sessions of this host whose presence the user receives.
online_contacts(#jid{luser = User, lserver = Host}) ->
    [
        jid:make(Contact, Host, Resource)
     || #roster_item{jid = #jid{luser = Contact, lserver = Server}, subscription = Subscription} <-
            ejabberd_hooks:run_fold(roster_get, Host, [], [{User, Host}]),
        Server =:= Host,
        Subscription =:= both orelse Subscription =:= to,
        Resource <- ejabberd_sm:get_user_resources(Contact, Host)
    ].
