"""What segment-analytics-python and ours both do: the same messages, and what its own tests observe."""

import json
import logging
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

import pytest
import segment.analytics.client as peer
import segment_native
from collector import PATIENCE
from segment_native import Client


class Colour(Enum):
    RED = "red"


WHEN = datetime(2014, 9, 3, 1, 2, 3, 456000, tzinfo=timezone(timedelta(hours=2)))

CALLS = [
    ("track", ("u", "E"), {}),
    ("track", ("u", "E", {"a": 1}), {}),
    ("track", ("u", "E", {"a": 1}, {"ip": "1.2.3.4"}, WHEN, "anon", {"Amplitude": True}, "id-1"), {}),
    ("track", (), {"user_id": 157963456373623802, "event": "E"}),
    ("track", (), {"anonymous_id": 157963456373623803, "event": "E"}),
    ("track", (), {"user_id": "", "anonymous_id": "anon", "event": "E"}),
    ("track", (1.5, "E"), {}),
    ("track", (Decimal("7"), "E"), {}),
    ("track", (True, "E"), {}),
    ("track", (None, "E", None, None, None, "anon"), {}),
    ("track", ("u", "E", [], "", None, 0, ()), {}),
    ("track", ("u", "E"), {"timestamp": datetime(2014, 9, 3)}),
    ("track", ("u", "E"), {"message_id": 12345}),
    ("track", ("u", "E", {"n": {"b": [1, 2.5, "x", None, True, (1, 2), {"deep": {3}}]}}), {}),
    ("track", ("u", "E", {"d": Decimal("0.142857"), "e": Colour.RED, "s": {1}, "b": b"bytes", "big": 2**80}), {}),
    ("track", ("u", "E", {1: "int", 2.5: "float", True: "bool", None: "none"}), {}),
    ("track", ("u", "E", {"when": date(1981, 2, 2)}), {}),
    ("track", ("u", "Ünï \"q\" \\ \n\x01 🎉", {"ключ": "значение"}), {}),
    ("track", ("u", "E", {"kept": 1, "lost": object()}), {}),
    ("track", ("u", "E", {"kept": 1, "list": [1, object()], "in": {"kept": 2, "lost": timedelta(1)}}), {}),
    ("identify", ("u",), {}),
    ("identify", ("u", {"t": 1}, {"ip": "1"}, WHEN, "anon", {"A": False}, "id-2"), {}),
    ("identify", (), {"anonymous_id": "anon", "traits": {"email": "a@b.c"}}),
    ("group", ("u", "g"), {}),
    ("group", ("u", "g", {"t": 1}, {"ip": "1"}, WHEN, "anon", {"A": False}, "id-3"), {}),
    ("alias", ("previous", "u"), {}),
    ("alias", ("previous", "u", {"ip": "1"}, WHEN, {"A": False}, "id-4"), {}),
    ("page", ("u",), {}),
    ("page", ("u", "category", "name", {"p": 1}, {"ip": "1"}, WHEN, "anon", {"A": False}, "id-5"), {}),
    ("page", ("u", ""), {"name": "n"}),
    ("screen", ("u",), {"name": "n"}),
    ("screen", ("u", "category", "name", {"p": 1}, {"ip": "1"}, WHEN, "anon", {"A": False}, "id-6"), {}),
]


def peers(method, args, kwargs):
    """The message that the peer would send."""
    client = peer.Client("testsecret", send=False)
    success, message = getattr(client, method)(*args, **kwargs)
    assert success
    return json.loads(json.dumps(message, cls=peer.DatetimeSerializer))


def normal(message):
    """A message without what must differ: ids and times that were not given, the library, and empty members."""
    message = json.loads(json.dumps(message))
    del message["context"]["library"]
    if len(message["messageId"]) == 36:
        del message["messageId"]
    when = datetime.fromisoformat(message.pop("timestamp").replace("Z", "+00:00"))
    if abs((datetime.now(timezone.utc) - when).total_seconds()) > 3600:
        message["timestamp"] = when.astimezone(timezone.utc).isoformat()
    return {name: value for name, value in message.items() if value is not None and value != {} or name == "context"}


@pytest.mark.parametrize("method, args, kwargs", CALLS)
def test_the_same_call_gives_the_same_message(make, collector, method, args, kwargs):
    expected = normal(peers(method, args, kwargs))
    if kwargs.get("user_id") == "":
        del expected["userId"]  # Segment discards a message with an empty one
    if expected.get("category") == "":
        del expected["category"]  # the same
    client = make()
    success, message = getattr(client, method)(*args, **kwargs)
    assert success is True
    assert client.flush(PATIENCE)
    assert normal(collector.messages[0]) == expected
    # What the call returned is the same, with the members that the peer has.
    assert normal(dict(message)) == expected
    assert set(peers(method, args, kwargs)) == set(message)


@pytest.mark.parametrize(
    "method, args, kwargs",
    [
        ("track", (), {}),
        ("track", ("u",), {}),
        ("track", (None, "E"), {}),
        ("track", (0, "E"), {}),
        ("track", (["u"], "E"), {}),
        ("track", ("u", 7), {}),
        ("track", ("u", "E", "properties"), {}),
        ("track", ("u", "E", [1]), {}),
        ("track", ("u", "E", None, [1]), {}),
        ("track", ("u", "E", None, None, "2014-09-03"), {}),
        ("track", ("u", "E", None, None, None, None, [1]), {}),
        ("identify", (), {}),
        ("identify", ("u", "traits"), {}),
        ("group", ("u",), {}),
        ("group", (None, "g"), {}),
        ("alias", ("p",), {}),
        ("alias", (), {"user_id": "u"}),
        ("page", (), {}),
        ("page", ("u", 7), {}),
        ("page", ("u", "c", 7), {}),
        ("screen", ("u", "c", "n", "p"), {}),
    ],
)
def test_the_same_mistakes_are_the_same_errors(make, method, args, kwargs):
    with pytest.raises(AssertionError) as expected:
        getattr(peer.Client("testsecret", send=False), method)(*args, **kwargs)
    with pytest.raises(AssertionError) as raised:
        getattr(make(), method)(*args, **kwargs)
    assert str(raised.value) == str(expected.value)
    assert isinstance(raised.value, segment_native.InvalidError) and raised.value.kind == "invalid"


def test_what_python_refuses_of_the_peers_it_refuses_of_ours(make):
    for args, kwargs in (((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), {}), ((), {"userId": "u"})):
        with pytest.raises(TypeError):
            make().track(*args, **kwargs)
        with pytest.raises(TypeError):
            peer.Client("k", send=False).track(*args, **kwargs)


def test_a_write_key_is_required():
    for arguments in ({}, {"write_key": None}, {"write_key": 7}):
        with pytest.raises(AssertionError) as raised:
            Client(**arguments)
        with pytest.raises(AssertionError) as expected:
            peer.Client(**arguments)
        assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("name", ["max_total_backoff_duration", "max_rate_limit_duration"])
def test_durations_are_checked(name):
    for wrong in (None, -1):
        with pytest.raises(ValueError, match=f"{name} must be a non-negative number"):
            Client("k", **{name: wrong})


def test_an_empty_flush_returns(make):
    assert make().flush() is True


def test_ids_are_texts_and_what_is_absent_is_none(make):
    success, message = make().track(user_id=157963456373623802, event="python test event")
    assert success
    assert message["userId"] == "157963456373623802"
    assert message["anonymousId"] is None
    assert message["properties"] == {} and message["integrations"] == {}
    assert isinstance(message["timestamp"], str) and isinstance(message["messageId"], str)


def test_flush_and_shutdown_leave_nothing(make, collector):
    client = make()
    for _ in range(1000):
        client.identify("userId", {"trait": "value"})
    client.flush()
    assert client.queue.empty() and client.queue.qsize() == 0
    assert len(collector.messages) == 1000
    for _ in range(1000):
        client.identify("userId", {"trait": "value"})
    client.shutdown()
    assert client.queue.empty()
    assert all(not consumer.is_alive() for consumer in client.consumers)
    assert len(collector.messages) == 2000


def test_sync_mode_waits_for_the_answer(make, collector):
    client = make(sync_mode=True)
    success, message = client.identify("userId")
    assert success and not client.consumers and client.queue.empty()
    assert collector.messages[0]["messageId"] == message["messageId"]


def test_sync_mode_raises_what_went_wrong(make, collector):
    collector.script = [(400, {}), (500, {})]
    client = make(sync_mode=True)
    with pytest.raises(segment_native.APIError) as raised:
        client.track("u", "E")
    assert raised.value.status == 400
    # The peer would raise here; ours tries again first.
    assert client.track("u", "E")[0]


def test_a_full_queue_returns_false(make):
    client = make(max_queue_size=3, upload_interval=10 * PATIENCE)
    outcomes = [client.track(f"user-{n}", f"Event {n}") for n in range(5)]
    assert [success for success, _ in outcomes] == [True, True, True, False, False]
    assert outcomes[4][1]["event"] == "Event 4"
    assert client.queue.full() and client.queue.maxsize == 3


def test_after_join_nothing_is_taken_and_nothing_is_raised(make):
    client = make(max_queue_size=1)
    client.join()
    for _ in range(10):
        client.identify("userId")
    success, message = client.track("user-2", "Overflow Event")
    assert success is False and message["event"] == "Overflow Event"


def test_on_error_gets_the_error_and_the_messages(make, collector):
    collector.script = [(400, {})]
    told = []
    client = make(on_error=lambda error, messages: told.append((error, messages)))
    client.track("u", "Lost", {"a": 1})
    client.flush(PATIENCE)
    ((error, messages),) = told
    assert error.status == 400 and isinstance(error, segment_native.APIError)
    assert [message["event"] for message in messages] == ["Lost"] and messages[0]["properties"] == {"a": 1}


def test_gzip_compresses_the_body(make, collector):
    for gzip, encoding in ((True, "gzip"), (False, None)):
        client = make(gzip=gzip)
        for _ in range(10):
            client.identify("userId", {"trait": "value"})
        client.flush(PATIENCE)
        assert collector.requests[-1][1].get("content-encoding") == encoding


def test_requests_go_where_the_peers_go(make, collector):
    make().track("u", "E")
    collector.wait_for(1)
    path, headers, body = collector.requests[0]
    assert path == "/v1/batch"
    assert headers["authorization"] == "Basic dGVzdHNlY3JldDo="
    assert headers["content-type"].startswith("application/json")
    assert body["writeKey"] == "testsecret" and body["sentAt"]


def test_an_upload_begins_when_enough_wait(make, collector):
    client = make(upload_size=10, upload_interval=10 * PATIENCE)
    for _ in range(20):
        client.identify("userId")
    collector.wait_for(10)


def test_the_peers_attributes_are_there():
    arguments = {"host": "http://localhost:9", "gzip": True, "timeout": 1.25, "send": False, "proxies": None}
    client = Client("testsecret", debug=False, max_queue_size=1337, **arguments)
    for name, value in arguments.items():
        assert getattr(client, name) == value
    assert client.queue.maxsize == 1337 and client.write_key == "testsecret" and not client.sync_mode
    assert client.log is logging.getLogger("segment")


def test_a_subclass_may_add_its_own(make):
    class Mine(Client):
        def __init__(self, tenant, **settings):
            super().__init__("k", **settings)
            self.tenant = tenant

        def track(self, user_id, event, **more):
            return super().track(user_id, event, {"tenant": self.tenant}, **more)

    assert Mine("t", send=False).track("u", "E")[1]["properties"] == {"tenant": "t"}


def test_proxies_are_used(collector, make):
    client = make(host="http://segment.invalid", proxies={"http": collector.url.removeprefix("http://")})
    client.identify("userId", {"trait": "value"})
    assert client.flush(PATIENCE)
    assert collector.tunnels == ["segment.invalid:80"]


def test_debug_logs_messages(make, caplog):
    client = make(debug=True)
    with caplog.at_level("DEBUG", "segment"):
        client.track("u", "Seen")
    lines = [record.getMessage() for record in caplog.records if record.name == "segment"]
    assert any("queueing" in line and "Seen" in line for line in lines)


def test_a_log_handler_is_added(caplog):
    handler = logging.NullHandler()
    Client("k", send=False, log_handler=handler)
    assert handler in logging.getLogger("segment").handlers


def test_a_message_over_the_limit_is_a_runtime_error(make):
    for kind in (peer.Client("k", send=False), make()):
        with pytest.raises(RuntimeError):
            kind.track("u", "E", {"long": "x" * 40_000})


class TestModule:
    def test_settings_make_the_client(self, fresh_module, collector):
        fresh_module.write_key = "module-key"
        fresh_module.host = collector.url
        fresh_module.gzip = True
        fresh_module.max_queue_size = 1337
        fresh_module.timeout = 1.234
        assert fresh_module.default_client is None
        fresh_module.track("userId", "python module event")
        fresh_module.identify("userId", {"email": "user@email.com"})
        fresh_module.group("userId", "groupId")
        fresh_module.alias("previousId", "userId")
        fresh_module.page("userId")
        success, message = fresh_module.screen("userId")
        assert success and message["type"] == "screen"
        fresh_module.flush()
        client = fresh_module.default_client
        settings = (client.write_key, client.gzip, client.queue.maxsize, client.timeout)
        assert settings == ("module-key", True, 1337, 1.234)
        assert collector.events() == ["alias", "group", "identify", "page", "python module event", "screen"]
        fresh_module.shutdown()
        fresh_module.join()

    def test_without_a_write_key_there_is_an_error(self, fresh_module):
        with pytest.raises(AssertionError):
            fresh_module.track("u", "E")

    def test_the_peers_settings_are_all_there(self):
        import segment.analytics as module

        others = {"Client", "VERSION", "client", "consumer", "oauth_manager", "request", "utils", "version", "test"}
        settings = {name for name in vars(module) if not name.startswith("_")} - others
        assert settings <= set(dir(segment_native)) | {"default_client"}

    def test_the_peers_arguments_are_all_there_in_the_same_order(self):
        import inspect

        for name in ("__init__", "track", "identify", "group", "alias", "page", "screen"):
            theirs = list(inspect.signature(getattr(peer.Client, name)).parameters)
            ours = list(inspect.signature(getattr(Client, name)).parameters)
            assert ours[: len(theirs)] == theirs, name
