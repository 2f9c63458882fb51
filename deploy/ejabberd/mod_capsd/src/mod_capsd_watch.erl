%%% Who announces what, and which session was told: hooks on presence, in the process of each session.
%%%
%%% Three tables. `own`: what the sessions of this node announced. `heard`: what each of them received, which decides whose questions are
%%% answered. `passing`: the announcers of elsewhere (contacts on other servers, occupants of rooms), once each, however many sessions
%%% hear them. What changes in `own` and `passing` is reported to capsd.
%%%
%%% A session's rows go when its process ends, whatever ends it (mod_capsd_link monitors it).
-module(mod_capsd_watch).

-export([user_send_packet/1, user_receive_packet/2, copy_session/2, handle_cast/2]).
-export([tables/0, forget/3, own_nodes/2, heard/2, next_reports/3]).

-include("mod_capsd.hrl").

%% The key in a session's state: which `heard` table counts its rows, and how many there are.
-define(KEY, capsd).

-spec tables() -> {ets:tid(), ets:tid(), ets:tid()}.
tables() ->
    Options = [ordered_set, public, {read_concurrency, true}, {write_concurrency, true}],
    {ets:new(mod_capsd_heard, Options), ets:new(mod_capsd_own, Options), ets:new(mod_capsd_passing, Options)}.

%%% Hooks

%% A session sends presence: what it announces now is its last announcement, to whomever it went. Only what goes to everybody is
%% reported: an invisible session that shows itself to a room alone is nothing that capsd has to know.
-spec user_send_packet({stanza(), ejabberd_c2s:state()}) -> {stanza(), ejabberd_c2s:state()}.
user_send_packet({#presence{type = available, to = To} = Presence, #{jid := JID, lserver := Host} = State} = Acc) ->
    case mod_capsd:find(Host) of
        undefined -> Acc;
        Capsd -> {Presence, announce(Capsd, JID, is_own_account(To, JID), Presence, State)}
    end;
user_send_packet({#presence{type = unavailable, to = To}, #{jid := JID, lserver := Host}} = Acc) ->
    case mod_capsd:find(Host) of
        undefined -> ok;
        Capsd ->
            case is_own_account(To, JID) of
                %% Nobody's presence comes any longer, so what was heard may be wrong from now on.
                true ->
                    retract(Capsd, jid:tolower(JID), self()),
                    forget_heard(Capsd, self());
                false ->
                    leave(Capsd, To)
            end
    end,
    Acc;
user_send_packet(Acc) ->
    Acc.

%% A session receives presence. `Me` is the session's own address: its own presence comes back to it.
-spec user_receive_packet({stanza(), ejabberd_c2s:state()}, #capsd{}) -> {stanza(), ejabberd_c2s:state()}.
user_receive_packet({#presence{type = available, from = #jid{lresource = Resource} = From} = Presence, State}, Capsd) when Resource =/= <<>> ->
    case mod_capsd_stanza:announcement(Presence) of
        none -> {Presence, State};
        {Nodes, Cs} -> {Presence, hear(Capsd, From, {Nodes, mod_capsd_stanza:way(Presence)}, Cs, State)}
    end;
user_receive_packet({#presence{type = unavailable, from = From} = Presence, State}, Capsd) ->
    case mod_capsd_stanza:is_own_unavailable(Presence) of
        true -> leave(Capsd, From);
        false -> unhear(Capsd, {self(), jid:tolower(From)})
    end,
    {Presence, State};
user_receive_packet(Acc, _) ->
    Acc.

%% A session goes on in another process (XEP-0198).
-spec copy_session(ejabberd_c2s:state(), ejabberd_c2s:state()) -> ejabberd_c2s:state().
copy_session(#{lserver := Host} = State, #{jid := JID, sid := {_, Old}}) ->
    case mod_capsd:find(Host) of
        undefined ->
            State;
        #capsd{own = Own, heard = Heard} = Capsd ->
            LJID = jid:tolower(JID),
            case ets:lookup(Own, LJID) of
                [{_, Old, Nodes, Cs, Reported}] -> ets:insert(Own, {LJID, self(), Nodes, Cs, Reported});
                _ -> ok
            end,
            Rows = ets:select(Heard, [{{{Old, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}]),
            ets:insert(Heard, [{{self(), Announcer}, What} || {Announcer, What} <- Rows]),
            ets:select_delete(Heard, [{{{Old, '_'}, '_'}, [], [true]}]),
            watched(Capsd, LJID, State, length(Rows))
    end;
copy_session(State, _) ->
    State.

%% The module was loaded while the session was there already: its last presence tells what it announces.
-spec handle_cast(ejabberd_c2s:state(), term()) -> ejabberd_c2s:state() | {stop, ejabberd_c2s:state()}.
handle_cast(#{jid := JID, lserver := Host, pres_last := Presence} = State, mod_capsd_tell) ->
    case mod_capsd:find(Host) of
        undefined -> {stop, State};
        Capsd -> {stop, announce(Capsd, JID, true, Presence, State)}
    end;
handle_cast(State, mod_capsd_tell) ->
    {stop, State};
handle_cast(State, _) ->
    State.

%%% What is known

%% The nodes of the last announcement of a session of this node, if this is its process.
-spec own_nodes(#capsd{}, jid:ljid()) -> nodes_of() | none.
own_nodes(#capsd{own = Own}, LJID) ->
    case ets:lookup(Own, LJID) of
        [{_, Session, Nodes, _, _}] when Session =:= self() -> Nodes;
        _ -> none
    end.

%% What the session whose process calls was told by that address.
-spec heard(#capsd{}, jid:ljid()) -> heard() | none.
heard(#capsd{heard = Heard}, LJID) ->
    case ets:lookup(Heard, {self(), LJID}) of
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
                [{_, _, _, Cs, reported}] -> add_report({holder, Next, true, Cs}, Capsd, {Which, Next}, Count, Bytes, Events);
                [{_, _, Cs}] -> add_report({holder, Next, false, Cs}, Capsd, {Which, Next}, Count, Bytes, Events);
                _ -> next_reports(Capsd, {Which, Next}, Count, Bytes, Events)
            end
    end;
next_reports(_, Place, _, _, Events) ->
    {lists:reverse(Events), Place}.

add_report(Event, Capsd, Place, Count, Bytes, Events) ->
    next_reports(Capsd, Place, Count - 1, Bytes - mod_capsd_stanza:bytes(Event), [Event | Events]).

%%% Changes

announce(#capsd{own = Own} = Capsd, JID, ToAll, Presence, State) ->
    case mod_capsd_stanza:announcement(Presence) of
        %% What was announced before still holds (XEP-0115 section 8.4).
        none ->
            State;
        {Nodes, Cs} ->
            LJID = jid:tolower(JID),
            Me = self(),
            {Reported, CsBefore} =
                case ets:lookup(Own, LJID) of
                    [{_, Me, _, Before, reported}] when Cs =/= [] -> {reported, Before};
                    _ when Cs =:= [] -> {private, none};
                    %% A session that takes another's place begins anew.
                    _ when ToAll -> {reported, none};
                    _ -> {private, none}
                end,
            ets:insert(Own, {LJID, Me, Nodes, Cs, Reported}),
            %% Only a change is worth a report.
            case ToAll of
                true when Cs =:= [] -> report(Capsd, {gone, LJID});
                true when Cs =/= CsBefore -> report(Capsd, {holder, LJID, true, Cs});
                _ -> ok
            end,
            watched(Capsd, LJID, State, 0)
    end.

retract(#capsd{own = Own} = Capsd, LJID, Session) ->
    case ets:lookup(Own, LJID) of
        [{_, Session, _, _, Reported}] ->
            ets:delete(Own, LJID),
            Reported =:= private orelse report(Capsd, {gone, LJID});
        _ ->
            ok
    end.

hear(#capsd{heard = Heard} = Capsd, From, What, Cs, #{jid := JID} = State0) ->
    LFrom = jid:tolower(From),
    Key = {self(), LFrom},
    LJID = jid:tolower(JID),
    State = watched(Capsd, LJID, State0, 0),
    #{?KEY := {Heard, Count}} = State,
    case ets:lookup(Heard, Key) of
        _ when LFrom =:= LJID ->
            State;
        [{_, What}] ->
            State;
        [_] ->
            ets:insert(Heard, {Key, What}),
            pass(Capsd, LFrom, 0, Cs),
            State;
        [] when Count >= Capsd#capsd.heard_per_session ->
            %% The count is of rows ever added: count again before refusing.
            case ets:select_count(Heard, [{{{self(), '_'}, '_'}, [], [true]}]) of
                Now when Now >= Capsd#capsd.heard_per_session ->
                    mod_capsd_stats:count(Capsd, heard_full),
                    State;
                Now ->
                    hear(Capsd, From, What, Cs, State#{?KEY => {Heard, Now}})
            end;
        [] ->
            ets:insert(Heard, {Key, What}),
            pass(Capsd, LFrom, 1, Cs),
            State#{?KEY => {Heard, Count + 1}}
    end.

unhear(#capsd{heard = Heard} = Capsd, {_, LFrom} = Key) ->
    case ets:take(Heard, Key) of
        [] -> ok;
        _ -> pass_by(Capsd, LFrom)
    end.

%% The session left that room: nothing said by its occupants counts any longer.
leave(#capsd{heard = Heard} = Capsd, #jid{luser = User, lserver = Server}) ->
    [unhear(Capsd, Key) || Key <- ets:select(Heard, [{{{self(), {User, Server, '_'}}, '_'}, [], [{element, 1, '$_'}]}])],
    ok.

forget_heard(#capsd{heard = Heard} = Capsd, Session) ->
    [unhear(Capsd, Key) || Key <- ets:select(Heard, [{{{Session, '_'}, '_'}, [], [{element, 1, '$_'}]}])],
    ok.

%% Everything about a session that has ended.
-spec forget(#capsd{}, pid(), jid:ljid()) -> ok.
forget(Capsd, Session, LJID) ->
    retract(Capsd, LJID, Session),
    forget_heard(Capsd, Session).

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

%% Has the session's end watched, once for the life of the tables.
watched(#capsd{heard = Heard}, _, #{?KEY := {Heard, Count}} = State, Rows) ->
    State#{?KEY => {Heard, Count + Rows}};
watched(#capsd{heard = Heard} = Capsd, LJID, State, Rows) ->
    mod_capsd_link:watch(Capsd, self(), LJID),
    State#{?KEY => {Heard, Rows}}.

is_own_account(#jid{luser = User, lserver = Server, lresource = <<>>}, #jid{luser = User, lserver = Server}) -> true;
is_own_account(undefined, _) -> true;
is_own_account(_, _) -> false.
