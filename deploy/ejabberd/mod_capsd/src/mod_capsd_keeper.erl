%%% Keeps the tables of a virtual host, and does nothing else, so that they outlive the processes that work with them: one of those that crashes
%%% is started anew, and goes on with what is there and with the options in force.
-module(mod_capsd_keeper).

-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("mod_capsd.hrl").

init([Host, Given]) ->
    process_flag(trap_exit, true),
    {Heard, Own, Passing} = mod_capsd_watch:tables(),
    Before = mod_capsd:find(Host),
    Opts =
        case Before of
            undefined -> Given;
            #capsd{opts = InForce} -> InForce
        end,
    Capsd = #capsd{
        host = Host,
        heard = Heard,
        own = Own,
        passing = Passing,
        scouts = ets:new(mod_capsd_scouts, [public, {read_concurrency, true}]),
        held = ets:new(mod_capsd_held, [public, {write_concurrency, true}]),
        answers = mod_capsd_answers:new(),
        counters = mod_capsd_stats:new(),
        state = atomics:new(?PLACES, [])
    },
    mod_capsd:publish(Capsd, Opts),
    %% Somebody has killed this process: nothing is known any longer.
    Before =:= undefined orelse mod_capsd_link:begin_anew(Host),
    {ok, Capsd}.

handle_call(_, _, Capsd) ->
    {reply, {error, unknown}, Capsd}.

handle_cast(_, Capsd) ->
    {noreply, Capsd}.

handle_info(_, Capsd) ->
    {noreply, Capsd}.

%% What a session held when nobody worked with the tables any more goes its way with the tables.
terminate(_, Capsd) ->
    mod_capsd_flights:release_all(Capsd).

code_change(_, Capsd, _) ->
    {ok, Capsd}.
