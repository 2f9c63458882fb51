%%% The way to capsd, one process for each virtual host: chooses the component, feeds it, sends look-ups and contributions, and watches the
%%% ends of sessions. Nobody waits for it: hooks and mod_capsd_flights cast.
%%%
%%% What is sent keeps its order: a look-up leaves after the reports that were made before it. One <feed/> is on its way at a time; its
%%% answer is the pace. Reports of what happens now go before the replay of what has been. Its first part says that what this node told
%%% before holds no more, so nothing need be known of those who went while nobody listened. A node of the cluster that is down cannot say so:
%%% the first of the others says it in its place.
-module(mod_capsd_link).

-behaviour(gen_server).

-export([report/2, watch/3, request/4, doubt/2, late/2, component/3, options/2, census/1, begin_anew/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("mod_capsd.hrl").
-include("ejabberd_sm.hrl").

%% Reports in one feed, and about how many bytes of them.
-define(BATCH, 256).
-define(BATCH_BYTES, 65536).
%% Milliseconds: a feed without an answer is given up; so is the question whether a component is there; so is a look-up.
-define(FEED_TIMEOUT, 10000).
-define(PROBE_TIMEOUT, 3000).
-define(REQUEST_TIMEOUT, 10000).
%% Instances that a component had before, by which two that take turns are recognised; and how long they are not said again.
-define(FORMER, 8).
-define(CONFLICT_PAUSE, 600000).

-record(state, {
    host :: binary(),
    components :: [binary()],
    retry :: pos_integer(),
    max_queue :: pos_integer(),
    %% the component in use and its instance
    current = none :: none | {binary(), binary()},
    former = [] :: [binary()],
    conflict_said = undefined :: undefined | integer(),
    %% what happens now: events and requests
    queue = queue:new() :: queue:queue(),
    queued = 0 :: non_neg_integer(),
    %% where the replay is
    replay = done :: {own | passing, jid:ljid() | first} | done,
    %% nodes that are down, of which capsd is still to be told
    down = [] :: [node()],
    %% nodes that were down, or seemed to be: those that are back may have been spoken for
    missed = [] :: [node()],
    %% the feed on its way, and whether it begins the replay, or speaks for a node that is down
    sent = none :: none | {reference(), begins | goes_on | {down, node()}, [mod_capsd_stanza:event()]},
    %% the component that is being tried
    trying = none :: none | reference(),
    %% whether the component in use hangs is being found out
    probing = none :: none | reference(),
    %% the doubts that wait for what comes of that
    doubts = [] :: [reference()],
    idle = true :: boolean(),
    sessions = #{} :: #{pid() => jid:ljid()}
}).

%%% For hooks and mod_capsd_flights

-spec report(#capsd{}, mod_capsd_stanza:event()) -> ok.
report(#capsd{host = Host}, Event) ->
    cast(Host, {report, Event}).

%% That session announced or heard something: when it ends, its rows go.
-spec watch(#capsd{}, pid(), jid:ljid()) -> ok.
watch(#capsd{host = Host}, Session, LJID) ->
    cast(Host, {watch, Session, LJID}).

%% Sends a request; the caller receives `{capsd, Tag, iq() | timeout}`.
-spec request(#capsd{}, get | set, fxml:xmlel(), term()) -> ok.
request(#capsd{host = Host}, Type, Payload, Tag) ->
    cast(Host, {request, {Type, Payload, self(), Tag}}).

%% Something takes long: capsd is sent what it answers at once. If that takes long, too, nothing more is held until an answer comes.
-spec doubt(#capsd{}, reference()) -> ok.
doubt(#capsd{host = Host}, Ref) ->
    cast(Host, {doubt, Ref}).

%% That has taken too long, if capsd has not answered yet: nothing more is held for it until it has.
-spec late(#capsd{}, reference()) -> ok.
late(#capsd{host = Host}, Ref) ->
    cast(Host, {late, Ref}).

-spec component(binary(), connected | disconnected, binary()) -> ok.
component(Host, What, Component) ->
    cast(Host, {What, Component}).

-spec options(binary(), gen_mod:opts()) -> ok.
options(Host, Opts) ->
    cast(Host, {options, Opts}).

%% Asks every session that is there already what it announces.
-spec census(binary()) -> ok.
census(Host) ->
    cast(Host, census).

%% What was known is lost.
-spec begin_anew(binary()) -> ok.
begin_anew(Host) ->
    cast(Host, begin_anew).

cast(Host, Message) ->
    gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), Message).

%%% gen_server

%% What is there already is what this process knew before it crashed.
init([Host, _]) ->
    process_flag(trap_exit, true),
    #capsd{opts = Opts} = Capsd = mod_capsd:find(Host),
    Sessions = mod_capsd_watch:sessions(Capsd),
    maps:foreach(fun(Session, _) -> erlang:monitor(process, Session) end, Sessions),
    %% Those that began to announce or to hear while nobody was there to watch them.
    map_size(Sessions) =:= 0 orelse census(Host),
    State = set_unready(take_options(Opts, #state{host = Host, components = [], retry = 1, max_queue = 1, sessions = Sessions})),
    mod_capsd_flights:unasked(Host),
    ok = net_kernel:monitor_nodes(true),
    self() ! tick,
    {ok, State}.

handle_call(_, _, State) ->
    {reply, {error, unknown}, State}.

handle_cast({report, Event}, State) ->
    {noreply, pump(enqueue(Event, State))};
handle_cast({watch, Session, LJID}, #state{sessions = Sessions} = State) ->
    _ = is_map_key(Session, Sessions) orelse erlang:monitor(process, Session),
    {noreply, State#state{sessions = Sessions#{Session => LJID}}};
handle_cast({request, Request}, #state{queue = Queue} = State) ->
    case is_ready(State) of
        true ->
            {noreply, pump(State#state{queue = queue:in({request, Request}, Queue)})};
        false ->
            fail(Request),
            {noreply, State}
    end;
handle_cast({doubt, Ref}, State0) ->
    case probe(State0) of
        #state{probing = none} = State -> {noreply, State};
        #state{doubts = Doubts} = State -> {noreply, State#state{doubts = [Ref | Doubts]}}
    end;
handle_cast({late, Ref}, #state{doubts = Doubts} = State) ->
    case lists:member(Ref, Doubts) of
        true -> {noreply, set_holding(0, State)};
        false -> {noreply, State}
    end;
handle_cast({connected, Component}, #state{components = Components} = State) ->
    case {lists:member(Component, Components), State#state.current} of
        %% It may be the same capsd or another one: either way it heard nothing of what was said before.
        {true, {Component, _}} -> {noreply, choose(forget(State))};
        {true, _} -> {noreply, choose(State)};
        {false, _} -> {noreply, State}
    end;
handle_cast({disconnected, Component}, #state{current = {Component, _}} = State) ->
    {noreply, choose(forget(State))};
handle_cast({options, Opts}, #state{components = Before} = State0) ->
    case take_options(Opts, State0) of
        #state{components = Before} = State -> {noreply, State};
        State -> {noreply, choose(forget(State))}
    end;
handle_cast(begin_anew, #state{host = Host} = State) ->
    census(Host),
    {noreply, choose(forget(State))};
handle_cast(census, #state{host = Host} = State) ->
    [
        ejabberd_c2s:cast(Session, mod_capsd_tell)
     || #session{usr = {_, Server, _}, sid = {_, Session}} <- ejabberd_sm:dirty_get_my_sessions_list(), Server =:= Host
    ],
    {noreply, State};
handle_cast(_, State) ->
    {noreply, State}.

handle_info({iq_reply, IQ, Context}, State) ->
    {noreply, replied(Context, IQ, State)};
handle_info({'DOWN', _, process, Session, _}, #state{host = Host, sessions = Sessions} = State) ->
    case maps:take(Session, Sessions) of
        {LJID, Rest} ->
            mod_capsd_watch:forget(mod_capsd:find(Host), Session, LJID),
            {noreply, State#state{sessions = Rest}};
        error ->
            {noreply, State}
    end;
handle_info({nodedown, Node}, #state{missed = Missed} = State) ->
    case lists:member(Node, ejabberd_cluster:get_known_nodes()) of
        true -> {noreply, pump(speak_for_others(State#state{missed = lists:usort([Node | Missed])}, [Node]))};
        false -> {noreply, State}
    end;
handle_info({nodeup, Node}, #state{missed = Missed, down = Down} = State) ->
    case lists:member(Node, Missed) of
        true -> {noreply, tell_again(State#state{missed = lists:delete(Node, Missed), down = lists:delete(Node, Down)})};
        false -> {noreply, State}
    end;
handle_info(tick, #state{retry = Retry} = State) ->
    _ = erlang:send_after(Retry, self(), tick),
    {noreply, tick(State)};
handle_info(_, State) ->
    {noreply, State}.

terminate(_, #state{queue = Queue} = State) ->
    set_unready(State),
    [fail(Request) || {request, Request} <- queue:to_list(Queue)],
    ok.

code_change(_, State, _) ->
    {ok, State}.

replied({feed, Ref}, IQ, #state{sent = {Ref, Which, Events}} = State) ->
    keep_up(IQ, State),
    fed(mod_capsd_stanza:instance(IQ), Which, Events, State#state{sent = none});
replied({try_it, Ref, Component, Others}, IQ, #state{trying = Ref} = State) ->
    keep_up(IQ, State),
    tried(mod_capsd_stanza:instance(IQ), Component, Others, State#state{trying = none});
replied({probe, Ref, Component}, IQ, #state{probing = Ref} = State) ->
    keep_up(IQ, State),
    probed(mod_capsd_stanza:instance(IQ), Component, State#state{probing = none, doubts = []});
replied({request, Component, From, Tag}, IQ, State) ->
    is_current(Component, State) andalso keep_up(IQ, State),
    From ! {capsd, Tag, IQ},
    requested(IQ, Component, State);
replied(_, _, State) ->
    State.

is_current(Component, #state{current = {Component, _}}) -> true;
is_current(_, _) -> false.

%% The component in use, or to be used, has answered: what was kept of another epoch counts no more.
keep_up(IQ, #state{host = Host}) ->
    case mod_capsd_stanza:epoch(IQ) of
        {ok, Epoch} -> mod_capsd_flights:keep_up(mod_capsd:find(Host), Epoch);
        failed -> ok
    end.

%%% Which component

%% Every few seconds: an earlier component may be back, and one that hangs is noticed before anybody waits for it.
tick(#state{components = [First | _], current = {First, _}, idle = false} = State) ->
    case is_ready(State) of
        true -> State#state{idle = true};
        false -> choose(State)
    end;
tick(State) ->
    choose(State#state{idle = true}).

%% Tries the components in order with an empty feed, and uses the first that answers.
choose(#state{trying = none, components = Components} = State) ->
    try_next([Component || Component <- Components, is_connected(Component)], State);
choose(State) ->
    State.

try_next([], State) ->
    State;
try_next([Component | Others], State) ->
    Ref = make_ref(),
    send(set, feed_of([], known_instance(Component, State), goes_on), Component, {try_it, Ref, Component, Others}, ?PROBE_TIMEOUT, State),
    State#state{trying = Ref}.

tried({ok, Instance}, Component, _, #state{current = {Component, Instance}} = State) ->
    pump(set_ready(State));
tried({ok, Instance}, Component, _, State) ->
    pump(adopt(Component, Instance, State));
tried(failed, Component, Others, State) ->
    count(feed_failures, State),
    case State#state.current of
        {Component, _} -> set_unready(State);
        _ -> ok
    end,
    try_next(Others, State).

probe(#state{probing = none, current = {Component, Instance}} = State) ->
    Ref = make_ref(),
    send(set, feed_of([], Instance, goes_on), Component, {probe, Ref, Component}, ?PROBE_TIMEOUT, State),
    State#state{probing = Ref};
probe(State) ->
    State.

probed({ok, _} = Answered, Component, State) ->
    tried(Answered, Component, [], State);
probed(failed, Component, #state{trying = Trying, components = Components} = State) ->
    count(feed_failures, State),
    Others = [Other || Other <- Components, Other =/= Component, Trying =:= none, is_connected(Other)],
    try_next(Others, set_unready(State)).

%% Turns to a component that knows nothing yet: all is told anew.
adopt(Component, Instance, #state{current = Before, host = Host} = State) ->
    case Before of
        {Component, Old} ->
            renewed(Component, Old, Instance, State);
        _ ->
            ?INFO_MSG("mod_capsd of ~ts uses ~ts", [Host, Component]),
            Before =:= none orelse count(failovers, State),
            count(replays, State),
            Adopted = (forget(State))#state{current = {Component, Instance}, former = [], replay = {own, first}},
            set_ready(speak_for_others(Adopted, []))
    end.

%% What the nodes of the cluster that are down told before holds no more, and they cannot say so: of the others, the first does. (Of those that
%% went just now, the cluster may not know yet.)
speak_for_others(#state{} = State, Gone) ->
    Up = ejabberd_cluster:get_nodes() -- Gone,
    case lists:min([node() | Up]) =:= node() of
        true -> State#state{down = ejabberd_cluster:get_known_nodes() -- [node() | Up]};
        false -> State
    end.

%% A node that was out of sight may have spoken for this one.
tell_again(#state{current = none} = State) ->
    State;
tell_again(State) ->
    count(replays, State),
    pump(State#state{replay = {own, first}}).

%% The component has another instance than before: it was started anew, unless it is one of two that take turns.
renewed(Component, Old, New, #state{former = Former} = State) ->
    case lists:member(New, Former) of
        true ->
            count(instance_conflicts, State),
            set_ready(say_conflict(Component, State#state{current = {Component, New}, former = lists:usort([Old | Former])}));
        false ->
            count(replays, State),
            set_ready(State#state{
                current = {Component, New}, former = lists:sublist([Old | Former], ?FORMER), replay = {own, first}, sent = none
            })
    end.

say_conflict(Component, #state{host = Host, conflict_said = Said} = State) ->
    Now = erlang:monotonic_time(millisecond),
    case Said =:= undefined orelse Now - Said > ?CONFLICT_PAUSE of
        true ->
            ?WARNING_MSG(
                "mod_capsd of ~ts: two capsd answer in turns under the name ~ts, and each knows half of who is online. "
                "Stop one of them, or give it a name of its own and list both under `component`.",
                [Host, Component]
            ),
            State#state{conflict_said = Now};
        false ->
            State
    end.

%% Nobody is there to be told anything.
forget(#state{queue = Queue} = State) ->
    set_unready(State),
    [fail(Request) || {request, Request} <- queue:to_list(Queue)],
    State#state{current = none, queue = queue:new(), queued = 0, replay = done, sent = none, probing = none, doubts = []}.

known_instance(Component, #state{current = {Component, Instance}}) -> Instance;
known_instance(_, _) -> <<>>.

is_connected(Component) ->
    ejabberd_router:is_my_route(Component).

%%% Sending

enqueue(_, #state{current = none} = State) ->
    %% It will be in the replay.
    State;
enqueue(_, #state{queued = Queued, max_queue = Max} = State) when Queued >= Max ->
    count(feed_dropped, State),
    State#state{replay = {own, first}};
enqueue(Event, #state{queue = Queue, queued = Queued} = State) ->
    State#state{queue = queue:in({event, Event}, Queue), queued = Queued + 1}.

%% Sends what may be sent now.
pump(State) ->
    case is_ready(State) of
        true -> pump_queue(State);
        false -> State
    end.

pump_queue(#state{queue = Queue, sent = Sent} = State) ->
    case queue:peek(Queue) of
        {value, {request, {Type, Payload, From, Tag}}} ->
            {Component, _} = State#state.current,
            send(Type, Payload, Component, {request, Component, From, Tag}, ?REQUEST_TIMEOUT, State),
            pump_queue(State#state{queue = queue:drop(Queue)});
        _ when Sent =:= none, State#state.down =/= [] ->
            [Node | _] = State#state.down,
            feed({down, Node}, [], State);
        {value, {event, _}} when Sent =:= none ->
            {Events, Rest} = take_events(Queue, ?BATCH, ?BATCH_BYTES, []),
            pump_queue(feed(goes_on, Events, State#state{queue = Rest, queued = State#state.queued - length(Events)}));
        empty when Sent =:= none, State#state.replay =/= done ->
            {Events, Place} = mod_capsd_watch:next_reports(mod_capsd:find(State#state.host), State#state.replay, {?BATCH, ?BATCH_BYTES}),
            case {State#state.replay, Events} of
                %% Also if nobody is there: that is what it says then.
                {{own, first}, _} -> feed(begins, Events, State#state{replay = Place});
                {_, []} -> State#state{replay = done};
                _ -> feed(goes_on, Events, State#state{replay = Place})
            end;
        _ ->
            State
    end.

take_events(Queue, Count, Bytes, Events) when Count > 0, Bytes > 0 ->
    case queue:peek(Queue) of
        {value, {event, Event}} ->
            take_events(queue:drop(Queue), Count - 1, Bytes - mod_capsd_stanza:bytes(Event), [Event | Events]);
        _ ->
            {lists:reverse(Events), Queue}
    end;
take_events(Queue, _, _, Events) ->
    {lists:reverse(Events), Queue}.

feed(Which, Events, #state{current = {Component, Instance}} = State) ->
    Ref = make_ref(),
    send(set, feed_of(Events, Instance, Which), Component, {feed, Ref}, ?FEED_TIMEOUT, State),
    count(feeds, State),
    Holders = length([Event || {holder, _, _, _} = Event <- Events]),
    count(reported_holders, Holders, State),
    count(reported_gone, length(Events) - Holders, State),
    State#state{sent = {Ref, Which, Events}, idle = false}.

%% Nodes of a cluster report under one domain, each its own sessions: they are told apart by a name that a node keeps.
feed_of(Events, Instance, Which) ->
    #xmlel{attrs = Attrs} = Feed = mod_capsd_stanza:feed(Events, Instance),
    Node =
        case Which of
            {down, Other} -> Other;
            _ -> node()
        end,
    Feeder = base64:encode(erlang:md5(atom_to_binary(Node, utf8))),
    Feed#xmlel{attrs = [{<<"feeder">>, Feeder} | [{<<"anew">>, <<"true">>} || Which =/= goes_on]] ++ Attrs}.

fed({ok, Instance}, {down, Node}, _, #state{current = {_, Instance}, down = Down} = State) ->
    pump(State#state{down = lists:delete(Node, Down)});
fed({ok, Instance}, _, _, #state{current = {Component, Instance}} = State) when is_binary(Component) ->
    pump(State);
fed({ok, Instance}, _, _, #state{current = {Component, Old}} = State) ->
    pump(renewed(Component, Old, Instance, State));
fed(failed, begins, _, State) ->
    count(feed_failures, State),
    set_unready(State),
    choose(State#state{replay = {own, first}});
fed(failed, {down, _}, _, State) ->
    count(feed_failures, State),
    choose(set_unready(State));
fed(failed, goes_on, Events, #state{queue = Queue, queued = Queued} = State) ->
    count(feed_failures, State),
    set_unready(State),
    %% Whether it was taken is not known; to say it twice does no harm.
    Again = lists:foldr(fun(Event, Rest) -> queue:in_r({event, Event}, Rest) end, Queue, Events),
    choose(State#state{queue = Again, queued = Queued + length(Events)}).

%% Without an answer it may wait for a client still, if the deadline of capsd is a long one.
requested(timeout, Component, #state{current = {Component, _}} = State) ->
    probe(State);
requested(IQ, Component, #state{current = {Component, Old}} = State) ->
    case mod_capsd_stanza:instance(IQ) of
        {ok, Instance} when Instance =/= Old, Instance =/= <<>> -> pump(renewed(Component, Old, Instance, State));
        {ok, _} -> State;
        failed -> choose(set_unready(State))
    end;
requested(_, _, State) ->
    State.

fail({_, _, From, Tag}) ->
    From ! {capsd, Tag, timeout},
    ok.

send(Type, Payload, Component, Context, Timeout, #state{host = Host}) ->
    %% mod_privilege of newer releases drops what a component answers to the server's bare address.
    IQ = #iq{type = Type, from = jid:make(<<>>, Host, <<"capsd">>), to = jid:make(Component), sub_els = [Payload]},
    ejabberd_router:route_iq(IQ, Context, self(), Timeout).

%%% State that others see

is_ready(#state{host = Host}) ->
    #capsd{state = State} = mod_capsd:find(Host),
    atomics:get(State, ?READY) =:= 1.

set_ready(#state{host = Host, components = Components, current = {Component, _}} = State) ->
    #capsd{state = Shared} = mod_capsd:find(Host),
    atomics:put(Shared, ?COMPONENT, 1 + length(lists:takewhile(fun(Other) -> Other =/= Component end, Components))),
    atomics:put(Shared, ?READY, 1),
    set_holding(1, State).

set_unready(#state{host = Host} = State) ->
    #capsd{state = Shared} = mod_capsd:find(Host),
    atomics:put(Shared, ?READY, 0),
    atomics:put(Shared, ?COMPONENT, 0),
    set_holding(0, State).

set_holding(Whether, #state{host = Host} = State) ->
    #capsd{state = Shared} = mod_capsd:find(Host),
    atomics:put(Shared, ?HOLDING, Whether),
    State.

count(Name, State) ->
    count(Name, 1, State).

count(Name, Increment, #state{host = Host}) ->
    mod_capsd_stats:count(mod_capsd:find(Host), Name, Increment).

take_options(Opts, State) ->
    State#state{
        components = gen_mod:get_opt(component, Opts),
        retry = gen_mod:get_opt(retry, Opts),
        max_queue = gen_mod:get_opt(feed_queue, Opts)
    }.
