"""What each value is sent as."""

import dataclasses
import enum
import importlib
import json
import math
import os
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import pytest
from segment_native import InvalidError, TooLargeError


@dataclasses.dataclass
class Item:
    sku: str
    price: Decimal
    made: date
    inner: "Item | None" = None


class Number(enum.IntEnum):
    ONE = 1


class Text(str, enum.Enum):
    A = "a"


Point = namedtuple("Point", "x y")
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
AWARE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=-5)))


def optional(name):
    """A package that is tested if it is installed; in CI it must be."""
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


@pytest.fixture
def sent(make):
    """What a value is sent as."""
    client = make(send=False)

    def sent(value):
        _, message = client.track("u", "E", {"v": value, "after": 1})
        properties = message["properties"]
        assert properties.pop("after") == 1
        return properties.get("v", "left out")

    return sent


@pytest.mark.parametrize(
    "value, expected",
    [
        ("text", "text"),
        ("é 🎉 \x00\x1f\"\\\u2028", "é 🎉 \x00\x1f\"\\\u2028"),
        (0, 0),
        (-7, -7),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, 2**63),
        (-(10**40), -(10**40)),
        (0.1, 0.1),
        (1e300, 1e300),
        (True, True),
        (False, False),
        (None, None),
        ([], []),
        ({}, {}),
        ([1, [2, {"a": (3,)}]], [1, [2, {"a": [3]}]]),
        (Point(1, 2), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({7}, [7]),
        (frozenset({7}), [7]),
        (Decimal("19.99"), 19.99),
        (Number.ONE, 1),
        (Text.A, "a"),
        (enum.Enum("E", {"X": [1, 2]}).X, [1, 2]),
        (UUID, str(UUID)),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytes"),
        (date(1981, 2, 2), "1981-02-02"),
        (AWARE, "2026-01-02T08:04:05.678Z"),
        (datetime(1, 1, 2, tzinfo=timezone.utc), "0001-01-02T00:00:00.000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc), "9999-12-31T23:59:59.999Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999500, tzinfo=timezone.utc), "1969-12-31T23:59:59.999Z"),
        (
            Item("s", Decimal("1.5"), date(2026, 1, 2), Item("t", Decimal(2), date(2026, 1, 3))),
            {
                "sku": "s", "price": 1.5, "made": "2026-01-02",
                "inner": {"sku": "t", "price": 2.0, "made": "2026-01-03", "inner": None},
            },
        ),
        ({1: 2, None: 3, True: 4, 1.5: 5}, {"1": 2, "null": 3, "1.5": 5} | {"1": 4}),
        ("\ud800x", "\ufffd\ufffd\ufffdx"),
    ],
)  # fmt: skip
def test_values(sent, value, expected):
    found = sent(value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    [object(), timedelta(1), time(1, 2), lambda: 0, Exception("x"), 1j, Fraction(1, 3), MappingProxyType({}), int, Item,
     range(3), [1, object()], (i for i in [1])],
)  # fmt: skip
def test_what_json_cannot_express_is_left_out_with_a_warning(sent, caplog, value):
    assert sent(value) == "left out"
    assert sent({"in": value, "kept": [1]}) == {"kept": [1]}
    assert sent([{"in": value}]) == [{}]
    assert 'Dictionary values must be serializeable to JSON "v" value ' in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("Infinity"), [math.nan]])
def test_what_is_no_finite_number_is_refused(sent, value):
    with pytest.raises(InvalidError, match='^properties: "v": not a finite number$'):
        sent(value)


def test_cycles_and_depth_are_a_clear_error(sent):
    cycle = {}
    cycle["again"] = [cycle]
    deep = []
    for _ in range(70):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(InvalidError, match='^properties: "v": nested more than 64 deep, or a cycle$'):
            sent(value)


def test_a_message_is_nested_64_deep_at_most_whichever_way_it_is_made(sent, make):
    def deep(levels):
        return [deep(levels - 1)] if levels else 1

    client, whole = make(send=False), {"type": "page", "userId": "u"}
    assert sent(deep(62)) == deep(62)
    client.enqueue(whole | {"properties": {"v": deep(62)}})
    for refused in (
        lambda: sent(deep(63)),
        lambda: client.enqueue(whole | {"properties": {"v": deep(63)}}),
        lambda: client.enqueue(json.dumps(whole | {"properties": {"v": deep(63)}})),
    ):
        with pytest.raises(InvalidError, match="nested"):
            refused()


def test_what_is_too_large_is_refused_before_it_is_written(sent):
    for value in ("x" * 50_000_000, [0] * 5_000_000, {str(n): n for n in range(100_000)}, 10**4000 * [1][0]):
        if isinstance(value, int):
            assert sent(value) == value
            continue
        with pytest.raises(TooLargeError):
            sent(value)


def test_keys_that_json_cannot_have_are_refused(make):
    for key in ((1, 2), b"k", date(2026, 1, 2)):
        with pytest.raises(TypeError, match="keys must be str, int, float, bool or None"):
            make(send=False).track("u", "E", {"in": {key: 1}})


def test_of_two_keys_with_the_same_text_the_last_is_sent(make):
    client = make(send=False)
    assert client.track("u", "E", {"1": "text", 1: "number"})[1]["properties"] == {"1": "number"}
    assert client.track("u", "E", {1: "number", "1": "text"})[1]["properties"] == {"1": "text"}


def test_keys_that_are_floats_are_as_json_has_them(sent):
    keys = {math.inf: 1, -math.inf: 2, math.nan: 3, 1e300: 4}
    assert sent(keys) == json.loads(json.dumps(keys))


def test_bytes_that_are_no_text_are_an_error_as_the_peers(sent):
    with pytest.raises(UnicodeDecodeError):
        sent(b"\xff")


def test_what_python_code_in_a_value_raises_reaches_the_caller(sent):
    class Bad(enum.Enum):
        X = 1

        @property
        def value(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sent(Bad.X)


def test_a_dict_that_changes_meanwhile_is_a_clear_error(make, capfd):
    properties = {}

    class Growing(enum.Enum):
        X = 1

        @property
        def value(self):
            change(properties)
            return 1

    client = make(send=False)
    many = {str(n): n for n in range(50)}
    for change in (lambda d: d.update(more=1), lambda d: d.clear(), lambda d: (d.pop("b"), d.update(many))):
        for nested in (False, True):
            properties.clear()
            properties.update(a=Growing.X, b=2)
            with pytest.raises(InvalidError, match="changed while it was read$"):
                client.track("u", "E", {"in": properties} if nested else properties)
    assert client.track("u", "E", {"a": 1})[0]
    assert capfd.readouterr().err == ""


def test_enums_whose_value_is_an_enum(sent):
    class Outer(enum.Enum):
        X = Number.ONE

    class Cycle(enum.Enum):
        X = 1

        @property
        def value(self):
            return Cycle.X

    assert sent(Outer.X) == 1
    why = '"v": is an Enum or scalar whose value is another one, too many times or in a cycle$'
    with pytest.raises(InvalidError, match=why):
        sent(Cycle.X)


def test_datetimes_of_other_libraries(sent, make):
    class Own(datetime):
        def __sub__(self, other):
            return "an interval"

        __rsub__ = __sub__

    expected = "2026-01-02T08:04:05.678Z"
    assert sent(Own.fromisoformat(AWARE.isoformat())) == expected
    assert sent(Own(2016, 1, 2)) == "2016-01-02T00:00:00.000Z"
    pendulum = optional("pendulum")
    when = pendulum.instance(AWARE)
    assert sent(when) == expected
    assert make(send=False).track("u", "E", timestamp=when)[1]["timestamp"] == expected


def test_an_error_leaves_nothing_behind(make):
    client = make(send=False)
    with pytest.raises(InvalidError):
        client.track("u", "E", {"a": 1, "b": math.nan}, {"c": 1})
    assert client.track("u", "E", {"d": 1})[1]["properties"] == {"d": 1}
    assert client.stats().refused == 1 and client.stats().accepted == 1


def test_the_callers_dicts_are_not_touched(make):
    properties, context, integrations = {"a": [1]}, {"ip": "1"}, {"All": True}
    make(send=False).track("u", "E", properties, context, None, None, integrations)
    assert (properties, context, integrations) == ({"a": [1]}, {"ip": "1"}, {"All": True})


def test_numpy_scalars(sent):
    numpy = optional("numpy")
    for value, expected in [
        (numpy.int64(7), 7), (numpy.uint8(7), 7), (numpy.float32(0.5), 0.5), (numpy.float64(0.1), 0.1),
        (numpy.bool_(True), True), (numpy.str_("s"), "s"), (numpy.bytes_(b"s"), "s"), ([numpy.int32(1)], [1]),
        (numpy.datetime64("2026-01-02T03:04:05.678901234"), "2026-01-02T03:04:05.678Z"),
        (numpy.datetime64("2026-01-02"), "2026-01-02T00:00:00.000Z"), (numpy.datetime64("NaT"), None),
        (numpy.longdouble(1), "left out"), (numpy.timedelta64(1, "s"), "left out"), (numpy.array([1]), "left out"),
    ]:  # fmt: skip
        assert sent(value) == expected, repr(value)
    with pytest.raises(InvalidError):
        sent(numpy.float32("nan"))


def test_pandas_times(sent, make, caplog):
    pandas = optional("pandas")
    stamp = pandas.Timestamp("2026-01-02T03:04:05.678901234", tz="America/New_York")
    assert sent(stamp) == "2026-01-02T08:04:05.678Z"
    assert sent(pandas.Timestamp("2016-01-02")) == "2016-01-02T00:00:00.000Z"
    assert sent(pandas.NaT) is None and sent(pandas.NA) is None
    _, message = make(send=False).track("u", "E", timestamp=stamp)
    assert message["timestamp"] == "2026-01-02T08:04:05.678Z"
    _, message = make(send=False).track("u", "E", timestamp=pandas.NaT)
    assert message["timestamp"][:3] == "202" and "timestamp is not a time" in caplog.text


ZONES = """
import os, time, logging
os.environ["TZ"] = "America/New_York"
time.tzset()
logging.basicConfig(format="%(message)s")
import segment_native
from datetime import datetime, timedelta, timezone
client = segment_native.Client("k", send=False)
def utc(when, **kind):
    text = client.track("u", "E", **({"timestamp": when} if kind else {"properties": {"w": when}}))[1]
    text = text["timestamp"] if kind else text["properties"]["w"]
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
for kind in ({"timestamp": True}, {}):
    now = utc(datetime.now(), **kind)
    assert abs(now - datetime.now(timezone.utc)) < timedelta(hours=1), now
    future = utc(datetime.now() + timedelta(days=1), **kind)
    assert abs(future - datetime.now(timezone.utc) - timedelta(days=1)) < timedelta(hours=2), future
    assert utc(datetime(2014, 9, 3), **kind) == datetime(2014, 9, 3, tzinfo=timezone.utc)
"""


def test_times_without_a_zone_are_guessed_as_the_peer_does_with_one_warning():
    done = subprocess.run([sys.executable, "-c", ZONES], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a datetime without a zone") == 1, done.stderr


def test_what_segment_would_discard_is_refused(make):
    client = make(send=False)
    for call, argument in [
        (lambda: client.track("u", ""), "event"),
        (lambda: client.track("", "E", anonymous_id=""), "user_id"),
        (lambda: client.group("u", ""), "group_id"),
        (lambda: client.alias("", "u"), "previous_id"),
        (lambda: client.track("u", "E", message_id="x" * 100), "message_id"),
    ]:
        with pytest.raises(InvalidError, match=argument) as raised:
            call()
        assert isinstance(raised.value, AssertionError) and isinstance(raised.value, ValueError)
