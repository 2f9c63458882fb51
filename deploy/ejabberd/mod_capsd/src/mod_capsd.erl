%%% capsd for ejabberd: tells a capsd component who announces which entity capabilities, and answers disco#info in the place of the
%%% clients that are asked. What servers and capsd agreed on is written in deploy/protocol.md of capsd; README.md tells what this module
%%% does, its options and its statistics.
%%%
%%% The parts: mod_capsd_watch and mod_capsd_intercept are hooks and run in the processes of sessions; mod_capsd_keeper, mod_capsd_link,
%%% mod_capsd_flights and mod_capsd_pep are one process each for a virtual host; mod_capsd_answers and mod_capsd_stats are tables;
%%% mod_capsd_told is what a session remembers; mod_capsd_stanza is XML.
-module(mod_capsd).

-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([find/1, publish/2, unpublish/1]).
-export([component_connected/1, component_disconnected/2]).
-export([capsd_stats/1]).
-export([pre_uninstall/0]).

-include("mod_capsd.hrl").
-include("ejabberd_commands.hrl").
-include("translate.hrl").

%%% gen_mod

start(Host, Opts) ->
    case gen_mod:get_opt(enabled, Opts) of
        true -> enable(Host, Opts);
        false -> ok
    end.

stop(Host) ->
    case find(Host) of
        undefined -> ok;
        _ -> disable(Host)
    end.

%% The switch takes effect without a restart; other settings change without forgetting anything.
reload(Host, NewOpts, _) ->
    case {find(Host), gen_mod:get_opt(enabled, NewOpts)} of
        {undefined, true} ->
            enable(Host, NewOpts);
        {undefined, false} ->
            ok;
        {_, false} ->
            disable(Host);
        {Capsd, true} ->
            publish(Capsd, NewOpts),
            mod_capsd_flights:options(Host, NewOpts),
            mod_capsd_link:options(Host, NewOpts)
    end.

%% mod_caps, mod_privilege and others work beside it or without it.
depends(_, _) ->
    [].

enable(Host, Opts) ->
    is_alone(Host) andalso enable_once(),
    {ok, _} = gen_mod:start_child(mod_capsd_keeper, Host, Opts),
    {ok, _} = gen_mod:start_child(mod_capsd_link, Host, Opts),
    {ok, _} = gen_mod:start_child(mod_capsd_flights, Host, Opts),
    {ok, _} = gen_mod:start_child(mod_capsd_pep, Host, Opts),
    [ejabberd_hooks:add(Hook, Host, Module, Function, Order) || {Hook, Module, Function, Order} <- hooks()],
    mod_capsd_link:census(Host).

disable(Host) ->
    [ejabberd_hooks:delete(Hook, Host, Module, Function, Order) || {Hook, Module, Function, Order} <- hooks()],
    is_alone(Host) andalso disable_once(),
    %% First the one without which nothing more is held; hooks may still be at work, here and for other hosts.
    _ = gen_mod:stop_child(mod_capsd_link, Host),
    _ = gen_mod:stop_child(mod_capsd_flights, Host),
    _ = gen_mod:stop_child(mod_capsd_pep, Host),
    unpublish(Host),
    _ = gen_mod:stop_child(mod_capsd_keeper, Host),
    ok.

%% Filters that drop come before; mod_caps, which asks at 75, comes after what is heard is known.
hooks() ->
    [
        {c2s_self_presence, mod_capsd_watch, self_presence, 110},
        {user_receive_packet, mod_capsd_intercept, user_receive_packet, 60},
        {presence_probe_hook, mod_capsd_pep, probed, 90},
        {c2s_presence_in, mod_capsd_pep, presence_in, 90},
        {c2s_session_pending, mod_capsd_watch, session_pending, 60},
        {c2s_copy_session, mod_capsd_watch, copy_session, 60},
        {c2s_handle_cast, mod_capsd_watch, handle_cast, 60}
    ].

enable_once() ->
    %% After every filter that may drop a query.
    ejabberd_hooks:add(filter_packet, mod_capsd_intercept, filter_packet, 1000),
    ejabberd_hooks:add(component_connected, ?MODULE, component_connected, 60),
    ejabberd_hooks:add(component_disconnected, ?MODULE, component_disconnected, 60),
    ejabberd_commands:register_commands(?MODULE, commands()).

disable_once() ->
    ejabberd_hooks:delete(filter_packet, mod_capsd_intercept, filter_packet, 1000),
    ejabberd_hooks:delete(component_connected, ?MODULE, component_connected, 60),
    ejabberd_hooks:delete(component_disconnected, ?MODULE, component_disconnected, 60),
    ejabberd_commands:unregister_commands(commands()).

is_alone(Host) ->
    not lists:any(fun(Other) -> Other =/= Host andalso find(Other) =/= undefined end, ejabberd_option:hosts()).

%% `ejabberdctl module_uninstall` and `module_upgrade` remove this file alone from memory: the other parts go here.
-spec pre_uninstall() -> ok.
pre_uninstall() ->
    lists:foreach(fun stop/1, ejabberd_option:hosts()),
    Parts = [
        mod_capsd_answers, mod_capsd_flights, mod_capsd_intercept, mod_capsd_keeper, mod_capsd_link, mod_capsd_pep, mod_capsd_stanza, mod_capsd_stats,
        mod_capsd_told, mod_capsd_watch
    ],
    lists:foreach(fun(Part) -> code:purge(Part), code:delete(Part) end, Parts).

%%% What hooks need

%% The virtual host's tables and settings, if the module is in force there.
-spec find(binary()) -> #capsd{} | undefined.
find(Host) ->
    persistent_term:get({?MODULE, Host}, undefined).

-spec publish(#capsd{}, gen_mod:opts()) -> ok.
publish(#capsd{host = Host} = Capsd, Opts) ->
    persistent_term:put({?MODULE, Host}, Capsd#capsd{
        opts = Opts,
        components = gen_mod:get_opt(component, Opts),
        hold = gen_mod:get_opt(hold, Opts),
        max_held = gen_mod:get_opt(max_held, Opts),
        heard_per_session = gen_mod:get_opt(heard_per_session, Opts),
        answer = gen_mod:get_opt(answer, Opts),
        xep0115 = gen_mod:get_opt(xep0115, Opts)
    }).

-spec unpublish(binary()) -> boolean().
unpublish(Host) ->
    persistent_term:erase({?MODULE, Host}).

-spec component_connected(binary()) -> ok.
component_connected(Component) ->
    tell_links(connected, Component).

-spec component_disconnected(binary(), term()) -> ok.
component_disconnected(Component, _) ->
    tell_links(disconnected, Component).

tell_links(What, Component) ->
    [mod_capsd_link:component(Host, What, Component) || Host <- ejabberd_option:hosts(), find(Host) =/= undefined],
    ok.

%%% Command

commands() ->
    [
        #ejabberd_commands{
            name = capsd_stats,
            tags = [statistics],
            desc = "Statistics of mod_capsd of a virtual host on this node",
            longdesc = "The module's README.md explains each of them. The list is empty where the module is not in force.",
            module = ?MODULE,
            function = capsd_stats,
            args = [{host, binary}],
            args_desc = ["Name of the virtual host"],
            args_example = [<<"example.org">>],
            %% Not by the names `name` and `value`, nor with an atom first: of such lists some releases make an object, and fail over it.
            result = {stats, {list, {stat, {tuple, [{statistic, string}, {count, integer}]}}}},
            result_desc = "Names and values",
            result_example = [{<<"ready">>, 1}, {<<"answered">>, 1234}]
        }
    ].

-spec capsd_stats(binary()) -> [{binary(), integer()}].
capsd_stats(Host) ->
    case find(jid:nameprep(Host)) of
        undefined -> [];
        Capsd -> [{atom_to_binary(Name, utf8), Value} || {Name, Value} <- mod_capsd_stats:list(Capsd)]
    end.

%%% Options

mod_opt_type(component) ->
    econf:and_then(econf:list_or_single(econf:domain()), econf:non_empty(econf:list(econf:any(), [unique])));
mod_opt_type(enabled) ->
    econf:bool();
mod_opt_type(answer) ->
    econf:enum([announced, subscribed]);
mod_opt_type(xep0115) ->
    econf:bool();
mod_opt_type(hold) ->
    econf:int(0, 5000);
mod_opt_type(max_held) ->
    econf:int(0, 100000);
mod_opt_type(retry) ->
    econf:and_then(econf:timeout(second), econf:int(1000, 3600000));
mod_opt_type(feed_queue) ->
    econf:int(256, 10000000);
mod_opt_type(heard_per_session) ->
    econf:int(1, 1000000);
mod_opt_type(cache_size) ->
    econf:int(1, 1000000);
mod_opt_type(cache_bytes) ->
    econf:int(65536, 1073741824);
mod_opt_type(cache_life_time) ->
    econf:and_then(econf:timeout(second), econf:int(1000, 86400000)).

mod_options(_) ->
    [
        component,
        {enabled, true},
        {answer, announced},
        {xep0115, true},
        {hold, 800},
        {max_held, 1000},
        {retry, timer:seconds(5)},
        {feed_queue, 65536},
        {heard_per_session, 4096},
        {cache_size, 1000},
        {cache_bytes, 4194304},
        {cache_life_time, timer:minutes(5)}
    ].

mod_doc() ->
    #{
        desc => [
            ?T(
                "This module connects a virtual host with capsd, a shared cache for entity capabilities "
                "(https://xmpp.org/extensions/xep-0115.html[XEP-0115], https://xmpp.org/extensions/xep-0390.html[XEP-0390]). "
                "It reports who announces what, and answers disco#info in the place of the client that is asked."
            )
        ],
        opts => [
            option(component, "Domain | [Domain, ...]", "The name of the capsd component; of several, the first that answers is used. Required."),
            option(enabled, "true | false", "Whether the module does anything; takes effect with a reload. The default is 'true'."),
            option(
                answer,
                "announced | subscribed",
                "Whose queries are answered: of all who received the announcement, or of those of them alone who are subscribed to the "
                "announcer or in the same room. The default is 'announced'."
            ),
            option(
                xep0115,
                "true | false",
                "Whether clients that announce by XEP-0115 alone are answered for as well. The default is 'true'."
            ),
            option(hold, "0 .. 5000", "For how many milliseconds a query may be held, on a machine that is not too busy; 0 holds none. The default is '800'."),
            option(max_held, "0 .. 100000", "How many queries are held at the same time; others go their way. The default is '1000'."),
            option(retry, "timeout()", "How often a component that does not answer is tried again. The default is '5' seconds."),
            option(feed_queue, "256 .. 10000000", "How many reports may wait; beyond that all is told anew. The default is '65536'."),
            option(
                heard_per_session,
                "1 .. 1000000",
                "How many announcements are remembered for each session; queries about others go their way. The default is '4096'."
            ),
            option(cache_size, "1 .. 1000000", "How many answers are kept in memory. The default is '1000'."),
            option(cache_bytes, "65536 .. 1073741824", "How many bytes they may take. The default is '4194304'."),
            option(cache_life_time, "timeout()", "For how long an answer is kept at most; capsd may say less. The default is '5' minutes.")
        ],
        example => ["modules:", "  mod_capsd:", "    component: caps.example.org"]
    }.

option(Name, Value, Description) ->
    {Name, #{value => Value, desc => list_to_binary(Description)}}.
