%%% Last PEP items for those who log in with a content that mod_caps does not know yet, one process for each virtual host.
%%%
%%% When somebody logs in, mod_pubsub sends the last items of each contact that is probed, to those whose features ask for them. Without
%%% capsd the client has often told its features by then; an answer of capsd that is not there yet takes longer, and the items would be
%%% lost. So the probes of somebody whose features are unknown are remembered, and their hook is run again when mod_caps knows them. The same
%%% for the items of one's own account, which mod_pubsub sends when a session hears its own presence.
-module(mod_capsd_pep).

-behaviour(gen_server).

-export([probed/3, presence_in/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("mod_capsd.hrl").

%% Milliseconds between two looks into mod_caps, and until nothing more is expected; probes that are remembered.
-define(INTERVAL, 20).
-define(PATIENCE, 5000).
-define(MAX_PROBES, 10000).

-record(state, {
    host :: binary(),
    %% who logs in: what it announced, until when its features are awaited, and which sessions it probed
    waiting = #{} :: #{jid:jid() => {caps(), integer(), [{jid:jid(), pid()}]}},
    probes = 0 :: non_neg_integer()
}).

%%% Hooks

%% Runs in the process of the contact that is probed, after mod_pubsub.
-spec probed(jid:jid(), jid:jid(), pid()) -> ok.
probed(#jid{lserver = Host} = From, #jid{lserver = Host} = To, Session) ->
    case mod_capsd:find(Host) of
        #capsd{state = State} = Capsd ->
            case atomics:get(State, ?READY) =:= 1 andalso gen_mod:is_loaded(Host, mod_caps) andalso caps_of(Capsd, From) of
                #caps{} = Caps ->
                    case mod_caps:get_features(Host, Caps) of
                        [] -> gen_server:cast(gen_mod:get_module_proc(Host, ?MODULE), {wait, From, Caps, To, Session});
                        _ -> ok
                    end;
                _ ->
                    ok
            end;
        undefined ->
            ok
    end;
probed(_, _, _) ->
    ok.

%% Runs in the process of a session that hears its own presence, after mod_caps.
-spec presence_in(ejabberd_c2s:state(), presence()) -> ejabberd_c2s:state().
presence_in(#{jid := JID} = State, #presence{from = JID, type = available}) ->
    probed(JID, JID, self()),
    State;
presence_in(State, _) ->
    State.

%% What mod_caps goes by: the announcement of XEP-0115, if it has a hash.
caps_of(Capsd, JID) ->
    case [Node || {xep0115, Node} <- mod_capsd_watch:announced(Capsd, jid:tolower(JID))] of
        [Node | _] ->
            [Ver | URL] = lists:reverse(binary:split(Node, <<"#">>, [global])),
            #caps{node = iolist_to_binary(lists:join(<<"#">>, lists:reverse(URL))), version = Ver, hash = <<"sha-1">>};
        [] ->
            none
    end.

%%% gen_server

init([Host, _]) ->
    {ok, #state{host = Host}}.

handle_call(_, _, State) ->
    {reply, {error, unknown}, State}.

handle_cast({wait, From, Caps, To, Session}, #state{waiting = Waiting, probes = Probes} = State) when Probes < ?MAX_PROBES ->
    map_size(Waiting) =:= 0 andalso erlang:send_after(?INTERVAL, self(), look),
    {_, Until, Sessions} = maps:get(From, Waiting, {Caps, erlang:monotonic_time(millisecond) + ?PATIENCE, []}),
    {noreply, State#state{waiting = Waiting#{From => {Caps, Until, [{To, Session} | Sessions]}}, probes = Probes + 1}};
handle_cast(_, State) ->
    {noreply, State}.

handle_info(look, #state{host = Host, waiting = Waiting} = State) ->
    Now = erlang:monotonic_time(millisecond),
    Left = maps:filter(
        fun(From, {Caps, Until, Sessions}) ->
            case mod_caps:get_features(Host, Caps) of
                [] ->
                    Now < Until;
                Features ->
                    [tell(Host, From, To, Session, Features) || {To, Session} <- lists:reverse(Sessions)],
                    false
            end
        end,
        Waiting
    ),
    map_size(Left) =:= 0 orelse erlang:send_after(?INTERVAL, self(), look),
    {noreply, State#state{waiting = Left, probes = lists:sum([length(Sessions) || {_, _, Sessions} <- maps:values(Left)])}};
handle_info(_, State) ->
    {noreply, State}.

tell(Host, JID, JID, _, Features) ->
    ejabberd_hooks:run(caps_update, Host, [JID, JID, Features]);
tell(Host, From, To, Session, _) ->
    ejabberd_hooks:run(presence_probe_hook, Host, [From, To, Session]).

terminate(_, _) ->
    ok.

code_change(_, State, _) ->
    {ok, State}.
