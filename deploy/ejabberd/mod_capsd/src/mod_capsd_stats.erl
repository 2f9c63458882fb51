%%% Statistics of mod_capsd: counters that only grow, each with one line of explanation. `capsd_stats` shows them.
-module(mod_capsd_stats).

-export([new/0, count/2, count/3, list/1]).

-include("mod_capsd.hrl").

-spec new() -> counters:counters_ref().
new() ->
    counters:new(length(names()), [write_concurrency]).

-spec count(#capsd{}, atom()) -> ok.
count(Capsd, Name) ->
    count(Capsd, Name, 1).

-spec count(#capsd{}, atom(), non_neg_integer()) -> ok.
count(#capsd{counters = Counters}, Name, Increment) ->
    counters:add(Counters, place(Name), Increment).

%% All values, in the order in which the documentation lists them: first what is there now, then what has happened.
-spec list(#capsd{}) -> [{atom(), non_neg_integer()}].
list(#capsd{counters = Counters, state = State} = Capsd) ->
    [
        {ready, min(atomics:get(State, ?READY), atomics:get(State, ?HOLDING))},
        {component, atomics:get(State, ?COMPONENT)},
        {held_now, max(0, atomics:get(State, ?HELD))},
        {sessions_announcing, ets:info(Capsd#capsd.own, size)},
        {announcements_heard, ets:info(Capsd#capsd.heard, size)},
        {announcers_elsewhere, ets:info(Capsd#capsd.passing, size)},
        {answers_kept, ets:info(Capsd#capsd.answers, size)},
        {answers_kept_bytes, atomics:get(State, ?BYTES)}
        | [{Name, counters:get(Counters, place(Name))} || Name <- names()]
    ].

names() ->
    [
        answered,
        held,
        answered_after_hold,
        went_on,
        hold_timeouts,
        held_full,
        heard_full,
        answers_dropped,
        lookups,
        lookups_failed,
        contributed,
        contributed_verified,
        contributions_dropped,
        feeds,
        reported_holders,
        reported_gone,
        feed_dropped,
        feed_failures,
        replays,
        failovers,
        instance_conflicts
    ].

place(answered) -> 1;
place(held) -> 2;
place(answered_after_hold) -> 3;
place(went_on) -> 4;
place(hold_timeouts) -> 5;
place(held_full) -> 6;
place(heard_full) -> 7;
place(answers_dropped) -> 8;
place(lookups) -> 9;
place(lookups_failed) -> 10;
place(contributed) -> 11;
place(contributed_verified) -> 12;
place(contributions_dropped) -> 13;
place(feeds) -> 14;
place(reported_holders) -> 15;
place(reported_gone) -> 16;
place(feed_dropped) -> 17;
place(feed_failures) -> 18;
place(replays) -> 19;
place(failovers) -> 20;
place(instance_conflicts) -> 21.
