%%% To whom elsewhere a session sent the announcement that is in force, in the memory of its process: who received it may ask, and no server
%%% but this one knows. (What sessions here received, their own processes know: see `heard`.)
%%%
%%% A presence to an account reaches all of its resources; one to a resource says more about that one. What is said to a room, which is the
%%% account of its occupants, is for all who are there.
-module(mod_capsd_told).

-export([forget/0, forget_all/0, sent/3, entered/2, revoked/1, has/1, own_nick/1]).

%% #{LJID of an account => {what its resources have been sent, those of which something else is known}}
-define(TOLD, mod_capsd_told).

%% #{LJID of a room that the session is in => its nick}
-define(ROOMS, mod_capsd_rooms).

%% Resources of one account that are told apart.
-define(MOST_RESOURCES, 16).

%% Nobody has it: it is new, or not in force any longer.
-spec forget() -> ok.
forget() ->
    _ = erase(?TOLD),
    ok.

%% The session is not available to anybody any longer, and in no room.
-spec forget_all() -> ok.
forget_all() ->
    _ = erase(?ROOMS),
    forget().

%% The session enters that room under that nick, if the bound of accounts permits. What is sent to the nick is sent to the room from now on.
-spec entered(jid:ljid(), pos_integer()) -> boolean().
entered({_, _, Nick} = LJID, Max) ->
    Room = jid:remove_resource(LJID),
    Rooms = table(?ROOMS),
    case is_map_key(Room, Rooms) orelse map_size(Rooms) < Max of
        true ->
            put(?ROOMS, Rooms#{Room => Nick}),
            true;
        false ->
            false
    end.

%% The nick under which the session is in that room.
-spec own_nick(jid:ljid()) -> binary() | none.
own_nick(Room) ->
    maps:get(Room, table(?ROOMS), none).

%% That address was sent a presence which repeats the announcement (true) or has none (false); whether that could be remembered, within that
%% number of accounts.
-spec sent(jid:ljid(), boolean(), pos_integer()) -> boolean().
sent(LJID, false, _) ->
    unsay(LJID);
sent({_, _, Resource} = LJID, true, Max) ->
    Account = jid:remove_resource(LJID),
    case own_nick(Account) of
        Resource -> sent(Account, <<>>, Max, table(?TOLD));
        _ -> sent(Account, Resource, Max, table(?TOLD))
    end.

sent(Account, Resource, Max, Everybody) ->
    case Everybody of
        #{Account := _} = Told when Resource =:= <<>> -> keep(Told#{Account := {true, #{}}});
        #{Account := {_, Others}} when map_size(Others) >= ?MOST_RESOURCES -> false;
        #{Account := {Sent, Others}} = Told -> keep(Told#{Account := {Sent, Others#{Resource => true}}});
        Told when map_size(Told) >= Max -> false;
        Told when Resource =:= <<>> -> keep(Told#{Account => {true, #{}}});
        Told -> keep(Told#{Account => {false, #{Resource => true}}})
    end.

%% That address was told that nobody is there; of a room, the session has left it.
-spec revoked(jid:ljid()) -> boolean().
revoked(LJID) ->
    unsay(LJID),
    Room = jid:remove_resource(LJID),
    case table(?ROOMS) of
        #{Room := _} = Rooms -> put(?ROOMS, maps:remove(Room, Rooms));
        _ -> none
    end,
    true.

%% That address may have something else.
unsay({_, _, Resource} = LJID) ->
    Account = jid:remove_resource(LJID),
    IsOneOfMany = Resource =/= <<>> andalso own_nick(Account) =:= none,
    case table(?TOLD) of
        #{Account := {Sent, Others}} = Told when IsOneOfMany, map_size(Others) < ?MOST_RESOURCES ->
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
    case table(?TOLD) of
        #{Account := {Sent, Others}} -> maps:get(Resource, Others, Sent);
        _ -> false
    end.

table(Name) ->
    case get(Name) of
        undefined -> #{};
        Table -> Table
    end.

keep(Told) ->
    put(?TOLD, Told),
    true.
