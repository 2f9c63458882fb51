%%% Queries that are held, one process for each virtual host: of several for one unknown key, one look-up; if capsd has no answer, one
%%% of them goes its way and the others wait for its answer. The queries themselves are in a table, so that none is lost with this process.
%%%
%%% A held query is never answered from here. When its time has come it is routed again with a mark that keeps it from being held a
%%% second time, and is decided anew where it was held: block lists, the announcement in force and the answer are those of that moment.
-module(mod_capsd_flights).

-behaviour(gen_server).

-export([hold/3, questioned/2, learn/4, asked/3, refused/3, options/2, unasked/1, keep_up/2, release_all/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("mod_capsd.hrl").

%% How long capsd is not asked again for a node, in milliseconds: if nothing can be proven about it, and if a client was asked in vain.
-define(UNPROVABLE, 60000).
-define(UNANSWERED, 10000).
%% Answers of clients that are being verified at the same time.
-define(MAX_CONTRIBUTIONS, 64).
%% Who is remembered, for ?UNANSWERED milliseconds, for an answer that did not verify: it is not verified again.
-define(MAX_REFUTED, 1000).
%% Bytes of a client's answer that is worth verifying: capsd takes much less.
-define(LONGEST_ANSWER, 65536).

-record(flight, {
    %% the question to a client, if capsd was asked in vain: who is expected to answer, under which row of the table it is found, and the timer
    %% of its end
    scout = none :: none | {jid:ljid(), {jid:ljid(), binary()}, reference()},
    %% held queries, the first that came first, with what the clock showed when they came
    held = queue:new() :: queue:queue({non_neg_integer(), Query :: reference()}),
    %% what it showed when a question of capsd went to a client
    questioned = 0 :: non_neg_integer(),
    %% what it shows when capsd is doubted, if it has not answered by then; then, under which name, and when that doubt is well founded
    doubt :: non_neg_integer() | {reference(), non_neg_integer()} | done
}).

-record(state, {
    host :: binary(),
    capsd :: #capsd{},
    bounds :: {pos_integer(), pos_integer()},
    life :: pos_integer(),
    flights = #{} :: #{mod_capsd_answers:key() => #flight{}},
    %% the clock by which queries are held, in microseconds, when it was looked at, and the timer of the next look if anything is held
    clock = 0 :: non_neg_integer(),
    looked = 0 :: integer(),
    ticker = none :: none | reference(),
    contributing = #{} :: #{{binary(), jid:ljid()} => []},
    refuted = #{} :: #{{binary(), jid:ljid()} => []}
}).

%%% For hooks

%% Takes a query into custody, unless capsd is away or seems to hang, or too many are held already.
-spec hold(#capsd{}, binary(), iq()) -> boolean().
hold(#capsd{hold = 0}, _, _) ->
    false;
hold(#capsd{host = Host, state = State, held = Table, max_held = Max} = Capsd, Node, IQ) ->
    case atomics:get(State, ?HOLDING) of
        0 ->
            false;
        1 ->
            case atomics:add_get(State, ?HELD, 1) of
                Held when Held =< Max ->
                    mod_capsd_stats:count(Capsd, held),
                    Query = make_ref(),
                    ets:insert(Table, {Query, Node, IQ}),
                    gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {hold, Node, Query}),
                    true;
                _ ->
                    atomics:sub(State, ?HELD, 1),
                    mod_capsd_stats:count(Capsd, held_full),
                    false
            end
    end.

%% A question of capsd itself for that node goes to a client: those that wait for its answer may do so from now on.
-spec questioned(#capsd{}, binary()) -> ok.
questioned(#capsd{host = Host}, Node) ->
    gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {questioned, Node}).

%% An answer passed by for a node that its sender announced.
-spec learn(#capsd{}, binary(), jid:jid(), fxml:xmlel()) -> ok.
learn(#capsd{host = Host, state = State}, Node, JID, Query) ->
    case atomics:get(State, ?READY) of
        1 -> gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {learn, Node, JID, Query});
        0 -> ok
    end.

%% What the query with that id, which went to that address so that others can be answered from its result, is to find out: the node, and
%% who asks. None if the query was no such.
-spec asked(#capsd{}, jid:ljid(), binary()) -> {binary(), asker()} | none.
asked(#capsd{scouts = Scouts}, LJID, Id) ->
    case ets:lookup(Scouts, {LJID, Id}) of
        [{_, Node, Asker}] -> {Node, Asker};
        [] -> none
    end.

%% That address answered the query with that id by an error.
-spec refused(#capsd{}, jid:ljid(), binary()) -> ok.
refused(#capsd{host = Host} = Capsd, LJID, Id) ->
    case asked(Capsd, LJID, Id) of
        {Node, _} -> gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {refused, Node, {LJID, Id}});
        none -> ok
    end.

-spec options(binary(), gen_mod:opts()) -> ok.
options(Host, Opts) ->
    gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {options, Opts}).

%% What capsd was asked until now, nobody will hear.
-spec unasked(binary()) -> ok.
unasked(Host) ->
    gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), unasked).

%% capsd answers in that epoch: if it is another one than before, what is kept counts no more, nor what was refuted. What capsd said after that
%% comes after this.
-spec keep_up(#capsd{}, binary()) -> ok.
keep_up(#capsd{host = Host, state = State}, Epoch) ->
    <<Digest:56, _/bitstring>> = erlang:md5(Epoch),
    case atomics:exchange(State, ?EPOCH, Digest) of
        Digest -> ok;
        _ -> gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), withdraw)
    end.

%%% gen_server

%% What another process of this kind held goes its way.
init([Host, _]) ->
    process_flag(trap_exit, true),
    #capsd{opts = Opts} = Capsd = mod_capsd:find(Host),
    ets:delete_all_objects(Capsd#capsd.scouts),
    State = take_options(Opts, #state{host = Host, capsd = Capsd, bounds = {1, 1}, life = 1}),
    release_all(Capsd),
    {ok, State}.

handle_call(_, _, State) ->
    {reply, {error, unknown}, State}.

handle_cast({hold, Node, Query}, State) ->
    {noreply, hold_query(Node, Query, renew(State))};
handle_cast({questioned, Node}, #state{flights = Flights, clock = Clock} = State) ->
    Key = mod_capsd_answers:key(Node),
    case Flights of
        #{Key := #flight{questioned = 0} = Flight} -> {noreply, State#state{flights = Flights#{Key := Flight#flight{questioned = Clock}}}};
        _ -> {noreply, State}
    end;
handle_cast(unasked, #state{flights = Flights} = State) ->
    {noreply, lists:foldl(fun(Key, Left) -> land(Key, pass, Left) end, renew(State#state{contributing = #{}}), maps:keys(Flights))};
handle_cast(withdraw, State0) ->
    State = renew(State0),
    mod_capsd_answers:forget(State#state.capsd),
    {noreply, State#state{refuted = #{}}};
handle_cast({learn, Node, JID, Query}, State) ->
    {noreply, contribute(Node, JID, Query, renew(State))};
handle_cast({refused, Node, Row}, State) ->
    {noreply, give_up(Node, Row, renew(State))};
handle_cast({options, Opts}, State) ->
    {noreply, take_options(Opts, State)};
handle_cast(_, State) ->
    {noreply, State}.

handle_info({capsd, {lookup, Node}, IQ}, State) ->
    {noreply, looked_up(Node, mod_capsd_stanza:lookup_result(IQ, Node), renew(State))};
handle_info({capsd, {contribute, Node, LJID}, IQ}, State) ->
    {noreply, contributed(Node, LJID, mod_capsd_stanza:contribute_result(IQ), renew(State))};
handle_info({timeout, Ticker, tick}, #state{ticker = Ticker} = State) ->
    {noreply, tick(renew(State))};
handle_info({timeout, Timer, {scout, Node}}, State) ->
    {noreply, give_up(Node, Timer, renew(State))};
handle_info({forgive, Which}, #state{refuted = Refuted} = State) ->
    {noreply, State#state{refuted = maps:remove(Which, Refuted)}};
handle_info(_, State) ->
    {noreply, State}.

%% Whatever is held goes its way.
terminate(_, State) ->
    #state{capsd = Capsd} = renew(State),
    release_all(Capsd).

code_change(_, State, _) ->
    {ok, State}.

%%% Holding

hold_query(Node, Query, #state{capsd = Capsd, flights = Flights} = State) ->
    Key = mod_capsd_answers:key(Node),
    case {is_held(Query, Capsd), mod_capsd_answers:find(Capsd, Node), Flights} of
        {false, _, _} ->
            State;
        {true, unknown, #{Key := Flight}} ->
            add(Key, Query, Flight, State);
        {true, unknown, _} ->
            look_up(Node, true, Capsd),
            add(Key, Query, #flight{doubt = State#state.clock + prompt(Capsd)}, State);
        {true, Found, _} ->
            release(Query, mark(Found), Capsd),
            State
    end.

add(Key, Query, #flight{held = Held} = Flight, #state{flights = Flights, clock = Clock} = State) ->
    run_clock(State#state{flights = Flights#{Key => Flight#flight{held = queue:in({Clock, Query}, Held)}}}).

%% Not if another process of this kind has let it go already.
is_held(Query, #capsd{held = Table}) ->
    ets:member(Table, Query).

mark({answer, _}) -> again;
mark(failed) -> pass.

%% Within how long capsd answers what it answers at once, in microseconds. Twice that has passed, and whether it hangs is known, before the
%% first of those that were held for it has waited for too long.
prompt(#capsd{hold = Hold}) ->
    1000 * (Hold div 3).

%% A look-up that takes long may wait for a client, or capsd hangs: which of the two shows something that it answers at once.
doubt(#flight{scout = none, doubt = At} = Flight, #state{capsd = Capsd, clock = Clock}) when is_integer(At), Clock >= At ->
    Ref = make_ref(),
    mod_capsd_link:doubt(Capsd, Ref),
    Flight#flight{doubt = {Ref, Clock + prompt(Capsd)}};
doubt(#flight{scout = none, doubt = {Ref, At}} = Flight, #state{capsd = Capsd, clock = Clock}) when Clock >= At ->
    mod_capsd_link:late(Capsd, Ref),
    Flight#flight{doubt = done};
doubt(Flight, _) ->
    Flight.

look_up(Node, Wait, Capsd) ->
    mod_capsd_stats:count(Capsd, lookups),
    mod_capsd_link:request(Capsd, get, mod_capsd_stanza:lookup(Node, Wait), {lookup, Node}).

looked_up(Node, {answer, _, Content, MaxAge}, #state{capsd = Capsd, life = Life} = State) when MaxAge > 0 ->
    dropped(mod_capsd_answers:put(Capsd, Node, Content, min(MaxAge * 1000, Life), State#state.bounds), Capsd),
    land(mod_capsd_answers:key(Node), again, State);
looked_up(Node, {reason, _, Reason}, #state{capsd = Capsd, flights = Flights} = State) ->
    mod_capsd_stats:count(Capsd, lookups_failed),
    Key = mod_capsd_answers:key(Node),
    case {is_worth_asking(Reason), Flights} of
        {true, #{Key := #flight{scout = none, held = Held} = Flight}} ->
            case queue:out(Held) of
                {{value, {_, Query}}, Others} ->
                    Scout = send_scout(Query, Capsd),
                    release(Query, pass, Capsd),
                    State#state{flights = Flights#{Key := Flight#flight{scout = Scout, held = Others}}};
                {empty, _} ->
                    land(Key, pass, State)
            end;
        {true, _} ->
            land(Key, pass, State);
        {false, _} ->
            in_vain(Node, unprovable, State)
    end;
looked_up(Node, _, #state{capsd = Capsd} = State) ->
    mod_capsd_stats:count(Capsd, lookups_failed),
    land(mod_capsd_answers:key(Node), pass, State).

%% One query goes its way for the others: its answer ends the wait, or the end of its time. It is an answer to the node of which that asker
%% heard.
send_scout(Query, #capsd{scouts = Scouts, held = Table}) ->
    [{_, Node, #iq{id = Id, to = To, meta = #{?MARK := {_, _, Asker}}}}] = ets:lookup(Table, Query),
    LTo = jid:tolower(To),
    Expected =
        case mod_capsd:find(To#jid.lserver) =:= undefined andalso Asker of
            {_, _, LHeard} -> LHeard;
            _ -> LTo
        end,
    Row = {LTo, Id},
    ets:insert(Scouts, {Row, Node, Asker}),
    {Expected, Row, erlang:start_timer(?UNANSWERED, self(), {scout, Node})}.

%% Whether the client itself may know what capsd does not: if nobody could be asked, or those that were asked were of no use.
is_worth_asking(Reason) ->
    lists:member(Reason, [
        <<"unknown">>, <<"unreachable">>, <<"timeout">>, <<"mismatch">>, <<"ill-formed">>, <<"rate-limited">>, <<"overloaded">>, <<"too-large">>
    ]).

in_vain(Node, Why, #state{capsd = Capsd, bounds = Bounds} = State) ->
    Life =
        case Why of
            unprovable -> ?UNPROVABLE;
            unanswered -> ?UNANSWERED
        end,
    dropped(mod_capsd_answers:fail(Capsd, Node, Why, Life, Bounds), Capsd),
    land(mod_capsd_answers:key(Node), pass, State).

dropped(Count, Capsd) ->
    mod_capsd_stats:count(Capsd, answers_dropped, Count).

%% The end of a flight: everything that it holds is decided anew, or goes its way.
land(Key, Mark, #state{flights = Flights} = State) ->
    case maps:take(Key, Flights) of
        {Flight, Rest} ->
            end_scout(Flight, State),
            let_go(Flight, Mark, State),
            State#state{flights = Rest};
        error ->
            State
    end.

end_scout(#flight{scout = {_, Row, Timer}}, #state{capsd = #capsd{scouts = Scouts}}) ->
    _ = erlang:cancel_timer(Timer),
    ets:delete(Scouts, Row);
end_scout(_, _) ->
    true.

%% The client that was asked has not answered, or not what it announced, for as long as anybody would wait; or it said that it will not. A later
%% flight may have asked somebody else.
give_up(Node, Which, #state{flights = Flights} = State) ->
    Key = mod_capsd_answers:key(Node),
    case Flights of
        #{Key := #flight{scout = {_, Row, Timer}}} when Which =:= Row; Which =:= Timer -> in_vain(Node, unanswered, State);
        _ -> State
    end.

let_go(#flight{held = Held}, Mark, #state{capsd = Capsd}) ->
    lists:foreach(fun({_, Query}) -> release(Query, Mark, Capsd) end, queue:to_list(Held)).

%% The clock runs while anything is held. A tick that comes later than on a machine with little to do counts for no more than there: clients
%% are kept from answering as well, and what this process was kept from reading may be an answer.
run_clock(#state{ticker = none, capsd = Capsd} = State) ->
    State#state{ticker = erlang:start_timer(tick_length(Capsd), self(), tick), looked = erlang:monotonic_time(microsecond)};
run_clock(State) ->
    State.

%% In milliseconds, of which a timer of Erlang may be one late at any time. What keeps a busy machine shows best by short ones.
tick_length(#capsd{hold = Hold}) ->
    max(1, min(5, Hold div 40)).

tick(#state{capsd = Capsd, clock = Clock, looked = Looked, flights = Flights} = State) ->
    Passed = min(erlang:monotonic_time(microsecond) - Looked, 1000 * (tick_length(Capsd) + 1)),
    Now = State#state{ticker = none, clock = Clock + Passed},
    Doubted = maps:map(fun(_, Flight) -> doubt(Flight, Now) end, Flights),
    Left = lists:foldl(fun expire/2, Now#state{flights = Doubted}, maps:keys(Flights)),
    case lists:any(fun(#flight{held = Held}) -> not queue:is_empty(Held) end, maps:values(Left#state.flights)) of
        true -> run_clock(Left);
        false -> Left
    end.

%% What has waited for long enough goes its way, the first that came first. Whatever comes late is kept for those that ask later.
expire(Key, #state{capsd = Capsd, flights = Flights, clock = Clock} = State) ->
    #{Key := #flight{held = Held, questioned = Questioned} = Flight} = Flights,
    Enough = 1000 * (Capsd#capsd.hold - 2 * tick_length(Capsd)),
    case queue:peek(Held) of
        {value, {Since, Query}} when Clock - Since >= Enough, Clock - Questioned >= Enough ->
            mod_capsd_stats:count(Capsd, hold_timeouts),
            release(Query, pass, Capsd),
            Others = queue:drop(Held),
            Left = State#state{flights = Flights#{Key := Flight#flight{held = Others}}},
            case Flight#flight.scout =/= none andalso queue:is_empty(Others) of
                true -> in_vain(Key, unanswered, Left);
                false -> expire(Key, Left)
            end;
        _ ->
            State
    end.

release(Query, Mark, #capsd{state = Held, held = Table} = Capsd) ->
    case ets:take(Table, Query) of
        [{_, _, IQ}] ->
            atomics:sub(Held, ?HELD, 1),
            go_on(IQ, Mark, Capsd);
        [] ->
            ok
    end.

%% Everything that is held goes its way.
-spec release_all(#capsd{}) -> ok.
release_all(#capsd{held = Table} = Capsd) ->
    [release(Query, pass, Capsd) || {Query, _, _} <- ets:tab2list(Table)],
    ok.

go_on(#iq{meta = Meta} = IQ, Mark, Capsd) ->
    case {Mark, Meta} of
        {again, #{?MARK := {_, Heard, Asker}}} ->
            ejabberd_router:route(xmpp:put_meta(IQ, ?MARK, {again, Heard, Asker}));
        _ ->
            mod_capsd_stats:count(Capsd, went_on),
            ejabberd_router:route(xmpp:put_meta(IQ, ?MARK, pass))
    end.

%%% Learning

contribute(Node, JID, Query, #state{capsd = Capsd, contributing = Contributing, refuted = Refuted} = State) ->
    Which = {Node, jid:tolower(JID)},
    IsNew = mod_capsd_answers:is_wanted(Capsd, Node) andalso not (is_map_key(Which, Contributing) orelse is_map_key(Which, Refuted)),
    case IsNew andalso iolist_size(fxml:element_to_binary(Query)) of
        Bytes when is_integer(Bytes), Bytes > ?LONGEST_ANSWER orelse map_size(Contributing) >= ?MAX_CONTRIBUTIONS ->
            mod_capsd_stats:count(Capsd, contributions_dropped),
            State;
        Bytes when is_integer(Bytes) ->
            mod_capsd_stats:count(Capsd, contributed),
            mod_capsd_link:request(Capsd, set, mod_capsd_stanza:contribute(Node, JID, Query), {contribute, Node, element(2, Which)}),
            State#state{contributing = Contributing#{Which => []}};
        false ->
            State
    end.

contributed(Node, LJID, Result, #state{capsd = Capsd, flights = Flights, contributing = Contributing} = State0) ->
    Which = {Node, LJID},
    Key = mod_capsd_answers:key(Node),
    State = refute(Which, Result, State0#state{contributing = maps:remove(Which, Contributing)}),
    case {Result, Flights} of
        %% What the client said may be more than what its hash covers, so capsd is asked for what was verified.
        {verified, _} ->
            mod_capsd_stats:count(Capsd, contributed_verified),
            look_up(Node, false, Capsd),
            State;
        %% Only the answer of the client that was asked ends the wait: a liar that nobody asked must not.
        {{reason, _}, #{Key := #flight{scout = {LJID, _, _}}}} ->
            in_vain(Node, unanswered, State);
        {failed, #{Key := #flight{scout = {LJID, _, _}}}} ->
            land(Key, pass, State);
        _ ->
            State
    end.

refute(Which, {reason, _}, #state{refuted = Refuted} = State) when map_size(Refuted) < ?MAX_REFUTED ->
    _ = erlang:send_after(?UNANSWERED, self(), {forgive, Which}),
    State#state{refuted = Refuted#{Which => []}};
refute(_, _, State) ->
    State.

%%% Options

take_options(Opts, State) ->
    (renew(State))#state{
        bounds = {gen_mod:get_opt(cache_size, Opts), gen_mod:get_opt(cache_bytes, Opts)},
        life = gen_mod:get_opt(cache_life_time, Opts)
    }.

%% The settings are others after a reload, and the tables after mod_capsd_keeper began anew.
renew(#state{host = Host} = State) ->
    case mod_capsd:find(Host) of
        undefined -> State;
        Capsd -> State#state{capsd = Capsd}
    end.
