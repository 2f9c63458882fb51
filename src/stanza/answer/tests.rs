use super::*;

const LIMITS: AnswerLimits = AnswerLimits {
    max_bytes: 16 * 1024,
    max_features: 256,
};

fn parse(children: &str) -> Answer {
    parse_query(query(children).as_bytes(), LIMITS).unwrap()
}

fn query(children: &str) -> String {
    format!("<query xmlns='{DISCO_INFO}'>{children}</query>")
}

#[test]
fn everything_that_rules_ask_about_is_kept_as_sent() {
    let answer = parse(
        "\n <identity category='client' type='pc' name='b' xml:lang='en'/> stray text\
         <identity category='client' type='pc' xml:lang=''/>\
         <identity category='client' type='web' name='a'><name/></identity>\
         <feature var='z'/><feature var='a'/><feature var='z'>text</feature>\
         <x xmlns='jabber:x:data' type='form'><title>t</title>\
         <field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
         <field var='v' type='list-multi' label='l'><option><value>not this</value></option>\
         <value>2 &amp;<b>x</b> 3</value><value/></field><field><value>fixed</value></field></x>",
    );
    let identity = |type_: &str, lang: &str, name: &str| Identity {
        category: "client".into(),
        type_: type_.into(),
        lang: lang.into(),
        name: name.into(),
    };
    assert_eq!(
        answer.identities,
        [
            identity("pc", "en", "b"),
            identity("pc", "", ""),
            identity("web", "", "a")
        ]
    );
    assert_eq!(answer.own_lang, [true, true, false]);
    assert_eq!(answer.features, ["z", "a", "z"]);
    let field = |var: Option<&str>, type_: Option<&str>, values: &[&str]| AnswerField {
        var: var.map(str::to_owned),
        type_: type_.map(str::to_owned),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    assert_eq!(
        answer.forms,
        [AnswerForm {
            tabular: false,
            fields: vec![
                field(Some("FORM_TYPE"), Some("hidden"), &["urn:x"]),
                field(Some("v"), Some("list-multi"), &["2 & 3", ""]),
                field(None, None, &["fixed"]),
            ],
        }]
    );
    assert!(!answer.foreign && !answer.too_large);
    assert_eq!(answer.incomplete, 0);
}

#[test]
fn foreign_children_are_noticed_and_passed_over() {
    for foreign in [
        "<identity xmlns='urn:x' category='client' type='pc'/>",
        "<x xmlns='urn:x'><feature xmlns='http://jabber.org/protocol/disco#info' var='no'/></x>",
        "<query><feature var='no'/></query>",
        "<set xmlns='http://jabber.org/protocol/rsm'/>",
    ] {
        let answer = parse(&format!("{foreign}<feature var='yes'/>"));
        assert!(answer.foreign, "{foreign}");
        assert_eq!(answer.features, ["yes"], "{foreign}");
        assert!(answer.identities.is_empty() && answer.forms.is_empty());
    }
}

#[test]
fn reported_and_items_mark_a_form_and_their_fields_are_not_its_own() {
    for part in ["reported", "item"] {
        let answer = parse(&format!(
            "<x xmlns='jabber:x:data'><{part}><field var='no'><value>1</value></field></{part}>\
             <field var='yes'/></x><x xmlns='jabber:x:data'/>"
        ));
        assert!(answer.forms[0].tabular && !answer.forms[1].tabular);
        assert_eq!(answer.forms[0].fields.len(), 1);
        assert_eq!(answer.forms[0].fields[0].var.as_deref(), Some("yes"));
    }
}

#[test]
fn missing_attributes_are_counted() {
    let answer = parse(
        "<identity type='pc'/><identity category='client'/><identity category='client' type=''/>\
         <feature/><feature var=''/>",
    );
    assert_eq!(answer.incomplete, 4);
    assert_eq!(answer.features, ["", ""]);
}

#[test]
fn a_language_on_the_query_comes_before_that_of_the_stanza() {
    let mut attrs = rxml::AttrMap::new();
    let inherited = |attrs: &rxml::AttrMap| AnswerBuilder::new(LIMITS, "de", attrs).finish();
    assert_eq!(inherited(&attrs).inherited_lang, "de");
    for lang in ["en", ""] {
        attrs.insert(
            rxml::Namespace::xml().clone(),
            "lang".try_into().unwrap(),
            lang.into(),
        );
        assert_eq!(inherited(&attrs).inherited_lang, lang);
    }
}

#[test]
fn limits_mark_the_answer_and_free_it() {
    let features: String = (0..10).map(|n| format!("<feature var='{n}'/>")).collect();
    let limits = |max_bytes, max_features| AnswerLimits {
        max_bytes,
        max_features,
    };
    let read = |limits| parse_query(query(&features).as_bytes(), limits).unwrap();
    assert_eq!(read(limits(1000, 10)).features.len(), 10);
    for answer in [read(limits(1000, 9)), read(limits(100, 10))] {
        assert!(answer.too_large);
        assert!(answer.features.is_empty());
    }
    let whole = read(limits(1000, 10)).size;
    assert!(!read(limits(whole, 10)).too_large);
    assert!(read(limits(whole - 1, 10)).too_large);
    // Names, attributes and text count; namespace declarations do not.
    assert_eq!(parse("<feature var='abc'/>").size, 15 + 19 + 10);
}

#[test]
fn size_within_passed_over_elements_counts() {
    let deep = "<a xmlns='urn:x'>".repeat(20) + &"</a>".repeat(20);
    let limits = AnswerLimits {
        max_bytes: 100,
        max_features: 1,
    };
    assert!(
        parse_query(query(&deep).as_bytes(), limits)
            .unwrap()
            .too_large
    );
}

#[test]
fn documents_that_are_no_query_are_errors() {
    let deep = query(&("<a>".repeat(MAX_DEPTH) + &"</a>".repeat(MAX_DEPTH)));
    let deepest = query(&("<a>".repeat(MAX_DEPTH - 1) + &"</a>".repeat(MAX_DEPTH - 1)));
    assert!(parse_query(deepest.as_bytes(), LIMITS).is_ok());
    assert_eq!(
        parse_query(deep.as_bytes(), LIMITS),
        Err(QueryError::TooDeep)
    );
    let whole = query("<feature var='a'/>");
    for len in 0..whole.len() {
        let error = parse_query(&whole.as_bytes()[..len], LIMITS).unwrap_err();
        assert_eq!(error, QueryError::Incomplete, "{len}");
    }
    for document in [
        "garbage".to_owned(),
        "\0".to_owned(),
        format!("<!DOCTYPE query [<!ENTITY a 'b'>]>{whole}"),
        query("&a;"),
        query("</x>"),
        whole.clone() + "<more/>",
        "<query xmlns='a' xmlns:b='".to_owned(),
    ] {
        assert!(
            parse_query(document.as_bytes(), LIMITS).is_err(),
            "{document}"
        );
        assert!(parse_query_unwrapped(document.as_bytes(), LIMITS).is_err());
    }
    assert!(parse_query(b"\xff\xfe<\0q\0", LIMITS).is_err());
    let other = parse_query(b"<query xmlns='jabber:iq:last'/>", LIMITS).unwrap_err();
    assert!(other.to_string().contains("jabber:iq:last"), "{other}");
}

#[test]
fn declarations_and_comments_are_passed_over() {
    let document = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- a -->\n<!-- -->{}\n<!-- b -->\n",
        query("<!-- c --><feature var='a'/>")
    );
    let answer = parse_query(document.as_bytes(), LIMITS).unwrap();
    assert_eq!(answer.features, ["a"]);
    assert!(!answer.foreign);
}

#[test]
fn only_a_mere_wrapper_is_unwrapped() {
    let inner = "<query node='n' xml:lang='el'><feature var='a'/><feature var='b'/></query>";
    let document = query(inner);
    let unwrapped = parse_query_unwrapped(document.as_bytes(), LIMITS).unwrap();
    assert_eq!(unwrapped.features, ["a", "b"]);
    assert_eq!(unwrapped.node.as_deref(), Some("n"));
    assert_eq!(unwrapped.inherited_lang, "el");
    assert!(!unwrapped.foreign);
    let wrapped = parse_query(document.as_bytes(), LIMITS).unwrap();
    assert!(wrapped.foreign && wrapped.features.is_empty());

    for children in [
        format!("{inner}<feature var='c'/>"),
        format!("<feature var='c'/>{inner}"),
        format!("{inner}{inner}"),
        "<query xmlns='urn:x'><feature var='a'/></query>".to_owned(),
        "<feature var='c'/>".to_owned(),
        String::new(),
    ] {
        let document = query(&children);
        assert_eq!(
            parse_query_unwrapped(document.as_bytes(), LIMITS),
            parse_query(document.as_bytes(), LIMITS),
            "{children}"
        );
    }
}
