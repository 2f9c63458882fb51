%%% To whom elsewhere a session sent the announcement that is in force, in the memory of its process: who received it may ask, and no server
%%% but this one knows. (What sessions here received, their own processes know: see `heard`.)
%%%
%%% A presence to an account reaches all of its resources; one to a resource says more about that one.
-module(mod_capsd_told).

-export([forget/0, sent/3, revoked/1, has/1]).

%% #{LJID of an account => {what its resources have been sent, those of which something else is known}}
-define(TOLD, mod_capsd_told).

%% Resources of one account that are told apart.
-define(MOST_RESOURCES, 16).

%% Nobody has it: it is new, or not in force any longer.
-spec forget() -> ok.
forget() ->
    _ = erase(?TOLD),
    ok.

%% That address was sent a presence which repeats the announcement (true) or has none (false); whether that could be remembered, within that
%% number of accounts.
-spec sent(jid:ljid(), boolean(), pos_integer()) -> boolean().
sent(LJID, false, _) ->
    revoked(LJID);
sent({_, _, Resource} = LJID, true, Max) ->
    Account = jid:remove_resource(LJID),
    case all() of
        #{Account := _} = Told when Resource =:= <<>> -> keep(Told#{Account := {true, #{}}});
        #{Account := {_, Others}} when map_size(Others) >= ?MOST_RESOURCES -> false;
        #{Account := {Sent, Others}} = Told -> keep(Told#{Account := {Sent, Others#{Resource => true}}});
        Told when map_size(Told) >= Max -> false;
        Told when Resource =:= <<>> -> keep(Told#{Account => {true, #{}}});
        Told -> keep(Told#{Account => {false, #{Resource => true}}})
    end.

%% That address was told that nobody is there, or may have something else.
-spec revoked(jid:ljid()) -> boolean().
revoked({_, _, Resource} = LJID) ->
    Account = jid:remove_resource(LJID),
    case all() of
        #{Account := {Sent, Others}} = Told when Resource =/= <<>>, map_size(Others) < ?MOST_RESOURCES ->
            keep(Told#{Account := {Sent, Others#{Resource => false}}});
        #{Account := _} = Told ->
            keep(maps:remove(Account, Told));
        _ ->
            true
    end.

%% Whether that address has the announcement in force.
-spec has(jid:ljid()) -> boolean().
has({_, _, Resource} = LJID) ->
    Account = jid:remove_resource(LJID),
    case all() of
        #{Account := {Sent, Others}} -> maps:get(Resource, Others, Sent);
        _ -> false
    end.

all() ->
    case get(?TOLD) of
        undefined -> #{};
        Told -> Told
    end.

keep(Told) ->
    put(?TOLD, Told),
    true.
