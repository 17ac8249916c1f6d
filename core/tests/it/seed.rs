//! What users of another tool fill in to send to Segment: the forms of its three modules, field by field, and byte for
//! byte what arrives. (`tests/seed.c` does the same from C.)

use crate::patience::{NEVER, patience};
use crate::server::Server;
use segment_native::{Address, Client, Company, Config, ErrorKind, Object, Options, Request, Revenue, Time, Traits};

/// `base64("your_Write_Key:")`
const BASIC: &str = "Basic eW91cl9Xcml0ZV9LZXk6";

fn client(server: &Server) -> Client {
    let config = Config { endpoint: server.url(), gzip: false, flush_interval: NEVER, ..Config::new("your_Write_Key") };
    Client::new(config).expect("good settings")
}

/// Sends what waits, and checks that it is this message and nothing else. The context is ours; the time of sending is
/// taken from the request.
fn assert_sends(client: &Client, server: &Server, message: &str) {
    client.flush(patience()).expect("settled");
    let request = server.requests().pop().expect("a request");
    assert_eq!(request.line, "POST /v1/batch HTTP/1.1");
    assert_eq!(request.all_headers("authorization"), [BASIC]);
    assert_eq!(request.all_headers("content-type"), ["application/json"]);
    let sent_at = request.body["sentAt"].as_str().expect("a time");
    sent_at.parse::<jiff::Timestamp>().expect("a time");
    let version = env!("CARGO_PKG_VERSION");
    let context = format!(r#""context":{{"library":{{"name":"segment-native","version":"{version}"}}}}"#);
    let expected = format!(r#"{{"batch":[{message},{context}}}],"sentAt":"{sent_at}","writeKey":"your_Write_Key"}}"#);
    assert_eq!(String::from_utf8(request.raw).expect("UTF-8"), expected);
}

const IDENTIFY: &str = concat!(
    r#"{"messageId":"m-1","type":"identify","timestamp":"2012-12-01T23:30:08.276Z","userId":"97980cfea0067","#,
    r#""anonymousId":"507f191e810c19729de860ea","traits":{"#,
    r#""address":{"street":"12 St James's Square","city":"London","state":"Greater London","#,
    r#""postalCode":"SW1Y 4JH","country":"United Kingdom"},"age":36,"avatar":"https://example.com/ada.png","#,
    r#""birthday":"1815-12-10","company":{"name":"Analytical Engines","id":"c-1","industry":"Technology","#,
    r#""employee_count":2,"plan":"enterprise"},"createdAt":"2026-01-02T03:04:05.678Z","#,
    r#""description":"Said \"note G\"","email":"ada@example.com","firstName":"Ada","gender":"female","id":"7","#,
    r#""lastName":"Lovelace","name":"Ada Lovelace","phone":"+44 20 7946 0000","title":"Countess","#,
    r#""username":"ada","website":"https://example.com","favourite machine":"the éngine","newsletter":true,"#,
    r#""score":0.1,"rival":null,"tags":["math"]}"#,
);

fn options<'a>(message_id: &'a str, anonymous_id: Option<&'a str>) -> Options<'a> {
    let timestamp = Some(Time::Text("2012-12-02T00:30:08.276+01:00"));
    Options { timestamp, anonymous_id, message_id: Some(message_id), ..Options::default() }
}

#[test]
fn identify_sends_every_field_of_its_form() {
    let server = Server::good();
    let client = client(&server);
    let address = Address {
        street: Some("12 St James's Square"),
        city: Some("London"),
        state: Some("Greater London"),
        postal_code: Some("SW1Y 4JH"),
        country: Some("United Kingdom"),
        ..Address::default()
    };
    let company = Company {
        name: Some("Analytical Engines"),
        id: Some("c-1"),
        industry: Some("Technology"),
        employee_count: Some(2),
        plan: Some("enterprise"),
        ..Company::default()
    };
    let mut traits = Traits::new()
        .address(address)
        .age(36)
        .avatar("https://example.com/ada.png")
        .birthday(1815, 12, 10)
        .company(company)
        .created_at(Time::Ms(1_767_323_045_678))
        .description("Said \"note G\"")
        .email("ada@example.com")
        .first_name("Ada")
        .gender("female")
        .id("7")
        .last_name("Lovelace")
        .name("Ada Lovelace")
        .phone("+44 20 7946 0000")
        .title("Countess")
        .username("ada")
        .website("https://example.com")
        .with("favourite machine", "the éngine")
        .with("newsletter", true)
        .with("score", 0.1)
        .with("rival", segment_native::Value::Null);
    traits.push("tags", "math");
    let options = options("m-1", Some("507f191e810c19729de860ea"));
    client.identify("97980cfea0067", &traits, options).expect("taken");
    assert_sends(&client, &server, IDENTIFY);
}

#[test]
fn identify_needs_one_id_and_nothing_else() {
    let server = Server::good();
    let client = client(&server);
    client.identify("97980cfea0067", None, options("m", None)).expect("taken");
    assert_sends(
        &client,
        &server,
        r#"{"messageId":"m","type":"identify","timestamp":"2012-12-01T23:30:08.276Z","userId":"97980cfea0067""#,
    );
    client.identify(None, None, options("n", Some("a"))).expect("taken");
    assert_sends(
        &client,
        &server,
        r#"{"messageId":"n","type":"identify","timestamp":"2012-12-01T23:30:08.276Z","anonymousId":"a""#,
    );
    let refused = client.identify(None, None, None).expect_err("no id");
    assert_eq!(refused.message(), "user_id or anonymous_id must be given");
}

#[test]
fn a_custom_trait_with_a_reserved_name_is_the_reserved_one() {
    let server = Server::good();
    let client = client(&server);
    let traits = Traits::new().email("old@example.com").with("plan", "pro").with("email", "new@example.com");
    client.identify("u", &traits, options("m", None)).expect("taken");
    assert_sends(
        &client,
        &server,
        concat!(
            r#"{"messageId":"m","type":"identify","timestamp":"2012-12-01T23:30:08.276Z","userId":"u","#,
            r#""traits":{"email":"new@example.com","plan":"pro"}"#
        ),
    );
}

#[test]
fn track_sends_every_field_of_its_form() {
    let server = Server::good();
    let client = client(&server);
    let head = concat!(
        r#"{"messageId":"m-2","type":"track","timestamp":"2012-12-01T23:30:08.276Z","userId":"97980cfea0067","#,
        r#""anonymousId":"507f191e810c19729de860ea","event":"Shirt Bought","properties":"#
    );
    let options = options("m-2", Some("507f191e810c19729de860ea"));
    let properties = Object::new()
        .with_revenue(Revenue { amount: 19.99, currency: "EUR" })
        .with("value", 5)
        .with("size", "XL")
        .with("quantity", 1);
    client.track("97980cfea0067", "Shirt Bought", &properties, options).expect("taken");
    let expected = format!(r#"{head}{{"revenue":19.99,"currency":"EUR","value":5,"size":"XL","quantity":1}}"#);
    assert_sends(&client, &server, &expected);
    // Without a currency none is sent: Segment assumes US dollars.
    client.track("97980cfea0067", "Shirt Bought", &Object::from([("revenue", 19.99)]), options).expect("taken");
    assert_sends(&client, &server, &format!(r#"{head}{{"revenue":19.99}}"#));
    let refused = client.track("97980cfea0067", "", None, options).expect_err("no name");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[test]
fn what_just_happened_bears_the_time_of_now() {
    let server = Server::good();
    let client = client(&server);
    let now = || jiff::Timestamp::now().as_millisecond();
    let before = now();
    client.track("u", "E", None, None).expect("taken");
    let after = now();
    client.flush(patience()).expect("settled");
    let request = &server.requests()[0];
    let timestamp: jiff::Timestamp = request.events()[0]["timestamp"].as_str().expect("text").parse().expect("a time");
    assert!((before..=after).contains(&timestamp.as_millisecond()));
}

#[test]
fn the_example_of_an_api_call_goes_out_byte_for_byte() {
    let server = Server::good();
    let client = client(&server);
    let body = br#"{"userId":"User_id_of_the_user_you_want_to_associate_to_group","groupId":"target_Group_id"}"#;
    let example = Request {
        path: "/v1/group/",
        method: "POST",
        headers: &[("Content-Type", "application/json"), ("authorization", BASIC)],
        body,
        ..Request::default()
    };
    // "You don't have to add authorization headers; we've already added these for you."
    for request in [example, Request { headers: &[], ..example }] {
        let answer = client.call(&request).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, br#"{"success": true}"#.as_slice()));
        let arrived = server.requests().pop().expect("a request");
        assert_eq!(arrived.line, "POST /v1/group/ HTTP/1.1");
        assert_eq!(arrived.all_headers("Content-Type"), ["application/json"]);
        assert_eq!(arrived.all_headers("Authorization"), [BASIC]);
        assert_eq!(arrived.all_headers("Content-Length"), [body.len().to_string().as_str()]);
        assert_eq!(arrived.raw, body);
    }
    client.call(&Request { query: Some("delay=1&name=a b"), ..example }).expect("an answer");
    assert_eq!(server.requests()[2].line, "POST /v1/group/?delay=1&name=a%20b HTTP/1.1");
}
