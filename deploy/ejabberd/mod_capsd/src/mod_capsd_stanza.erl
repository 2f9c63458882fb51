%%% XML of disco#info, entity capabilities and urn:capsd:0, read and written as plain data.
-module(mod_capsd_stanza).

-export([announcement/1, way/1, is_entering/1, is_own_unavailable/1]).
-export([question/1, info/1, answer/3]).
-export([lookup/2, contribute/3, feed/2, bytes/1, instance/1, epoch/1, lookup_result/2, contribute_result/1]).

-include("mod_capsd.hrl").

-export_type([event/0]).

%% Bounds of what an announcement may be: bytes of each text in it, and hashes of one element.
-define(LONGEST_TEXT, 1023).
-define(MOST_HASHES, 16).

-type event() :: {holder, jid:ljid(), boolean(), [fxml:xmlel()]} | {gone, jid:ljid()}.

%%% Presence

%% The announcement in a presence: the nodes by which it can be asked for (none if it can never be verified) and its <c/> elements,
%% without what does not belong into them; the first of each family counts, as for capsd. What is out of the bounds above is left out:
%% queries for it go their way.
-spec announcement(presence()) -> none | {nodes_of(), [fxml:xmlel()]}.
announcement(#presence{sub_els = Els}) ->
    case first_of_each([{Namespace, El} || El <- Els, Namespace <- [caps_namespace(El)], Namespace =/= other]) of
        [] ->
            none;
        Given ->
            {Nodes, Cs} = lists:unzip(lists:usort([Part || El <- Given, Part <- read_c(xmpp:encode(El))])),
            {lists:usort(lists:append(Nodes)), Cs}
    end.

first_of_each(Given) ->
    [El || Namespace <- [?NS_CAPS, ?NS_CAPS_0390], {_, El} <- [lists:keyfind(Namespace, 1, Given)]].

caps_namespace(#xmlel{name = <<"c">>} = C) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, C) of
        ?NS_CAPS -> ?NS_CAPS;
        ?NS_CAPS_0390 -> ?NS_CAPS_0390;
        _ -> other
    end;
caps_namespace(#caps{}) ->
    ?NS_CAPS;
caps_namespace(_) ->
    other.

read_c(#xmlel{children = Children} = C) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, C) of
        ?NS_CAPS ->
            [Hash, Node, Ver, Ext] = [fxml:get_tag_attr_s(Name, C) || Name <- [<<"hash">>, <<"node">>, <<"ver">>, <<"ext">>]],
            case is_text(Node) andalso is_text(Ver) andalso byte_size(Hash) =< ?LONGEST_TEXT andalso byte_size(Ext) =< ?LONGEST_TEXT of
                true ->
                    Attrs = [{<<"xmlns">>, ?NS_CAPS}, {<<"node">>, Node}, {<<"ver">>, Ver} | given([{<<"hash">>, Hash}, {<<"ext">>, Ext}])],
                    %% Without `hash` it is of the time before version 1.4, and means nothing that could be proven.
                    [{[{xep0115, <<Node/binary, "#", Ver/binary>>} || Hash =/= <<>>], #xmlel{name = <<"c">>, attrs = Attrs}}];
                false ->
                    []
            end;
        ?NS_CAPS_0390 ->
            Hashes = [
                {Algorithm, Digest}
             || #xmlel{name = <<"hash">>} = Hash <- Children,
                fxml:get_tag_attr_s(<<"xmlns">>, Hash) =:= ?NS_HASHES,
                Algorithm <- [fxml:get_tag_attr_s(<<"algo">>, Hash)],
                Digest <- [fxml:get_tag_cdata(Hash)],
                is_text(Algorithm),
                is_text(Digest)
            ],
            [c_0390(lists:sublist(Hashes, ?MOST_HASHES)) || Hashes =/= []]
    end.

c_0390(Hashes) ->
    Nodes = [{xep0390, <<?NS_CAPS_0390/binary, "#", Algorithm/binary, ".", Digest/binary>>} || {Algorithm, Digest} <- Hashes],
    Children = [
        #xmlel{name = <<"hash">>, attrs = [{<<"xmlns">>, ?NS_HASHES}, {<<"algo">>, Algorithm}], children = [{xmlcdata, Digest}]}
     || {Algorithm, Digest} <- Hashes
    ],
    {Nodes, #xmlel{name = <<"c">>, attrs = [{<<"xmlns">>, ?NS_CAPS_0390}], children = Children}}.

is_text(Text) ->
    Text =/= <<>> andalso byte_size(Text) =< ?LONGEST_TEXT.

given(Attrs) ->
    [Attr || {_, Value} = Attr <- Attrs, Value =/= <<>>].

%% Rooms mark the presence of occupants (XEP-0045 section 7.1).
-spec way(presence()) -> way().
way(Presence) ->
    case muc_user(Presence) of
        false -> direct;
        _ -> room
    end.

%% Whether that content of a presence enters a room (XEP-0045 section 7.2).
-spec is_entering([xmpp_element() | fxml:xmlel()]) -> boolean().
is_entering(Els) ->
    x_of(muc, ?NS_MUC, Els) =/= false.

%% Whether a room says that the receiver itself has left (status 110), not that it has another nick (303).
-spec is_own_unavailable(presence()) -> boolean().
is_own_unavailable(Presence) ->
    Codes = status_codes(muc_user(Presence)),
    lists:member(110, Codes) andalso not lists:member(303, Codes).

status_codes(#muc_user{status_codes = Codes}) ->
    Codes;
status_codes(#xmlel{children = Children}) ->
    Given = [fxml:get_tag_attr_s(<<"code">>, Status) || #xmlel{name = <<"status">>} = Status <- Children],
    [Code || {Code, Text} <- [{110, <<"110">>}, {303, <<"303">>}], lists:member(Text, Given)];
status_codes(false) ->
    [].

muc_user(#presence{sub_els = Els}) ->
    x_of(muc_user, ?NS_MUC_USER, Els).

%% The first <x/> of that namespace, which is that record once it is decoded.
x_of(_, _, []) ->
    false;
x_of(Record, _, [El | _]) when element(1, El) =:= Record ->
    El;
x_of(Record, Namespace, [#xmlel{name = <<"x">>} = X | Rest]) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, X) of
        Namespace -> X;
        _ -> x_of(Record, Namespace, Rest)
    end;
x_of(Record, Namespace, [_ | Rest]) ->
    x_of(Record, Namespace, Rest).

%%% Queries between clients

%% The node that a disco#info get asks for, empty if it names none.
-spec question(iq()) -> {node, binary()} | none.
question(#iq{sub_els = [#xmlel{name = <<"query">>, attrs = Attrs}]}) ->
    case lists:keyfind(<<"xmlns">>, 1, Attrs) of
        {_, ?NS_DISCO_INFO} -> {node, node_of(Attrs)};
        _ -> none
    end;
question(#iq{sub_els = [#disco_info{node = Node}]}) ->
    {node, Node};
question(_) ->
    none.

%% The <query/> of a disco#info result, and the node that it names, empty if it names none. The language of the stanza, which identities
%% without one inherit (XEP-0390 section 4.1 counts it), is written on it.
-spec info(iq()) -> {binary(), fxml:xmlel()} | none.
info(#iq{sub_els = [El], lang = Lang} = IQ) ->
    case question(IQ) of
        {node, Node} -> {Node, with_language(xmpp:encode(El), Lang)};
        _ -> none
    end;
info(_) ->
    none.

with_language(#xmlel{attrs = Attrs} = Query, Lang) ->
    case Lang =:= <<>> orelse lists:keymember(<<"xml:lang">>, 1, Attrs) of
        true -> Query;
        false -> Query#xmlel{attrs = [{<<"xml:lang">>, Lang} | Attrs]}
    end.

%% The result in the place of the addressed client. capsd writes every language that counts on the identity itself; the empty one on the
%% <query/> keeps the others from inheriting that of the stanza or the stream, as in capsd's own answers.
-spec answer(iq(), binary(), [fxml:xmlel()]) -> iq().
answer(IQ, Node, Content) ->
    Attrs = [{<<"xmlns">>, ?NS_DISCO_INFO}, {<<"xml:lang">>, <<>>} | node_attribute(Node)],
    xmpp:make_iq_result(IQ, #xmlel{name = <<"query">>, attrs = Attrs, children = Content}).

node_of(Attrs) ->
    case lists:keyfind(<<"node">>, 1, Attrs) of
        {_, Node} -> Node;
        false -> <<>>
    end.

node_attribute(<<>>) -> [];
node_attribute(Node) -> [{<<"node">>, Node}].

%%% Requests to capsd

-spec lookup(binary(), boolean()) -> fxml:xmlel().
lookup(Node, Wait) ->
    element(<<"lookup">>, [{<<"wait">>, atom_to_binary(Wait, utf8)}], [#xmlel{name = <<"key">>, attrs = [{<<"node">>, Node}]}]).

-spec contribute(binary(), jid:jid(), fxml:xmlel()) -> fxml:xmlel().
contribute(Node, JID, Query) ->
    Info = #xmlel{name = <<"info">>, attrs = [{<<"node">>, Node}, {<<"jid">>, jid:encode(JID)}], children = [Query]},
    element(<<"contribute">>, [], [Info]).

-spec feed([event()], binary()) -> fxml:xmlel().
feed(Events, Instance) ->
    element(<<"feed">>, [{<<"instance">>, Instance} || Instance =/= <<>>], lists:map(fun event/1, Events)).

event({holder, LJID, Askable, Cs}) ->
    Attrs = [{<<"jid">>, jid:encode(LJID)} | [{<<"askable">>, <<"true">>} || Askable]],
    #xmlel{name = <<"holder">>, attrs = Attrs, children = Cs};
event({gone, LJID}) ->
    #xmlel{name = <<"gone">>, attrs = [{<<"jid">>, jid:encode(LJID)}]}.

%% About how many bytes a report takes.
-spec bytes(event()) -> pos_integer().
bytes({holder, LJID, _, Cs}) ->
    lists:foldl(fun(C, Sum) -> Sum + c_bytes(C) end, 100 + ljid_bytes(LJID), Cs);
bytes({gone, LJID}) ->
    50 + ljid_bytes(LJID).

ljid_bytes({User, Server, Resource}) ->
    byte_size(User) + byte_size(Server) + byte_size(Resource).

c_bytes(#xmlel{attrs = Attrs, children = Children}) ->
    lists:sum([20 + byte_size(Value) || {_, Value} <- Attrs]) + lists:sum([c_bytes(Child) || Child <- Children]);
c_bytes({xmlcdata, Text}) ->
    byte_size(Text).

element(Name, Attrs, Children) ->
    #xmlel{name = Name, attrs = [{<<"xmlns">>, ?NS_CAPSD} | Attrs], children = Children}.

%%% Answers of capsd

%% The instance that gave an answer, whatever it is an answer to.
-spec instance(iq() | timeout) -> {ok, binary()} | failed.
instance(IQ) ->
    of_capsd(IQ, <<"instance">>).

%% The epoch in which it was given; empty if capsd does not say.
-spec epoch(iq() | timeout) -> {ok, binary()} | failed.
epoch(IQ) ->
    of_capsd(IQ, <<"epoch">>).

of_capsd(#iq{type = result, sub_els = [#xmlel{} = El]}, Attribute) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, El) of
        ?NS_CAPSD -> {ok, fxml:get_tag_attr_s(Attribute, El)};
        _ -> failed
    end;
of_capsd(_, _) ->
    failed.

%% What capsd says about the one node that was asked for, with the seconds for which it may be kept.
-spec lookup_result(iq() | timeout, binary()) ->
    {answer, Instance :: binary(), [fxml:xmlel()], non_neg_integer()} | {reason, Instance :: binary(), binary()} | failed.
lookup_result(IQ, Node) ->
    case result(IQ, <<"lookup">>) of
        #xmlel{} = Lookup ->
            Instance = fxml:get_tag_attr_s(<<"instance">>, Lookup),
            case [Key || #xmlel{name = <<"key">>} = Key <- Lookup#xmlel.children, fxml:get_tag_attr_s(<<"node">>, Key) =:= Node] of
                [Key | _] ->
                    Unverified = lists:member(fxml:get_tag_attr_s(<<"unverified">>, Key), [<<"true">>, <<"1">>]),
                    case fxml:get_subtag_with_xmlns(Key, <<"query">>, ?NS_DISCO_INFO) of
                        #xmlel{children = Content} when not Unverified -> {answer, Instance, Content, max_age(Lookup)};
                        _ -> {reason, Instance, fxml:get_tag_attr_s(<<"reason">>, Key)}
                    end;
                [] ->
                    failed
            end;
        failed ->
            failed
    end.

%% Whether the one answer that was contributed has the hash that it was said to have.
-spec contribute_result(iq() | timeout) -> verified | {reason, binary()} | failed.
contribute_result(IQ) ->
    case result(IQ, <<"contribute">>) of
        #xmlel{children = Children} ->
            case [Info || #xmlel{name = <<"info">>} = Info <- Children] of
                [Info | _] ->
                    case fxml:get_tag_attr_s(<<"reason">>, Info) of
                        <<>> -> verified;
                        Reason -> {reason, Reason}
                    end;
                [] ->
                    failed
            end;
        failed ->
            failed
    end.

result(#iq{type = result, sub_els = [#xmlel{name = Name} = El]}, Name) ->
    case fxml:get_tag_attr_s(<<"xmlns">>, El) of
        ?NS_CAPSD -> El;
        _ -> failed
    end;
result(_, _) ->
    failed.

max_age(Lookup) ->
    try binary_to_integer(fxml:get_tag_attr_s(<<"max-age">>, Lookup)) of
        Seconds when Seconds > 0 -> Seconds;
        _ -> 0
    catch
        error:badarg -> 0
    end.
