%%% The answers that a virtual host keeps: what capsd said about a key, under whatever caps node it was asked for, for as long as capsd
%%% permits, within a bound of entries and bytes. Hooks read it in the process of the session; one process writes it.
%%%
%%% Past a bound, what was not used for longest goes, a tenth at a time, so that the search for it is paid once per tenth.
-module(mod_capsd_answers).

-export([new/0, key/1, find/2, is_known/2, is_wanted/2, put/5, fail/5, forget/1]).

-include("mod_capsd.hrl").

-export_type([found/0, key/0]).

-type found() :: {answer, [fxml:xmlel()]} | failed | unknown.

%% What is the same for all clients with the same content (see key/1).
-type key() :: binary().

%% Bytes of a node for which capsd answers; longer ones are keys by themselves.
-define(LONGEST_NODE, 1024).

%% Rows are {Key, Used, Expires, Bytes, Content}, times in milliseconds of the monotonic clock.
-define(USED, 2).
-define(BYTES_OF, 4).

-spec new() -> ets:tid().
new() ->
    ets:new(mod_capsd_answers, [set, public, {read_concurrency, true}, {write_concurrency, true}]).

%% The hash of XEP-0115 does not cover the URL in a node, so that clients which differ in that alone have one key: `#VER`. Of XEP-0390, and
%% of what is no node of capsd's, the node itself is the key. A key is a node with that key.
-spec key(binary()) -> key().
key(<<"urn:xmpp:caps#", _/binary>> = Node) ->
    Node;
key(Node) when byte_size(Node) =< ?LONGEST_NODE ->
    case binary:matches(Node, <<"#">>) of
        [] ->
            Node;
        Found ->
            {Start, _} = lists:last(Found),
            binary:part(Node, Start, byte_size(Node) - Start)
    end;
key(Node) ->
    Node.

%% What is known about a node: the children of the answer's <query/>, or that asking capsd was in vain a short time ago.
-spec find(#capsd{}, binary()) -> found().
find(#capsd{answers = Answers}, Node) ->
    Now = now_ms(),
    Key = key(Node),
    case ets:lookup(Answers, Key) of
        [{_, _, Expires, _, _}] when Expires =< Now ->
            unknown;
        [{_, Used, _, _, Content}] ->
            %% A hot answer is not written for each use.
            Used =:= Now orelse ets:update_element(Answers, Key, {?USED, Now}),
            case Content of
                {failed, _} -> failed;
                _ -> {answer, Content}
            end;
        [] ->
            unknown
    end.

%% Whether there is an answer, without reading it.
-spec is_known(#capsd{}, binary()) -> boolean().
is_known(#capsd{answers = Answers}, Node) ->
    try
        ets:lookup_element(Answers, key(Node), ?BYTES_OF) > 0
    catch
        error:badarg -> false
    end.

%% Whether the answer of a client for that node is of use: there is none, and none was found impossible.
-spec is_wanted(#capsd{}, binary()) -> boolean().
is_wanted(#capsd{answers = Answers}, Node) ->
    Now = now_ms(),
    case ets:lookup(Answers, key(Node)) of
        [{_, _, Expires, _, Content}] when Expires > Now -> Content =:= {failed, unanswered};
        _ -> true
    end.

%% Keeps an answer for so many milliseconds; returns how many others were dropped to make room.
-spec put(#capsd{}, binary(), [fxml:xmlel()], pos_integer(), {pos_integer(), pos_integer()}) -> non_neg_integer().
put(Capsd, Node, Content, Life, Bounds) ->
    insert(Capsd, key(Node), Life, erts_debug:flat_size(Content) * erlang:system_info(wordsize), Content, Bounds).

%% Remembers for so many milliseconds that capsd has no answer, so that nobody is kept waiting for the same disappointment: because nothing
%% can be proven about that node, or because who was asked did not answer as announced.
-spec fail(#capsd{}, binary(), unprovable | unanswered, pos_integer(), {pos_integer(), pos_integer()}) -> non_neg_integer().
fail(Capsd, Node, Why, Life, Bounds) ->
    insert(Capsd, key(Node), Life, 0, {failed, Why}, Bounds).

%% Nothing of it may be used any longer.
-spec forget(#capsd{}) -> ok.
forget(#capsd{answers = Answers, state = State}) ->
    ets:delete_all_objects(Answers),
    atomics:put(State, ?BYTES, 0).

insert(#capsd{answers = Answers, state = State} = Capsd, Key, Life, Bytes, Content, Bounds) ->
    Before =
        case ets:lookup(Answers, Key) of
            [{_, _, _, Size, _}] -> Size;
            [] -> 0
        end,
    atomics:add(State, ?BYTES, Bytes - Before),
    Now = now_ms(),
    %% A copy, or the row would keep what the key is a part of.
    ets:insert(Answers, {binary:copy(Key), Now, Now + Life, Bytes, Content}),
    bound(Capsd, Key, Bounds).

bound(#capsd{answers = Answers, state = State}, Latest, {MaxEntries, MaxBytes}) ->
    Entries = ets:info(Answers, size),
    Bytes = atomics:get(State, ?BYTES),
    if
        Entries > MaxEntries; Bytes > MaxBytes ->
            Rows = ets:select(Answers, [{{'$1', '$2', '_', '$3', '_'}, [{'=/=', '$1', Latest}], [{{'$2', '$1', '$3'}}]}]),
            {Dropped, Freed} = drop(lists:sort(Rows), Answers, Entries - MaxEntries * 9 div 10, Bytes - MaxBytes * 9 div 10, {0, 0}),
            atomics:sub(State, ?BYTES, Freed),
            Dropped;
        true ->
            0
    end.

drop([{_, Key, Size} | Rest], Answers, Entries, Bytes, {Dropped, Freed}) when Entries > 0; Bytes > 0 ->
    ets:delete(Answers, Key),
    drop(Rest, Answers, Entries - 1, Bytes - Size, {Dropped + 1, Freed + Size});
drop(_, _, _, _, Result) ->
    Result.

now_ms() ->
    erlang:monotonic_time(millisecond).
