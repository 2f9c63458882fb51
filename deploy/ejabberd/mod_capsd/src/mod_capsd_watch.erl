%%% Who announces what, and which session was told: hooks on presence, in the process of each session.
%%%
%%% Three tables. `own`: what the sessions of this node announced. `heard`: what each of them received, which decides whose questions are
%%% answered. `passing`: the announcers of elsewhere (contacts on other servers, occupants of rooms), once each, however many sessions
%%% hear them. What changes in `own` and `passing` is reported to capsd.
%%%
%%% A session's rows go when its process ends, whatever ends it (mod_capsd_link monitors it).
-module(mod_capsd_watch).

-export([self_presence/1, routed/1, user_receive_packet/2, filters/1, filters_changed/2, session_pending/1, copy_session/2, handle_cast/2]).
-export([tables/0, sessions/1, forget/3, own_nodes/2, announced/2, session/2, heard/3, next_reports/3]).

-include("mod_capsd.hrl").

%% What a session's process remembers: `{Heard, LJID, Count}` once its end is watched, with the table that counts its rows and how many
%% there are; and the contents of the presence that it sent last, and of that which it sent last to everybody, each with the nodes that it
%% announces. (Hooks that are handed a stanza alone have no other place.) See mod_capsd_told as well.
-define(SESSION, mod_capsd_session).
-define(SENT, mod_capsd_sent).
-define(SENT_TO_ALL, mod_capsd_sent_to_all).

-spec tables() -> {ets:tid(), ets:tid(), ets:tid()}.
tables() ->
    Options = [ordered_set, public, {read_concurrency, true}, {write_concurrency, true}],
    {ets:new(mod_capsd_heard, Options), ets:new(mod_capsd_own, Options), ets:new(mod_capsd_passing, Options)}.

%% The sessions about which there are rows, each with its address, which is empty if it has announced nothing.
-spec sessions(#capsd{}) -> #{pid() => jid:ljid()}.
sessions(#capsd{own = Own, heard = Heard}) ->
    ets:foldl(fun({LJID, Session, _, _, _}, Sessions) -> Sessions#{Session => LJID} end, hearing(ets:first(Heard), Heard, #{}), Own).

hearing('$end_of_table', _, Sessions) ->
    Sessions;
hearing({Session, _}, Heard, Sessions) ->
    %% Every text comes after every address.
    hearing(ets:next(Heard, {Session, <<>>}), Heard, Sessions#{Session => {<<>>, <<>>, <<>>}}).

%%% Hooks

%% A session sends presence to everybody, or is not available to anybody any longer.
-spec self_presence({presence(), ejabberd_c2s:state()}) -> {presence(), ejabberd_c2s:state()}.
self_presence({#presence{type = available} = Presence, #{jid := JID, lserver := Host}} = Acc) ->
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        Capsd ->
            _ = announce(Capsd, JID, Presence) orelse fall_silent(Capsd, JID),
            put(?SENT_TO_ALL, get(?SENT))
    end,
    Acc;
self_presence({#presence{type = unavailable}, #{jid := JID, lserver := Host}} = Acc) ->
    _ = erase(?SENT),
    _ = erase(?SENT_TO_ALL),
    mod_capsd_told:forget_all(),
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        Capsd ->
            %% Nobody's presence comes any longer, so what was heard may be wrong from now on.
            retract(Capsd, jid:tolower(JID), self()),
            forget_heard(Capsd, self())
    end,
    Acc;
self_presence(Acc) ->
    Acc.

%% A presence is on its way, and no filter of its sender has stopped it. What goes to everybody was seen before; directed presence is, to
%% whomever it goes, the session's last announcement; what the server repeats to those who come later is not. Who is elsewhere and has the
%% last announcement may ask.
-spec routed(presence()) -> ok.
routed(#presence{type = available, from = #jid{lserver = Host} = From, to = #jid{lserver = Server} = To, sub_els = Els} = Presence) ->
    IsNew = Els =/= [] andalso sent(Els) =:= false,
    IsElsewhere = mod_capsd:find(Server) =:= undefined,
    case (IsNew orelse IsElsewhere) andalso mod_capsd:find(Host) of
        #capsd{} = Capsd ->
            LFrom = jid:tolower(From),
            case is_own_session(Capsd, LFrom) of
                true ->
                    IsNew andalso announce(Capsd, From, Presence),
                    IsElsewhere andalso tell(Capsd, jid:tolower(To), Els, is_in_force(Capsd, LFrom, sent(Els))),
                    ok;
                false ->
                    ok
            end;
        _ ->
            ok
    end;
routed(#presence{type = unavailable, from = #jid{lserver = Host} = From, to = To}) ->
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        Capsd ->
            _ = is_own_session(Capsd, jid:tolower(From)) andalso mod_capsd_told:revoked(jid:tolower(To)),
            To#jid.lresource =:= <<>> orelse leave(Capsd, To),
            ok
    end;
routed(_) ->
    ok.

%% Whether that is the content of the presence that this session sent last, or a repetition of the one that went to everybody (to which the
%% server adds when that was), with the nodes in it.
sent(Els) ->
    case get(?SENT) of
        {Els, Nodes} ->
            {last, Nodes};
        _ ->
            case get(?SENT_TO_ALL) of
                {Before, Nodes} -> is_repetition(Before, Els) andalso {repeated, Nodes};
                _ -> false
            end
    end.

is_repetition([El | Before], [El | Els]) -> is_repetition(Before, Els);
is_repetition([], [#delay{}]) -> true;
is_repetition(Before, Els) -> Before =:= Els.

%% Whether a presence with these nodes says what the session announced last.
is_in_force(_, _, {last, Nodes}) -> Nodes =/= none;
is_in_force(Capsd, LFrom, {repeated, Nodes}) -> Nodes =/= none andalso own_nodes(Capsd, LFrom) =:= Nodes;
is_in_force(_, _, false) -> false.

tell(#capsd{heard_per_session = Max} = Capsd, LTo, Els, IsInForce) ->
    IsEntering = element(3, LTo) =/= <<>> andalso mod_capsd_stanza:is_entering(Els),
    IsEntering andalso (mod_capsd_told:entered(LTo, Max) orelse mod_capsd_stats:count(Capsd, heard_full)),
    mod_capsd_told:sent(LTo, IsInForce, Max) orelse mod_capsd_stats:count(Capsd, heard_full).

%% Whether this process is the session with that address.
is_own_session(#capsd{heard = Heard}, {User, Server, Resource} = LJID) ->
    case get(?SESSION) of
        {Heard, LJID, _} -> true;
        _ -> Resource =/= <<>> andalso ejabberd_sm:get_session_pid(User, Server, Resource) =:= self()
    end.

%% A session receives presence.
-spec user_receive_packet({stanza(), ejabberd_c2s:state()}, #capsd{}) -> {stanza(), ejabberd_c2s:state()}.
user_receive_packet({#presence{type = available, from = #jid{lresource = Resource} = From} = Presence, State}, Capsd) when Resource =/= <<>> ->
    case mod_capsd_stanza:announcement(Presence) of
        none -> unhear(Capsd, {self(), jid:tolower(From)});
        {Nodes, Cs} -> hear(Capsd, From, {Nodes, mod_capsd_stanza:way(Presence)}, Cs, jid:tolower(maps:get(jid, State)))
    end,
    {Presence, State};
user_receive_packet({#presence{type = unavailable, from = #jid{lresource = <<>>} = From}, _} = Acc, Capsd) ->
    %% Of an account, all resources are gone; servers say so to a probe.
    leave(Capsd, From),
    Acc;
user_receive_packet({#presence{type = unavailable, from = From} = Presence, State}, Capsd) ->
    case mod_capsd_stanza:is_own_unavailable(Presence) of
        true ->
            mod_capsd_told:revoked(jid:tolower(From)),
            leave(Capsd, From);
        false ->
            unhear(Capsd, {self(), jid:tolower(From)})
    end,
    {Presence, State};
user_receive_packet(Acc, _) ->
    Acc.

%% A session chooses another privacy list, for itself or as the default of its account. What it does not hear any longer because of
%% that may be wrong later, so that nothing that was heard until now counts.
-spec filters(iq()) -> ok.
filters(#iq{from = #jid{luser = User, lserver = Server}, to = #jid{luser = User, lserver = Server}, sub_els = [El]}) ->
    case is_privacy(El) andalso mod_capsd:find(Server) of
        #capsd{} = Capsd -> [forget_heard(Capsd, Session) || {_, Session} <- ejabberd_sm:get_session_sids(User, Server)], ok;
        _ -> ok
    end;
filters(_) ->
    ok.

%% Lists were changed, by XEP-0016 or by XEP-0191: mod_privacy tells every session of the account, after what the old ones let through.
-spec filters_changed(iq(), #capsd{}) -> ok.
filters_changed(#iq{from = #jid{luser = User, lserver = Server}, to = #jid{luser = User, lserver = Server}, sub_els = [El]}, Capsd) ->
    case is_privacy(El) of
        true -> forget_heard(Capsd, self());
        false -> ok
    end;
filters_changed(_, _) ->
    ok.

is_privacy(#privacy_query{}) -> true;
is_privacy(#xmlel{name = <<"query">>} = Query) -> fxml:get_tag_attr_s(<<"xmlns">>, Query) =:= ?NS_PRIVACY;
is_privacy(_) -> false.

%% The connection of a session has broken, and it waits to be resumed (XEP-0198): it would answer capsd much later.
-spec session_pending(ejabberd_c2s:state()) -> ejabberd_c2s:state().
session_pending(#{jid := JID, lserver := Host} = State) ->
    case mod_capsd:find(Host) of
        undefined -> ok;
        Capsd -> ask(Capsd, jid:tolower(JID), false)
    end,
    State;
session_pending(State) ->
    State.

%% capsd may ask that session from now on, or may not.
ask(#capsd{own = Own} = Capsd, LJID, Askable) ->
    Me = self(),
    case ets:lookup(Own, LJID) of
        [{_, Me, _, _, Askable}] ->
            ok;
        [{_, Me, _, Cs, _}] ->
            ets:update_element(Own, LJID, {5, Askable}),
            Cs =:= [] orelse report(Capsd, {holder, LJID, Askable, Cs}),
            ok;
        _ ->
            ok
    end.

%% A session goes on in another process (XEP-0198), perhaps on another node.
-spec copy_session(ejabberd_c2s:state(), ejabberd_c2s:state()) -> ejabberd_c2s:state().
copy_session(#{lserver := Host} = State, #{jid := JID, sid := {_, Old}}) ->
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        #capsd{own = Own, heard = Heard} = Capsd ->
            LJID = jid:tolower(JID),
            case ets:lookup(Own, LJID) of
                [{_, Old, Nodes, Cs, Askable}] ->
                    ets:insert(Own, {LJID, self(), Nodes, Cs, Askable}),
                    ask(Capsd, LJID, true);
                _ when is_map_key(pres_last, State) ->
                    announce(Capsd, JID, maps:get(pres_last, State));
                _ ->
                    ok
            end,
            Rows = ets:select(Heard, [{{{Old, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}]),
            ets:insert(Heard, [{{self(), Announcer}, What} || {Announcer, What} <- Rows]),
            ets:select_delete(Heard, [{{{Old, '_'}, '_'}, [], [true]}]),
            _ = heard_count(Capsd, LJID),
            put(?SESSION, {Heard, LJID, length(Rows)}),
            remember_sent_to_all(State)
    end,
    State;
copy_session(State, _) ->
    State.

%% The module was loaded while the session was there already: its last presence tells what it announces. If it has announced by directed
%% presence since, that is what counts.
-spec handle_cast(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
handle_cast(#{jid := JID, lserver := Host} = State, mod_capsd_tell) ->
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        Capsd ->
            LJID = jid:tolower(JID),
            mod_capsd_link:watch(Capsd, self(), LJID),
            case {own_nodes(Capsd, LJID), State} of
                {none, #{pres_last := Presence}} -> announce(Capsd, JID, Presence);
                _ -> true
            end,
            ask(Capsd, LJID, maps:get(mgmt_state, State, active) =/= pending),
            remember_sent_to_all(State)
    end,
    {stop, State};
handle_cast(State, mod_capsd_tell) ->
    {stop, State};
handle_cast(State, _) ->
    State.

%% The presence that the server will repeat was sent before this process or this module was there.
remember_sent_to_all(#{pres_last := #presence{sub_els = Els} = Presence}) ->
    put(?SENT_TO_ALL, {Els, nodes_in(Presence)});
remember_sent_to_all(_) ->
    erase(?SENT_TO_ALL).

nodes_in(Presence) ->
    case mod_capsd_stanza:announcement(Presence) of
        {Nodes, _} -> Nodes;
        none -> none
    end.

%%% What is known

%% The nodes of the last announcement of a session of this node, if this is its process.
-spec own_nodes(#capsd{}, jid:ljid()) -> nodes_of() | none.
own_nodes(#capsd{own = Own}, LJID) ->
    case ets:lookup(Own, LJID) of
        [{_, Session, Nodes, _, _}] when Session =:= self() -> Nodes;
        _ -> none
    end.

%% The nodes of the last announcement of a session of this node, whoever calls.
-spec announced(#capsd{}, jid:ljid()) -> nodes_of().
announced(#capsd{own = Own}, LJID) ->
    case ets:lookup(Own, LJID) of
        [{_, _, Nodes, _, _}] -> Nodes;
        [] -> []
    end.

%% The same, with the process of that session.
-spec session(#capsd{}, jid:ljid()) -> {nodes_of(), pid()} | none.
session(#capsd{own = Own}, LJID) ->
    case ets:lookup(Own, LJID) of
        [{_, Session, Nodes, _, _}] -> {Nodes, Session};
        [] -> none
    end.

%% What a session was told by that address.
-spec heard(#capsd{}, pid(), jid:ljid()) -> heard() | none.
heard(#capsd{heard = Heard}, Session, LJID) ->
    case ets:lookup(Heard, {Session, LJID}) of
        [{_, What}] -> What;
        [] -> none
    end.

%% Reports for a replay, up to a number and about a number of bytes, and where to go on: first own sessions, then those of elsewhere.
-spec next_reports(#capsd{}, {own | passing, jid:ljid() | first}, {pos_integer(), pos_integer()}) ->
    {[mod_capsd_stanza:event()], {own | passing, jid:ljid() | first} | done}.
next_reports(Capsd, Place, {Count, Bytes}) ->
    next_reports(Capsd, Place, Count, Bytes, []).

next_reports(Capsd, {Which, Last}, Count, Bytes, Events) when Count > 0, Bytes > 0 ->
    Table =
        case Which of
            own -> Capsd#capsd.own;
            passing -> Capsd#capsd.passing
        end,
    Next =
        case Last of
            first -> ets:first(Table);
            _ -> ets:next(Table, Last)
        end,
    case {Next, Which} of
        {'$end_of_table', own} -> next_reports(Capsd, {passing, first}, Count, Bytes, Events);
        {'$end_of_table', passing} -> {lists:reverse(Events), done};
        _ ->
            case ets:lookup(Table, Next) of
                [{_, _, _, Cs, Askable}] when Cs =/= [] -> add_report({holder, Next, Askable, Cs}, Capsd, {Which, Next}, Count, Bytes, Events);
                [{_, _, Cs}] -> add_report({holder, Next, false, Cs}, Capsd, {Which, Next}, Count, Bytes, Events);
                _ -> next_reports(Capsd, {Which, Next}, Count, Bytes, Events)
            end
    end;
next_reports(_, Place, _, _, Events) ->
    {lists:reverse(Events), Place}.

add_report(Event, Capsd, Place, Count, Bytes, Events) ->
    next_reports(Capsd, Place, Count - 1, Bytes - mod_capsd_stanza:bytes(Event), [Event | Events]).

%%% Changes

%% Returns whether that presence announces anything.
announce(#capsd{own = Own} = Capsd, JID, #presence{sub_els = Els} = Presence) ->
    case mod_capsd_stanza:announcement(Presence) of
        none ->
            put(?SENT, {Els, none}),
            false;
        {Nodes, Cs} ->
            put(?SENT, {Els, Nodes}),
            LJID = jid:tolower(JID),
            Me = self(),
            Before = ets:lookup(Own, LJID),
            ets:insert(Own, {LJID, Me, Nodes, Cs, true}),
            _ = heard_count(Capsd, LJID),
            case Before of
                [{_, Me, Nodes, _, _}] -> ok;
                _ -> mod_capsd_told:forget()
            end,
            case Before of
                %% Only a change is worth a report.
                [{_, Me, _, Cs, true}] -> ok;
                _ when Cs =:= [] -> report(Capsd, {gone, LJID});
                _ -> report(Capsd, {holder, LJID, true, Cs})
            end,
            true
    end.

%% Without <c/>, what was announced before still holds as far as capsd is concerned (XEP-0115 section 8.4); whether it does, only the client
%% can say, so that nobody is answered in its place.
fall_silent(#capsd{own = Own}, JID) ->
    mod_capsd_told:forget(),
    ets:update_element(Own, jid:tolower(JID), {3, []}).

retract(Capsd, LJID, Session) ->
    _ = remove(Capsd, LJID, Session) andalso report(Capsd, {gone, LJID}),
    ok.

remove(#capsd{own = Own}, LJID, Session) ->
    case ets:lookup(Own, LJID) of
        [{_, Session, _, _, _}] -> ets:delete(Own, LJID);
        _ -> false
    end.

hear(#capsd{heard = Heard} = Capsd, From, What, Cs, LJID) ->
    LFrom = jid:tolower(From),
    Key = {self(), LFrom},
    case ets:lookup(Heard, Key) of
        _ when LFrom =:= LJID ->
            ok;
        [{_, What}] ->
            ok;
        [_] ->
            ets:insert(Heard, {Key, What}),
            pass(Capsd, LFrom, 0, Cs);
        [] ->
            case has_room(Capsd, heard_count(Capsd, LJID), LJID) of
                true ->
                    ets:insert(Heard, {Key, What}),
                    pass(Capsd, LFrom, 1, Cs);
                false ->
                    mod_capsd_stats:count(Capsd, heard_full)
            end
    end.

has_room(#capsd{heard = Heard, heard_per_session = Max}, Count, LJID) when Count < Max ->
    put(?SESSION, {Heard, LJID, Count + 1}),
    true;
has_room(#capsd{heard = Heard, heard_per_session = Max}, _, LJID) ->
    %% The count is of rows ever added: count again before refusing.
    case ets:select_count(Heard, [{{{self(), '_'}, '_'}, [], [true]}]) of
        Now when Now < Max ->
            put(?SESSION, {Heard, LJID, Now + 1}),
            true;
        _ ->
            false
    end.

unhear(#capsd{heard = Heard} = Capsd, {_, LFrom} = Key) ->
    case ets:take(Heard, Key) of
        [] -> ok;
        _ -> pass_by(Capsd, LFrom)
    end.

%% The session left that room, or that account is gone: nothing said by its occupants or resources counts any longer.
leave(#capsd{heard = Heard} = Capsd, #jid{luser = User, lserver = Server}) ->
    [unhear(Capsd, Key) || Key <- ets:select(Heard, [{{{self(), {User, Server, '_'}}, '_'}, [], [{element, 1, '$_'}]}])],
    ok.

forget_heard(#capsd{heard = Heard} = Capsd, Session) ->
    [unhear(Capsd, Key) || Key <- ets:select(Heard, [{{{Session, '_'}, '_'}, [], [{element, 1, '$_'}]}])],
    ok.

%% Everything about a session that has ended.
-spec forget(#capsd{}, pid(), jid:ljid()) -> ok.
forget(Capsd, Session, LJID) ->
    _ = remove(Capsd, LJID, Session) andalso not is_on_another_node(LJID) andalso report(Capsd, {gone, LJID}),
    forget_heard(Capsd, Session).

%% Whether there is a session with that address by now on another node of the cluster, which has reported it.
is_on_another_node({User, Server, Resource}) ->
    case ejabberd_sm:get_session_pid(User, Server, Resource) of
        Session when is_pid(Session), node(Session) =/= node() ->
            lists:keymember(Resource, 2, ejabberd_sm:get_user_present_resources(User, Server));
        _ ->
            false
    end.

%% An announcer of elsewhere is reported once, and again when it changes.
pass(#capsd{passing = Passing} = Capsd, {_, Server, _} = LFrom, More, Cs) ->
    case mod_capsd:find(Server) of
        undefined ->
            case ets:lookup(Passing, LFrom) of
                [{_, _, Cs}] ->
                    ets:update_counter(Passing, LFrom, {2, More}, {LFrom, 0, Cs});
                _ ->
                    ets:update_counter(Passing, LFrom, {2, More}, {LFrom, 0, Cs}),
                    ets:update_element(Passing, LFrom, {3, Cs}),
                    report(Capsd, {holder, LFrom, false, Cs})
            end;
        _ ->
            ok
    end.

pass_by(#capsd{passing = Passing} = Capsd, LFrom) ->
    case ets:member(Passing, LFrom) andalso ets:update_counter(Passing, LFrom, {2, -1}, {LFrom, 1, []}) =< 0 of
        true ->
            ets:delete(Passing, LFrom),
            report(Capsd, {gone, LFrom});
        false ->
            ok
    end.

report(Capsd, Event) ->
    mod_capsd_link:report(Capsd, Event).

%% How many rows this session has; has its end watched, once for the life of the tables.
heard_count(#capsd{heard = Heard} = Capsd, LJID) ->
    case get(?SESSION) of
        {Heard, LJID, Count} ->
            Count;
        _ ->
            mod_capsd_link:watch(Capsd, self(), LJID),
            put(?SESSION, {Heard, LJID, 0}),
            0
    end.
