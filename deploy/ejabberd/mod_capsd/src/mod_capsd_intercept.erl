%%% Answers disco#info queries in the place of the client that is asked (XEP-0390 sections 6.3 and 6.4; rules in deploy/protocol.md,
%%% section 7), and learns from answers that pass by.
%%%
%%% A query is looked at twice. Where it leaves its sender (`filter_packet`, after the sender's own privacy rules) it gets a mark if the
%%% sender's session received an announcement of the addressed JID. Where it reaches a local session (`user_receive_packet`, after that
%%% session's block lists and privacy lists, and after a local room's rules) it is answered if the mark is of that session's last
%%% announcement. Both happen in the order in which the session handles presence, so that no query is ever answered by an announcement
%%% that has been replaced. A query that leaves the server is answered where it would leave.
-module(mod_capsd_intercept).

-export([filter_packet/1, user_receive_packet/1]).

-include("mod_capsd.hrl").

%%% Hooks. The head of each function is all that other stanzas meet. A result has the mark of the question that was answered here: what comes
%%% from a client has none.

%% Where a query, an answer or a presence starts. Runs in the process of the sender's session, if the sender has one here.
-spec filter_packet(stanza()) -> stanza() | drop.
filter_packet(#iq{type = get, to = #jid{lresource = Resource}} = IQ) when Resource =/= <<>> ->
    case mod_capsd_stanza:question(IQ) of
        {node, Node} -> outgoing(IQ, Node);
        none -> IQ
    end;
filter_packet(#iq{type = result, meta = #{?MARK := _}} = IQ) ->
    IQ;
filter_packet(#iq{type = result, sub_els = [#xmlel{name = <<"query">>}]} = IQ) ->
    case mod_capsd_stanza:info(IQ) of
        {Node, Query} -> answered(IQ, Node, Query);
        none -> ok
    end,
    IQ;
filter_packet(#iq{type = error} = IQ) ->
    refused(IQ),
    IQ;
filter_packet(#presence{} = Presence) ->
    mod_capsd_watch:routed(Presence),
    Presence;
filter_packet(#iq{type = set, to = #jid{lresource = <<>>}} = IQ) ->
    mod_capsd_watch:filters(IQ),
    IQ;
filter_packet(Stanza) ->
    Stanza.

%% Where a query reaches a local session, whose process this is.
-spec user_receive_packet({stanza(), ejabberd_c2s:state()}) ->
    {stanza(), ejabberd_c2s:state()} | {stop, {drop, ejabberd_c2s:state()}}.
user_receive_packet({#iq{type = get} = IQ, State} = Acc) ->
    case mod_capsd_stanza:question(IQ) of
        {node, Node} -> incoming(IQ, Node, State, Acc);
        none -> Acc
    end;
user_receive_packet({#presence{}, #{lserver := Host}} = Acc) ->
    case mod_capsd:find(Host) of
        undefined -> Acc;
        Capsd -> mod_capsd_watch:user_receive_packet(Acc, Capsd)
    end;
user_receive_packet({#iq{type = result, meta = #{?MARK := _}}, _} = Acc) ->
    Acc;
user_receive_packet({#iq{type = result, sub_els = [#xmlel{name = <<"query">>}]} = IQ, #{lserver := Host}} = Acc) ->
    case mod_capsd_stanza:info(IQ) of
        {Node, Query} -> heard_answer(IQ, self(), Node, Query, Host);
        none -> ok
    end,
    Acc;
user_receive_packet({#iq{type = set} = IQ, #{lserver := Host}} = Acc) ->
    case mod_capsd:find(Host) of
        undefined -> ok;
        Capsd -> mod_capsd_watch:filters_changed(IQ, Capsd)
    end,
    Acc;
user_receive_packet(Acc) ->
    Acc.

%%% Queries

%% `Mark` is there if a room passes the query on, or if it was held.
outgoing(#iq{from = From, to = To, meta = #{?MARK := Mark}} = IQ, Node) ->
    case Mark =/= pass andalso is_current(Mark) andalso serving(From#jid.lserver) of
        #capsd{} = Capsd -> depart(Capsd, IQ, Node, To, Mark);
        _ -> IQ
    end;
outgoing(#iq{from = #jid{lserver = Host} = From, to = To} = IQ, Node) ->
    case mod_capsd:find(Host) of
        undefined ->
            %% What an occupant of elsewhere was told, its own server knows; its room is that of whom it asks.
            case (not ejabberd_router:is_my_host(Host)) andalso is_local_room(To#jid.lserver) of
                true -> xmpp:put_meta(IQ, ?MARK, {heard, {[], room}, elsewhere});
                false -> IQ
            end;
        Capsd ->
            LTo = jid:tolower(To),
            case mod_capsd_watch:heard(Capsd, self(), LTo) of
                none ->
                    IQ;
                Heard ->
                    Mark = {heard, Heard, {From, self(), LTo}},
                    case answerer(To, LTo, Node, Heard) of
                        none -> depart(Capsd, IQ, Node, To, Mark);
                        Session -> hand_over(xmpp:put_meta(IQ, ?MARK, Mark), To, Session)
                    end
            end
    end.

%% Whether the asker's session has not heard anything else meanwhile, if the query was held.
is_current({again, Heard, {#jid{lserver = Host}, Session, LHeard}}) ->
    case mod_capsd:find(Host) of
        undefined -> false;
        Capsd -> mod_capsd_watch:heard(Capsd, Session, LHeard) =:= Heard
    end;
is_current(_) ->
    true.

%% The session of this node that will answer at once: it announced last what the asker heard, and the answer is known.
answerer(#jid{lserver = Host}, LTo, Asked, {Nodes, _}) ->
    case mod_capsd:find(Host) of
        undefined ->
            none;
        Capsd ->
            case mod_capsd_watch:session(Capsd, LTo) of
                {Nodes, Session} ->
                    Node = node_for(Capsd, Asked, Nodes),
                    %% One that has ended, unnoticed as yet, would neither answer nor send the query back.
                    case Node =/= none andalso mod_capsd_answers:is_known(Capsd, Node) andalso is_process_alive(Session) of
                        true -> Session;
                        false -> none
                    end;
                _ ->
                    none
            end
    end.

%% The way through the router to that session costs as much as the answer. What may stop the query on that way is asked here.
hand_over(IQ, #jid{lserver = Host}, Session) ->
    case ejabberd_hooks:run_fold(sm_receive_packet, Host, IQ, []) of
        drop -> ok;
        Passed -> ejabberd_c2s:route(Session, {route, Passed})
    end,
    drop.

%% The virtual host with that name, or the one whose room has it.
serving(Server) ->
    case mod_capsd:find(Server) of
        undefined ->
            try mod_capsd:find(ejabberd_router:host_of_route(Server))
            catch error:_ -> undefined
            end;
        Capsd ->
            Capsd
    end.

%% A query to a local user or through a local room is decided where it arrives; others leave here.
depart(Capsd, IQ, Node, #jid{lserver = Server}, {_, {Nodes, Way}, _} = Mark) ->
    case ejabberd_router:is_my_host(Server) orelse is_local_room(Server) of
        true ->
            xmpp:put_meta(IQ, ?MARK, Mark);
        false ->
            case Way =:= room orelse may_ask(Capsd, IQ, outgoing) of
                true -> decide(Capsd, xmpp:put_meta(IQ, ?MARK, Mark), Node, Nodes, is_again(Mark), IQ, drop);
                false -> IQ
            end
    end.

is_local_room(Server) ->
    try ejabberd_router:host_of_route(Server) of
        Host -> gen_mod:is_loaded(Host, mod_muc) andalso lists:member(Server, gen_mod:get_module_opt_hosts(Host, mod_muc))
    catch
        error:_ -> false
    end.

incoming(#iq{meta = #{?MARK := pass}}, _, _, Acc) ->
    Acc;
incoming(#iq{from = From} = IQ, Node, #{jid := JID, lserver := Host} = State, Acc) ->
    case mod_capsd:find(Host) of
        undefined ->
            Acc;
        Capsd ->
            LJID = jid:tolower(JID),
            case mod_capsd_watch:own_nodes(Capsd, LJID) of
                Nodes when Nodes =/= none, Nodes =/= [] ->
                    case received(Capsd, IQ, jid:tolower(From), LJID, Nodes, State) of
                        true ->
                            decide(Capsd, marked(IQ, Nodes), Node, Nodes, is_again(IQ), Acc, {stop, {drop, State}});
                        false ->
                            _ = is_capsd(Capsd, From, IQ#iq.id, IQ#iq.to) andalso
                                lists:keymember(Node, 2, Nodes) andalso mod_capsd_flights:questioned(Capsd, Node),
                            Acc
                    end;
                _ ->
                    Acc
            end
    end.

%% A query that nobody marked gets a mark with which it can come a second time, after it was held.
marked(#iq{meta = #{?MARK := {heard, _, elsewhere}}} = IQ, Nodes) -> xmpp:put_meta(IQ, ?MARK, {heard, {Nodes, room}, elsewhere});
marked(#iq{meta = #{?MARK := _}} = IQ, _) -> IQ;
marked(IQ, Nodes) -> xmpp:put_meta(IQ, ?MARK, {heard, {Nodes, direct}, none}).

is_again(#iq{meta = #{?MARK := Mark}}) -> is_again(Mark);
is_again({again, _, _}) -> true;
is_again(_) -> false.

%% Whether the asker received the announcement that is in force.
received(_, _, LFrom, LFrom, _, _) ->
    %% The server's own question about a session (mod_caps) comes from the session's own address.
    true;
received(_, #iq{meta = #{?MARK := {_, _, elsewhere}}}, LFrom, _, _, State) ->
    is_told_in_room(LFrom, State);
received(Capsd, #iq{meta = #{?MARK := {_, {Nodes, Way}, Asker}}} = IQ, _, _, Nodes, _) when Asker =/= none ->
    Way =:= room orelse may_ask(Capsd, IQ, incoming);
received(_, #iq{meta = #{?MARK := {_, _, Asker}}}, _, _, _, _) when Asker =/= none ->
    %% An announcement, but not the last one.
    false;
received(Capsd, IQ, {_, Server, Resource} = LFrom, _, _, State) when Resource =/= <<>> ->
    %% From another server: who was sent the announcement in force, if it is subscribed still, or was not told since that nobody is there; and
    %% the occupants of a room that was sent it. Those of a room here have marks.
    mod_capsd_told:has(LFrom) andalso
        (not ejabberd_router:is_my_host(Server)) andalso
        (not lists:member(Server, Capsd#capsd.components)) andalso
        (not is_local_room(Server)) andalso
        (has_subscription(Capsd, IQ, incoming) orelse
            is_told_in_room(LFrom, State) orelse
            (Capsd#capsd.answer =:= announced andalso was_directed(LFrom, State)));
received(_, _, _, _, _, _) ->
    false.

%% Whether that is an occupant of a room which was sent the announcement in force, and was not told since that nobody is there.
is_told_in_room({User, Server, _} = LFrom, State) ->
    case mod_capsd_told:own_nick({User, Server, <<>>}) of
        none -> false;
        Nick -> mod_capsd_told:has(LFrom) andalso was_directed({User, Server, Nick}, State)
    end.

was_directed(LJID, State) ->
    gb_sets:is_element(LJID, maps:get(pres_a, State, gb_sets:new())).

%% Whether the operator lets this asker have an answer, beyond that it received the announcement.
may_ask(#capsd{answer = announced}, _, _) ->
    true;
may_ask(#capsd{answer = subscribed} = Capsd, IQ, Direction) ->
    is_same_account(IQ) orelse has_subscription(Capsd, IQ, Direction).

is_same_account(#iq{from = #jid{luser = User, lserver = Server}, to = #jid{luser = User, lserver = Server}}) -> true;
is_same_account(_) -> false.

%% From the roster of the local side: the asker sees the presence of the one that is asked.
has_subscription(_, #iq{from = From, to = #jid{luser = User, lserver = Server}}, incoming) ->
    lists:member(subscription(User, Server, From), [from, both]);
has_subscription(_, #iq{from = #jid{luser = User, lserver = Server}, to = To}, outgoing) ->
    lists:member(subscription(User, Server, To), [to, both]).

subscription(User, Server, JID) ->
    element(1, ejabberd_hooks:run_fold(roster_get_jid_info, Server, {none, none, []}, [User, Server, JID])).

%% Answers a query, or holds it, or lets it go: returns `Pass` for the last, else `Drop`.
decide(Capsd, IQ, Asked, Nodes, Again, Pass, Drop) ->
    case is_there(Capsd) andalso node_for(Capsd, Asked, Nodes) of
        NoNode when NoNode =:= false; NoNode =:= none ->
            Pass;
        Node ->
            case mod_capsd_answers:find(Capsd, Node) of
                {answer, Content} ->
                    mod_capsd_stats:count(Capsd, answered),
                    Again andalso mod_capsd_stats:count(Capsd, answered_after_hold),
                    give(IQ, mod_capsd_stanza:answer(IQ, Asked, Content)),
                    Drop;
                unknown when not Again ->
                    case mod_capsd_flights:hold(Capsd, Node, IQ) of
                        true -> Drop;
                        false -> Pass
                    end;
                _ ->
                    Pass
            end
    end.

%% While capsd does not answer, everything goes its way.
is_there(#capsd{state = State}) ->
    atomics:get(State, ?READY) =:= 1.

%% Straight to the session that asked, unless a room stands between, or the server itself asked in its name (mod_caps about contacts
%% elsewhere). What was held goes through the router: its session may have been resumed in another process.
give(#iq{from = From, meta = #{?MARK := {heard, _, {From, Session, _}}}}, Answer) ->
    ejabberd_iq:dispatch(Answer) orelse ejabberd_c2s:route(Session, {route, Answer});
give(_, Answer) ->
    ejabberd_router:route(Answer).

%% By which of the announced nodes a query can be answered: the one that it names, or any if it names none, those of XEP-0390 first.
node_for(#capsd{xep0115 = XEP0115}, <<>>, Nodes) ->
    case {lists:keyfind(xep0390, 1, Nodes), Nodes} of
        {{_, Node}, _} -> Node;
        {false, [{_, Node} | _]} when XEP0115 -> Node;
        _ -> none
    end;
node_for(#capsd{xep0115 = XEP0115}, Asked, Nodes) ->
    case {lists:keymember(Asked, 2, Nodes), XEP0115 orelse lists:keymember(xep0390, 1, Nodes)} of
        {true, true} -> Asked;
        _ -> none
    end.

%%% Answers that pass by

%% A local session answers, if this process is that session; or somebody elsewhere does: a question that is to be answered from, one of a
%% local session, or one that mod_caps asked in its name.
answered(#iq{id = Id, from = #jid{lserver = Host} = From, to = #jid{lserver = Server} = To} = IQ, Given, Query) ->
    LFrom = jid:tolower(From),
    case mod_capsd:find(Host) of
        undefined ->
            case serving(Server) of
                undefined -> ok;
                Capsd -> answered_elsewhere(IQ, mod_capsd_flights:asked(Capsd, LFrom, Id), Given, Query)
            end;
        Capsd ->
            %% What capsd asked for, it has.
            is_capsd(Capsd, To, Id, From) orelse
                learn(Capsd, mod_capsd_watch:own_nodes(Capsd, LFrom), From, mod_capsd_flights:asked(Capsd, LFrom, Id), Given, Query)
    end.

%% Whoever was asked so that others can be answered says nothing.
refused(#iq{id = Id, from = #jid{lserver = Host} = From, to = #jid{lserver = Server}}) ->
    case mod_capsd:find(Host) of
        undefined -> refused(serving(Server), From, Id);
        Capsd -> refused(Capsd, From, Id)
    end.

refused(undefined, _, _) -> ok;
refused(Capsd, From, Id) -> mod_capsd_flights:refused(Capsd, jid:tolower(From), Id).

%% capsd asks from its own address, or by XEP-0356 from the user's with an id of its own kind.
is_capsd(_, #jid{luser = User, lserver = Host, lresource = <<>>}, <<Id:32/binary>>, #jid{luser = User, lserver = Host}) ->
    re:run(Id, "^[0-9a-f]{32}$", [{capture, none}]) =:= match;
is_capsd(#capsd{components = Components}, #jid{luser = <<>>, lserver = Server}, _, _) ->
    lists:member(Server, Components);
is_capsd(_, _, _, _) ->
    false.

%% A local room does not tell its occupants who they are: what the asker heard was said by the occupant.
answered_elsewhere(#iq{to = #jid{lserver = Server}}, {_, {#jid{lserver = Host}, Session, LHeard}} = Asked, Given, Query) ->
    case {serving(Server), mod_capsd:find(Host)} of
        {#capsd{} = Capsd, #capsd{} = Listening} ->
            learn(Capsd, nodes_heard(Listening, Session, LHeard), jid:make(LHeard), Asked, Given, Query);
        _ ->
            ok
    end;
answered_elsewhere(#iq{to = #jid{luser = User, lserver = Server, lresource = Resource}} = IQ, none, Given, Query) when Given =/= <<>> ->
    case mod_capsd:find(Server) =/= undefined andalso ejabberd_sm:get_session_pid(User, Server, Resource) of
        Session when is_pid(Session) -> heard_answer(IQ, Session, Given, Query, Server);
        _ -> ok
    end;
answered_elsewhere(_, _, _, _) ->
    ok.

heard_answer(#iq{id = Id, from = From}, Session, Given, Query, Host) ->
    case mod_capsd:find(Host) of
        undefined ->
            ok;
        Capsd ->
            LFrom = jid:tolower(From),
            learn(Capsd, nodes_heard(Capsd, Session, LFrom), From, mod_capsd_flights:asked(Capsd, LFrom, Id), Given, Query)
    end.

nodes_heard(Capsd, Session, LJID) ->
    case mod_capsd_watch:heard(Capsd, Session, LJID) of
        {Nodes, _} -> Nodes;
        none -> none
    end.

%% Hands over what answers one of the nodes that are announced now, and is not known yet.
learn(_, none, _, _, _, _) ->
    ok;
learn(Capsd, Nodes, JID, Asked, Given, Query) ->
    case answers_to(Capsd, Nodes, Asked, Given) of
        none ->
            ok;
        Node ->
            case mod_capsd_answers:is_wanted(Capsd, Node) of
                true -> mod_capsd_flights:learn(Capsd, Node, JID, Query);
                false -> ok
            end
    end.

%% Which of the announced nodes a result answers: the one that it names. That of a query that went its way for others also answers without a
%% node, or with an older one: the client says what it announces by then.
answers_to(_, Nodes, none, Given) ->
    case lists:keymember(Given, 2, Nodes) of
        true -> Given;
        false -> none
    end;
answers_to(Capsd, Nodes, {Node, _}, Given) ->
    case {lists:keymember(Node, 2, Nodes), lists:keymember(Given, 2, Nodes)} of
        {true, _} -> Node;
        {false, true} -> Given;
        {false, false} -> node_for(Capsd, <<>>, Nodes)
    end.
