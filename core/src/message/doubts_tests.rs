use super::*;

const NOW: i64 = 1_767_323_045_678; // 2026-01-02T03:04:05.678Z

fn doubts(message: &str) -> Vec<Doubt> {
    check_json(message, NOW).expect("a JSON object")
}

fn sentences(message: &str) -> Vec<String> {
    doubts(message).into_iter().map(|doubt| doubt.sentence).collect()
}

fn identify(traits: &str) -> String {
    format!(r#"{{"type":"identify","userId":"u","traits":{{{traits}}}}}"#)
}

fn group(traits: &str) -> String {
    format!(r#"{{"type":"group","userId":"u","groupId":"g","traits":{{{traits}}}}}"#)
}

fn track(event: &str, properties: &str) -> String {
    format!(r#"{{"type":"track","userId":"u","event":"{event}","properties":{{{properties}}}}}"#)
}

fn page(properties: &str) -> String {
    format!(r#"{{"type":"page","userId":"u","properties":{{{properties}}}}}"#)
}

/// Each message has one doubt, of this kind and in these words.
fn expect(messages: &[(String, &str, &str)]) {
    for (message, kind, sentence) in messages {
        let found = doubts(message);
        let found: Vec<_> = found.iter().map(|doubt| (doubt.kind, doubt.sentence.as_str())).collect();
        assert_eq!(found, [(*kind, *sentence)], "{message}");
    }
}

#[test]
fn good_messages_leave_no_doubt() {
    for message in [
        identify(concat!(
            r#""address":{"street":"s","city":"c","state":"s","postalCode":"p","country":"c","floor":3},"age":7,"#,
            r#""avatar":"https://a.test/","birthday":"1990-05-17","createdAt":"2026-01-02T03:04:05.678Z","#,
            r#""description":"d","#,
            r#""company":{"name":"n","id":5,"industry":"i","employee_count":7,"plan":"p"},"email":"a@b.test","#,
            r#""firstName":"f","gender":"g","id":"i","lastName":"l","name":"n","phone":"p","title":"t","#,
            r#""username":"u","website":"w","plan":7,"logins":12,"fav_color":"red""#
        )),
        identify(concat!(
            r#""first_name":"f","last_name":"l","created_at":"2026-01-02T03:04:05+01:00","#,
            r#""address":{"postal_code":"p"}"#
        )),
        identify(r#""company":{"employeeCount":7,"id":"c"},"birthday":"1990-05-17T00:00:00""#),
        group(r#""address":{},"createdAt":"2026-01-02","employees":5,"industry":"i","plan":"p","title":9,"age":"old""#),
        group(r#""employees":"5""#),
        track("Level Won", r#""revenue":-19.99,"value":0,"total":1e3,"currency":"USD","price":"cheap","products":7"#),
        track("Level Won", r#""Revenue":"x","VALUE":"y","Currency":"euro""#),
        page(r#""keywords":["a","b"],"name":"n","path":"p","referrer":"r","search":"s","title":"t","url":"u","x":1"#),
        page(r#""keywords":[]"#),
        r#"{"type":"screen","userId":"u","properties":{"url":7,"name":"n"}}"#.to_owned(),
        r#"{"type":"alias","userId":"u","previousId":"a@b.test"}"#.to_owned(),
        r#"{"type":"page","userId":"u"}"#.to_owned(),
    ] {
        assert_eq!(doubts(&message), [], "{message}");
    }
}

#[test]
fn null_is_never_of_the_wrong_type() {
    for message in [
        identify(r#""age":null,"createdAt":null,"address":null,"email":null,"company":{"employee_count":null}"#),
        group(r#""employees":null"#),
        track("Order Completed", r#""revenue":null,"currency":null,"products":null,"tax":null"#),
        track("Order Completed", r#""products":[null,{"price":null}]"#),
        page(r#""keywords":null"#),
    ] {
        assert_eq!(doubts(&message), [], "{message}");
    }
}

#[test]
fn reserved_traits_of_the_wrong_type() {
    let date = "traits: createdAt should be an ISO 8601 date, like 2026-01-02T03:04:05.678Z";
    expect(&[
        (identify(r#""age":"7""#), "trait-type", "traits: age should be a number, not a string"),
        (identify(r#""avatar":{}"#), "trait-type", "traits: avatar should be a string, not an object"),
        (identify(r#""email":false"#), "trait-type", "traits: email should be a string, not a boolean"),
        (identify(r#""first_name":[]"#), "trait-type", "traits: first_name should be a string, not a list"),
        (identify(r#""id":5"#), "trait-type", "traits: id should be a string, not a number"),
        (identify(r#""address":"Here 7""#), "trait-type", "traits: address should be an object, not a string"),
        (
            identify(r#""address":{"postalCode":90210}"#),
            "trait-type",
            "traits: address.postalCode should be a string, not a number",
        ),
        (identify(r#""company":"Acme""#), "trait-type", "traits: company should be an object, not a string"),
        (
            identify(r#""company":{"employee_count":"many"}"#),
            "trait-type",
            "traits: company.employee_count should be a number, not a string",
        ),
        (
            identify(r#""company":{"id":true}"#),
            "trait-type",
            "traits: company.id should be a string or a number, not a boolean",
        ),
        (identify(r#""createdAt":1767323045"#), "trait-type", &format!("{date}, not a number")),
        (identify(r#""createdAt":"yesterday""#), "trait-type", date),
        (identify(r#""createdAt":"01/02/2026""#), "trait-type", date),
        (identify(r#""createdAt":"2026-13-02T03:04:05Z""#), "trait-type", date),
        (group(r#""createdAt":"""#), "trait-type", date),
        (group(r#""employees":[5]"#), "trait-type", "traits: employees should be a string or a number, not a list"),
        (group(r#""plan":3"#), "trait-type", "traits: plan should be a string, not a number"),
    ]);
}

#[test]
fn names_that_come_close_to_reserved_ones() {
    for (sent, reserved) in [
        ("FirstName", "firstName"),
        ("firstname", "firstName"),
        ("First Name", "firstName"),
        ("first-name", "firstName"),
        ("First_Name", "firstName"),
        ("first__name", "firstName"),
        ("FIRST_NAME", "firstName"),
        ("Email", "email"),
        ("e-mail", "email"),
        ("_age", "age"),
        ("age_", "age"),
        ("user_name", "username"),
        ("userName", "username"),
        ("ID", "id"),
        ("createdat", "createdAt"),
    ] {
        let found = doubts(&identify(&format!(r#""{sent}":"x""#)));
        assert_eq!(found.len(), 1, "{sent}: {found:?}");
        assert_eq!((found[0].kind, found[0].name.as_str()), ("trait-collision", format!("traits.{sent}").as_str()));
        let should = format!(
            "traits: {sent} should be written {reserved}, which is a reserved name, or be called something else"
        );
        assert_eq!(found[0].sentence, should);
    }
    assert_eq!(doubts(&group(r#""Employees":5"#))[0].kind, "trait-collision");
    assert_eq!(doubts(&identify(r#""address":{"PostalCode":"p"}"#))[0].name, "traits.address.PostalCode");
    assert_eq!(doubts(&identify(r#""company":{"EmployeeCount":7}"#))[0].name, "traits.company.EmployeeCount");
}

#[test]
fn names_that_only_begin_or_end_like_reserved_ones_are_free() {
    let names = [
        "firstNames",
        "emails",
        "ag",
        "a",
        "",
        "_",
        "idx",
        "älter",
        "na\\\"me",
        "e\\u0000mail",
        "username_of_the_user",
    ];
    for name in names {
        assert_eq!(doubts(&identify(&format!(r#""{name}":[]"#))), [], "{name}");
    }
    assert_eq!(doubts(&identify(&format!(r#""a{}ge":[]"#, "_".repeat(NAME_MAX_BYTES)))), []);
}

#[test]
fn no_spelling_of_a_reserved_name_slips_through() {
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..crate::rounds(20_000) {
        let member = &USER.members[round % USER.members.len()];
        let mut name = String::new();
        for letter in member.name.chars() {
            name.push(if next(2) == 0 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
        }
        for _ in 0..next(4) {
            name.insert(next(name.len() + 1), ['_', '-', ' '][next(3)]);
        }
        let found = doubts(&identify(&format!(r#""{name}":null"#)));
        let kinds: Vec<_> = found.iter().map(|doubt| doubt.kind).collect();
        let allowed = same_words(name.as_bytes(), member.name.as_bytes());
        assert_eq!(kinds, if allowed { vec![] } else { vec!["trait-collision"] }, "{name}");
        let exact = doubts(&identify(&format!(r#""{}":[]"#, member.name)));
        assert_eq!(exact.len(), 1, "{}", member.name);
    }
}

#[test]
fn a_name_written_with_escapes_is_the_same_name() {
    assert_eq!(sentences(&identify(r#""\u0061ge":"7""#)), ["traits: age should be a number, not a string"]);
    assert_eq!(doubts(&track("E", r#""currency":"\u0055SD""#)), []);
}

#[test]
fn one_trait_in_two_spellings() {
    let sentence = "traits: firstName should be sent in one spelling, not in two";
    expect(&[
        (identify(r#""first_name":"f","age":7,"firstName":"f""#), "trait-twice", sentence),
        (identify(r#""firstName":"f","first_name":"f""#), "trait-twice", sentence),
        (
            group(r#""created_at":"2026-01-02","createdAt":null"#),
            "trait-twice",
            "traits: createdAt should be sent in one spelling, not in two",
        ),
        (
            identify(r#""company":{"employeeCount":1,"employee_count":1}"#),
            "trait-twice",
            "traits: company.employee_count should be sent in one spelling, not in two",
        ),
    ]);
    assert_eq!(doubts(&identify(r#""age":7,"age":8"#)), []);
}

#[test]
fn amounts_that_are_not_numbers() {
    for name in ["revenue", "value", "total"] {
        for event in ["Level Won", "Order Completed", "Zzz", ""] {
            let found = doubts(&track(event, &format!(r#""{name}":"19.99""#)));
            assert_eq!(found.len(), 1, "{event} {name}: {found:?}");
            assert_eq!(
                (found[0].kind, found[0].name.as_str()),
                ("not-a-number", format!("properties.{name}").as_str())
            );
            assert_eq!(found[0].sentence, format!("properties: {name} should be a number, not a string"));
        }
    }
    for name in ["discount", "shipping", "subtotal", "tax"] {
        let sentence = format!("properties: {name} should be a number, not a string");
        expect(&[(track("Order Completed", &format!(r#""{name}":"1""#)), "not-a-number", &sentence)]);
    }
    assert_eq!(doubts(&track("Product Added", r#""price":"1""#))[0].kind, "not-a-number");
}

#[test]
fn currencies_are_codes_in_capitals() {
    let no_code = "properties: currency should be an ISO 4217 code, like EUR";
    expect(&[
        (track("E", r#""currency":"usd""#), "currency", "properties: currency should be written in capitals: USD"),
        (track("E", r#""currency":"Usd""#), "currency", "properties: currency should be written in capitals: USD"),
        (track("E", r#""currency":"$""#), "currency", no_code),
        (track("E", r#""currency":"DEM""#), "currency", no_code),
        (track("E", r#""currency":"""#), "currency", no_code),
        (track("E", r#""currency":"EUR ""#), "currency", no_code),
        (track("E", r#""currency":978"#), "currency", &format!("{no_code}, not a number")),
    ]);
}

#[test]
fn e_commerce_properties_of_the_wrong_type() {
    let text = |name: &str| format!("properties: {name} should be a string, not a number");
    let number = |name: &str| format!("properties: {name} should be a number, not a string");
    let objects = |name: &str| format!("properties: {name} should be a list of objects");
    for (event, property, sentence) in [
        (
            "Products Searched",
            r#""query":7"#,
            "properties: query should be a string or an object, not a number".to_owned(),
        ),
        ("Product List Viewed", r#""list_id":7"#, text("list_id")),
        ("Product List Filtered", r#""filters":["a"]"#, objects("filters")),
        ("Product List Filtered", r#""sorts":[{"type":7}]"#, text("sorts.type")),
        ("Promotion Viewed", r#""position":1"#, text("position")),
        ("Product Clicked", r#""position":"1""#, number("position")),
        ("Product Viewed", r#""quantity":"1""#, number("quantity")),
        ("Product Added", r#""cart_id":1"#, text("cart_id")),
        ("Product Removed", r#""product_id":1"#, text("product_id")),
        ("Cart Viewed", r#""products":{}"#, objects("products") + ", not an object"),
        ("Cart Viewed", r#""products":[{"name":"a"},7]"#, objects("products")),
        ("Cart Shared", r#""products":[{"sku":"a"},{"sku":7},{"sku":7}]"#, text("products.sku")),
        ("Checkout Started", r#""coupon":7"#, text("coupon")),
        ("Checkout Step Viewed", r#""step":"1""#, number("step")),
        ("Payment Info Entered", r#""payment_method":7"#, text("payment_method")),
        ("Order Refunded", r#""products":[{"position":"1"}]"#, number("products.position")),
        ("Order Cancelled", r#""order_id":7"#, text("order_id")),
        ("Coupon Denied", r#""reason":7"#, text("reason")),
        ("Wishlist Product Added to Cart", r#""wishlist_id":7"#, text("wishlist_id")),
        ("Product Shared", r#""share_via":7"#, text("share_via")),
        ("Product Reviewed", r#""rating":7"#, text("rating")),
    ] {
        expect(&[(track(event, property), "ecommerce-type", &sentence)]);
        assert_eq!(doubts(&track("Level Won", property)), [], "only e-commerce events reserve it: {property}");
    }
}

#[test]
fn properties_of_pages_and_screens_of_the_wrong_type() {
    let keywords = "properties: keywords should be a list of strings";
    expect(&[
        (page(r#""keywords":"a, b""#), "property-type", &format!("{keywords}, not a string")),
        (page(r#""keywords":["a",7]"#), "property-type", keywords),
        (page(r#""url":{}"#), "property-type", "properties: url should be a string, not an object"),
        (page(r#""title":7"#), "property-type", "properties: title should be a string, not a number"),
        (
            r#"{"type":"screen","userId":"u","properties":{"name":7}}"#.to_owned(),
            "property-type",
            "properties: name should be a string, not a number",
        ),
    ]);
}

#[test]
fn the_future_begins_after_five_minutes() {
    let at = |ms: i64| {
        let text = String::from_utf8_lossy(&time::format(ms)).into_owned();
        doubts(&format!(r#"{{"type":"page","userId":"u","timestamp":"{text}"}}"#))
    };
    assert_eq!(at(NOW - 86_400_000), []);
    assert_eq!(at(NOW + AHEAD_MS), []);
    let found = at(NOW + AHEAD_MS + 1);
    assert_eq!((found[0].kind, found[0].name.as_str(), found.len()), ("future", "timestamp", 1));
    assert_eq!(found[0].sentence, "timestamp should not lie in the future");
    let late = Subject { call: Call::Page, user_id: None, event: None, timestamp_ms: Some(i64::MAX), now_ms: i64::MAX };
    find(&late, std::iter::empty(), |doubt| panic!("{doubt:?}"));
}

#[test]
fn user_ids_that_are_e_mail_addresses() {
    for id in ["ann@example.com", "a.b+c@mail.example.co.uk", "jürgen@bücher.de", "o'neil@x-y.io"] {
        let found = doubts(&format!(r#"{{"type":"page","userId":"{id}"}}"#));
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!((found[0].kind, found[0].name.as_str()), ("email-as-user-id", "userId"));
    }
    for id in [
        "u-42",
        "@ann",
        "ann@",
        "ann@home",
        "ann@10.0.0.1",
        "@example.com",
        "a@b@example.com",
        "mailto:ann@example.com",
        "urn:x:ann@example.com",
        "ann smith@example.com",
        "ann@example..com",
        "ann@.com",
        "ann@example.c",
        "ann@example.com/7",
        "5f3b2c1e-0d4a-4b1e-9a53-0c8f9b7a6d5e",
    ] {
        assert_eq!(doubts(&format!(r#"{{"type":"page","userId":"{id}"}}"#)), [], "{id}");
    }
}

#[test]
fn several_doubts_are_all_found_and_each_once() {
    let message = r#"{"type":"track","userId":"a@b.test","event":"Order Completed","timestamp":"2027-01-01T00:00:00Z",
        "properties":{"revenue":"1","currency":"eur","products":[{"price":"1"},{"price":"2","sku":7}],"note":"n"}}"#;
    let found = doubts(message);
    let found: Vec<_> = found.iter().map(|doubt| (doubt.kind, doubt.name.as_str())).collect();
    assert_eq!(
        found,
        [
            ("future", "timestamp"),
            ("email-as-user-id", "userId"),
            ("not-a-number", "properties.revenue"),
            ("currency", "properties.currency"),
            ("not-a-number", "properties.products.price"),
            ("ecommerce-type", "properties.products.sku"),
        ]
    );
}

#[test]
fn what_the_rules_refuse_is_no_doubt() {
    for message in [
        "{}",
        r#"{"type":"x","userId":"a@b.test"}"#,
        r#"{"type":"identify","userId":5,"traits":[]}"#,
        r#"{"type":"identify","userId":"u","traits":"age"}"#,
        r#"{"type":"track","event":7,"properties":null,"timestamp":"later"}"#,
        r#"{"type":"identify","userId":"u","properties":{"age":"7"}}"#,
    ] {
        assert_eq!(doubts(message), [], "{message}");
    }
    assert!(check_json("[]", NOW).is_err());
    assert!(check_json("{", NOW).is_err());
}

#[test]
fn the_last_of_repeated_payloads_counts() {
    assert_eq!(doubts(r#"{"type":"identify","userId":"u","traits":{"age":"7"},"traits":{"age":7}}"#), []);
}

/// All tables, with those inside others.
fn all_tables() -> Vec<&'static Table> {
    let mut all: Vec<&Table> = vec![&USER, &ACCOUNT, &WEB_PAGE, &APP_SCREEN];
    all.extend(EVENTS.iter().flat_map(|(_, tables)| *tables));
    let inner: Vec<&Table> = all
        .iter()
        .flat_map(|table| table.members)
        .filter_map(|member| match member.wanted {
            Wanted::Object(inner) | Wanted::Objects(inner) => Some(inner),
            _ => None,
        })
        .collect();
    all.extend(inner);
    all
}

fn is_cited(source: &str) -> bool {
    source.starts_with("https://www.twilio.com/docs/segment/connections/spec/")
}

#[test]
fn tables_are_in_order_and_say_where_they_come_from() {
    assert!(EVENTS.is_sorted_by(|(one, _), (next, _)| one < next));
    for table in all_tables() {
        let names: Vec<_> = table.members.iter().map(|member| member.name).collect();
        assert!(table.members.is_sorted_by(|one, next| one.key < next.key), "{names:?}");
        assert!(table.members.iter().all(|member| member.key != 0), "{names:?}");
        assert!(is_cited(table.source), "{}", table.source);
        assert!(names.len() <= 32, "one bit each");
    }
    assert!(CHECKS.iter().all(|check| is_cited(check.source)));
}

#[test]
fn nothing_is_reserved_twice_for_one_event() {
    for (event, tables) in EVENTS {
        let mut names: Vec<_> = tables.iter().flat_map(|table| table.members).map(|member| member.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|one, next| one < next), "{event}: {names:?}");
    }
}

#[test]
fn keys_are_in_alphabetical_order() {
    assert_eq!(folded(b"age"), folded(b"A-g_E "));
    assert!(folded(b"a") < folded(b"age") && folded(b"age") < folded(b"b"));
    assert_eq!(folded(b"sixteen_letters_xx"), u128::from_be_bytes(*b"sixteenlettersxx"));
    assert_eq!(folded(b"seventeen_letters_"), folded(b"seventeenletters"));
    assert_eq!(folded(b"seventeen_letters_x"), 0);
    assert_eq!((folded(b""), folded(b"_")), (0, 0));
}
