%%% What the parts of mod_capsd share.

-include("xmpp.hrl").
-include("logger.hrl").

-define(NS_CAPSD, <<"urn:capsd:0">>).
-define(NS_CAPS_0390, <<"urn:xmpp:caps">>).
-define(NS_HASHES, <<"urn:xmpp:hashes:2">>).

%% The mark of a stanza that this module has seen already (a key of its `meta`, which no client can set). Its value is one of
%%   {heard, Heard, Asker}   the asker's session received that announcement of the addressed JID
%%   {again, Heard, Asker}   the same, and the query was held before: it must not be held a second time
%%   pass                    goes its way unchanged
%% `Asker` is the address and the process of that session and the LJID that announced to it (of an occupant, if a room passes the query
%% on), or none if the query does not come from a session of this server, or elsewhere if an occupant of elsewhere asks through a room here.
-define(MARK, capsd).

%% An announcement as far as queries are concerned: the caps nodes by which it can be asked for.
-type nodes_of() :: [{xep0115 | xep0390, binary()}].

%% Whether an announcement came directly or through a room.
-type way() :: direct | room.
-type heard() :: {nodes_of(), way()}.

%% Who asks, as in a mark.
-type asker() :: {jid:jid(), pid(), jid:ljid()} | none | elsewhere.

%% What hooks need of one virtual host, without asking a process.
-record(capsd, {
    host :: binary(),
    %% {{Session, LJID of the announcer}, heard()}: what each local session was told
    heard :: ets:tid(),
    %% {LJID, Session, nodes_of(), [xmlel()], boolean()}: what each local session announced, and whether capsd may ask it
    own :: ets:tid(),
    %% {LJID, number of sessions that heard it, [xmlel()]}: announcers of elsewhere
    passing :: ets:tid(),
    %% {{LJID, Id}, Node, asker()}: queries that went their way so that others can be answered from their results
    scouts :: ets:tid(),
    %% {reference(), Node, iq()}: queries that are held
    held :: ets:tid(),
    %% see mod_capsd_answers
    answers :: ets:tid(),
    counters :: counters:counters_ref(),
    %% see ?READY
    state :: atomics:atomics_ref(),
    %% all options in force, for processes that start
    opts = #{} :: gen_mod:opts(),
    components = [] :: [binary()],
    hold = 800 :: non_neg_integer(),
    max_held = 1000 :: non_neg_integer(),
    heard_per_session = 4096 :: pos_integer(),
    answer = announced :: announced | subscribed,
    xep0115 = true :: boolean()
}).

%% Places in the atomics: whether queries are answered (1) or not (0); how many are held now; bytes of the kept answers; which component is
%% in use (0 for none); whether queries for what is not known are held (1), which they are not while capsd seems to hang (0); a digest of the
%% epoch of capsd in which the kept answers were given.
-define(READY, 1).
-define(HELD, 2).
-define(BYTES, 3).
-define(COMPONENT, 4).
-define(HOLDING, 5).
-define(EPOCH, 6).
-define(PLACES, 6).
