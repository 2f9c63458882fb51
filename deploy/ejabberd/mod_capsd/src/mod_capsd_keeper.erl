%%% Keeps the tables of a virtual host, and does nothing else, so that they outlive the processes that work with them: one of those that crashes
%%% is started anew, and goes on with what is there and with the options in force.
-module(mod_capsd_keeper).

-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("mod_capsd.hrl").

init([Host, Given]) ->
    {Heard, Own, Passing} = mod_capsd_watch:tables(),
    Before = mod_capsd:find(Host),
    Opts =
        case Before of
            undefined -> Given;
            #capsd{opts = InForce} -> InForce
        end,
    mod_capsd:publish(
        #capsd{
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
        Opts
    ),
    %% Somebody has killed this process: nothing is known any longer.
    Before =:= undefined orelse mod_capsd_link:begin_anew(Host),
    {ok, Host}.

handle_call(_, _, Host) ->
    {reply, {error, unknown}, Host}.

handle_cast(_, Host) ->
    {noreply, Host}.

handle_info(_, Host) ->
    {noreply, Host}.

terminate(_, _) ->
    ok.

code_change(_, Host, _) ->
    {ok, Host}.
