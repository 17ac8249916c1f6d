"""What segment-analytics-python does not have."""

import asyncio
import gc
import json
import logging
import math
import os
import pickle
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest
import segment_native
from collector import PATIENCE, until
from segment_native import APIError, Client, Error, InvalidError, TooLargeError


class TestMessage:
    def test_is_a_mapping(self, make):
        message = make(send=False).track("u", "E", {"a": 1})[1]
        assert isinstance(message, Mapping)
        assert message["event"] == "E" and message.get("event") == "E" and message.get("none", 7) == 7
        assert "event" in message and "none" not in message
        assert dict(message) == message == json.loads(message.json) | {"anonymousId": None, "integrations": {}}
        assert len(message) == len(list(message)) == len(message.keys()) == len(message.values())
        assert ("event", "E") in message.items()
        assert eval(repr(message)) == message
        with pytest.raises(KeyError, match="none"):
            message["none"]
        with pytest.raises(TypeError):
            message["event"] = "F"

    def test_survives_pickling(self, make):
        message = make(send=False).track("u", "E")[1]
        assert pickle.loads(pickle.dumps(message)) == message

    def test_can_be_queued_again(self, make, collector):
        message = make(send=False).track("u", "Again")[1]
        client = make()
        client.enqueue(message)
        client.enqueue(dict(message) | {"event": "As dict", "messageId": "m-2"})
        client.enqueue('{"type":"track","userId":"u","event":"As text"}')
        assert client.flush(PATIENCE)
        assert collector.events() == ["Again", "As dict", "As text"]
        assert message["messageId"] in {m["messageId"] for m in collector.messages}
        with pytest.raises(InvalidError):
            client.enqueue({"type": "track"})
        with pytest.raises(InvalidError, match="message must be a Message, a dict or JSON text, not int"):
            client.enqueue(7)

    def test_a_dict_is_written_as_a_call_writes_it(self, make, collector):
        values = {
            "date": date(2026, 1, 2), "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "set": {1},
            "id": uuid.UUID(int=7), "bytes": b"b", "price": Decimal("19.90"), "none": None, "lost": object(),
        }  # fmt: skip
        expected = {
            "date": "2026-01-02", "time": "2026-01-02T03:04:05.000Z", "set": [1],
            "id": "00000000-0000-0000-0000-000000000007", "bytes": "b", "price": 19.9, "none": None,
        }  # fmt: skip
        whole = {"type": "track", "userId": "u", "event": "E", "properties": values, "anonymousId": None}
        client = make()
        client.enqueue(whole | {"timestamp": values["time"]})
        changing = make(before_send=lambda message: {**message, "properties": values})
        assert changing.track("u", "E")[1]["properties"] == expected
        assert client.flush(PATIENCE) and changing.flush(PATIENCE)
        assert [m["properties"] for m in collector.messages] == [expected, expected]
        # Two clients: either may come first.
        first = next(m for m in collector.messages if m["timestamp"] == expected["time"])
        assert "anonymousId" not in first
        for wrong in ({"price": math.nan}, {"cycle": whole}):
            whole["properties"] = wrong
            with pytest.raises(InvalidError, match='message: "properties": '):
                client.enqueue(whole)


class TestFlush:
    def test_says_whether_all_is_out(self, make, collector):
        answered = collector.hold()
        client = make()
        client.track("u", "E")
        start = time.monotonic()
        assert client.flush(0.2) is False
        assert time.monotonic() - start > 0.19
        answered.set()
        assert client.flush() is True
        assert client.flush(0) is True
        for wrong in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError):
                client.flush(wrong)

    def test_lets_other_threads_run(self, make, collector):
        answered = collector.hold()
        client = make()
        client.track("u", "E")

        def work():
            until(lambda: collector.held)
            for _ in range(100):
                time.sleep(0.0001)
            answered.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert client.flush(PATIENCE) is True
        thread.join()

    def test_does_not_block_the_event_loop(self, make, collector):
        answered = collector.hold()
        client = make()
        client.track("u", "E")

        async def main():
            async def tick():
                for _ in range(20):
                    await asyncio.sleep(0.001)
                answered.set()

            ticking = asyncio.create_task(tick())
            flushed = await client.flush_async(PATIENCE)
            answer = await client.call_async("POST", "/v1/track", {"userId": "u", "event": "C"})
            await ticking
            return flushed, answer.status

        assert asyncio.run(main()) == (True, 200)

    @pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="paths are text there")
    @pytest.mark.parametrize("kind", [bytes, str, Path])
    def test_the_name_of_a_spool_may_be_bytes(self, make, tmp_path, kind):
        name = os.fsencode(tmp_path) + b"/Andr\xe9"
        given = name if kind is bytes else kind(os.fsdecode(name))
        client = make(host="http://127.0.0.1:9", spool_dir=given, stateful=True, shutdown_timeout=0.1)
        client.track("u", "E")
        # A disk that stalls may keep it in memory for a moment.
        until(lambda: client.stats().in_memory == 0)
        assert os.path.exists(name + b"/segment-native/identity.json")

    def test_while_paused_returns_at_once_and_says_why(self, make, collector):
        client = make(thread=4)
        assert client.last_problem is None
        client.pause()
        client.track("u", "E")
        assert client.flush() is False and client.flush(PATIENCE) is False
        assert client.last_problem == "the client is paused; 1 message waits" and collector.messages == []
        client.resume()
        assert client.flush(PATIENCE) and client.last_problem is None
        stats = client.stats()
        assert (stats.delivered, stats.last_http_status, stats.uploads, stats.paused_until_ms) == (1, 200, 0, None)
        assert abs(stats.last_success_ms / 1000 - time.time()) < PATIENCE
        for thread in (0, 65, -1, "four"):
            with pytest.raises((InvalidError, TypeError), match="thread"):
                make(thread=thread)

    def test_of_a_spooled_client_does_not_wait_forever(self, make, tmp_path):
        client = make(host="http://127.0.0.1:9", spool_dir=tmp_path, shutdown_timeout=0.2)
        client.track("u", "E")
        assert client.flush() is False and client.shutdown() is False

    def test_in_sync_mode_does_not_either(self, make, tmp_path):
        client = make(host="http://127.0.0.1:9", spool_dir=tmp_path, shutdown_timeout=0.2, sync_mode=True)
        start = time.monotonic()
        assert client.track("u", "E")[0] is True
        client.enqueue({"type": "track", "userId": "u", "event": "F"})
        assert time.monotonic() - start > 0.39
        assert client.stats().queued == 2

    def test_enqueue_waits_in_sync_mode(self, make, collector):
        client = make(sync_mode=True)
        client.enqueue({"type": "track", "userId": "u", "event": "E"})
        assert collector.events() == ["E"]


class TestCallbacks:
    def test_on_delivery_is_told_all(self, make, collector):
        collector.script = [(200, {}), (400, {})]
        told = []
        client = make(on_delivery=told.append)
        client.track("u", "Good")
        client.flush()
        client.track("u", "Bad")
        client.flush()
        good, bad = told
        assert (good.error, good.http_status, good.attempts) == (None, 200, 1) and good.body_bytes > 100
        assert good.message_ids == [m["messageId"] for m in good.messages] and good.messages[0]["event"] == "Good"
        assert isinstance(bad.error, APIError) and bad.error.status == 400 and bad.http_status == 400
        assert "Delivery of 1 messages" in repr(bad)

    @pytest.mark.parametrize("spooled", [False, True])
    def test_what_a_full_queue_drops_is_reported(self, make, tmp_path, spooled):
        told, failed = [], []
        spool = {"spool_dir": tmp_path} if spooled else {}
        client = make(send=False, drop_oldest=True, queue_max_bytes=130_000, upload_interval=PATIENCE, upload_size=1000,
                      on_delivery=told.append, on_error=lambda error, messages: failed.append((error, messages)),
                      **spool)
        client.pause()
        for n in range(40):
            client.track("u", "E", {"p": "x" * 10_000}, message_id=str(n))
        client.resume()
        assert client.flush(PATIENCE)
        stats = client.stats()
        dropped = [id for d in told if d.error is not None for id in d.message_ids]
        delivered = [id for d in told if d.error is None for id in d.message_ids]
        assert 20 < stats.dropped < 40 and sorted(map(int, dropped)) == list(range(stats.dropped))
        assert sorted(map(int, delivered)) == list(range(stats.dropped, 40))
        kinds = {d.error.kind for d in told if d.error is not None} | {error.kind for error, _ in failed}
        assert kinds == {"queue_full"}
        assert all(d.messages[0]["messageId"] == d.message_ids[0] for d in told)
        assert sorted(m["messageId"] for _, messages in failed for m in messages) == sorted(dropped)

    def test_calls_that_fail_are_logged_once(self, make, caplog):
        client = make()
        for _ in range(10):
            for call in (lambda: client.track("", "E"), lambda: client.track("u", ""), lambda: client.track("u", 7),
                         lambda: client.enqueue({"type": "nothing"}), lambda: client.enqueue(7)):
                with pytest.raises(InvalidError):
                    call()
        assert client.stats().refused == 50

        def lines():
            return [r.getMessage() for r in caplog.records if r.getMessage().startswith("a call failed")]

        until(lambda: len(lines()) >= 5)  # the delivery thread logs them
        client.shutdown()
        assert len(lines()) == 5 and all(line.endswith("(logged once)") for line in lines()), lines()

    def test_before_send_keeps_changes_and_drops(self, make, collector):
        def edit(message):
            if message["event"] == "Drop":
                return None
            if message["event"] == "Change":
                return {**message, "event": "Changed", "properties": {"a": 1}}
            return message

        client = make(before_send=edit)
        for event in ("Keep", "Drop", "Change"):
            success, message = client.track("u", event)
            assert success
        assert message["event"] == "Changed"
        client.flush()
        assert collector.events() == ["Changed", "Keep"]
        assert client.stats().dropped == 1

    def test_what_before_send_raises_reaches_the_caller(self, make):
        client = make(before_send=lambda message: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            client.track("u", "E")
        assert client.stats().refused == 1
        with pytest.raises(InvalidError, match="before_send must return"):
            make(before_send=lambda message: 7).track("u", "E")

    def test_what_it_raised_for_another_message_is_not_told_again(self, make, tmp_path, caplog):
        def picky(message):
            if message["event"].startswith(("Application", "Segment Consent")):
                raise ZeroDivisionError("mine")
            return message

        client = make(before_send=picky, stateful=True, lifecycle=True, context={"app": {"version": "1"}})
        with pytest.raises(InvalidError, match="event"):
            client.track("u", "")
        assert "ZeroDivisionError" in caplog.text
        with pytest.raises(ZeroDivisionError, match="mine"):
            client.set_consent({"Ads": True})
        with pytest.raises(InvalidError, match="type"):
            client.enqueue({})

    def test_what_other_callbacks_raise_is_not_lost(self, make, collector, monkeypatch):
        seen = []
        monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(str(unraisable.exc_value)))
        collector.script = [(400, {})]

        def fail(*_):
            raise ValueError("mine")

        client = make(on_error=fail, on_delivery=fail)
        client.track("u", "E")
        client.flush()
        assert seen == ["mine", "mine"]
        client.track("u", "Next")
        assert client.flush(PATIENCE) and collector.events() == ["Next"]

    def test_a_callback_may_call_but_not_wait(self, make, collector):
        raised = []

        def callback(delivery):
            client.track("u", "From callback") if len(collector.messages) < 2 else None
            for wait in (client.flush, client.shutdown):
                try:
                    wait()
                except InvalidError as error:
                    raised.append(str(error))

        client = make(on_delivery=callback)
        client.track("u", "E")
        collector.wait_for(2)
        assert raised[:2] == [
            "flush must not be called from a callback of the same client",
        ] * 2

    def test_the_log_goes_to_the_logger(self, make, collector, caplog):
        collector.script = [(400, {})]
        client = make()
        client.track("u", "E")
        client.flush()
        client.shutdown()
        assert any(r.name == "segment" and r.levelno == logging.ERROR for r in caplog.records), caplog.records


class TestLife:
    def test_a_context_manager_delivers(self, collector):
        with Client("k", host=collector.url, shutdown_timeout=PATIENCE) as client:
            client.track("u", "E")
        assert collector.events() == ["E"]
        assert client.track("u", "Late")[0] is False

    def test_a_client_that_goes_away_delivers(self, collector):
        client = Client("k", host=collector.url, shutdown_timeout=PATIENCE)
        client.track("u", "E")
        del client
        assert collector.events() == ["E"]

    def test_a_cycle_with_a_callback_is_collected_and_tells_before(self, collector):
        collector.script = [(400, {})]
        told = []

        class Owner:
            def __init__(self):
                self.client = Client("k", host=collector.url, on_error=self.failed, upload_interval=PATIENCE)

            def failed(self, error, messages):
                told.append((self.client is not None, messages[0]["event"]))

        owner = Owner()
        owner.client.track("u", "E")
        gone = weakref.ref(owner)
        del owner
        gc.collect()
        assert gone() is None
        assert told == [(True, "E")]

    def test_many_clients_come_and_go(self, collector):
        for n in range(50):
            client = Client("k", host=collector.url, shutdown_timeout=PATIENCE)
            client.track("u", f"E{n}")
        del client
        gc.collect()
        collector.wait_for(50)

    def test_a_client_that_was_not_made_says_so(self):
        class Forgetful(Client):
            def __init__(self):
                pass

        with pytest.raises(InvalidError, match="not initialised"):
            Forgetful().track("u", "E")
        client = Client("k", send=False)
        with pytest.raises(InvalidError, match="again"):
            client.__init__("k", send=False)

    def test_threads_share_a_client(self, make, collector):
        client = make()

        def work(name):
            for n in range(500):
                client.track("u", f"{name}-{n}", {"n": n, "list": [name]})

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(PATIENCE)
        assert len({m["event"] for m in collector.messages}) == 4000

    def test_a_finalizer_may_call_during_a_call(self, make, collector):
        client = make()

        class Loud:
            def __del__(self):
                client.track("u", "Finalized", {"from": "__del__"})

        class Many(dict):
            pass

        for n in range(200):
            cycle = Loud()
            cycle.me = cycle
            del cycle
        gc.set_threshold(1)
        try:
            for n in range(200):
                client.track("u", "Ordinary", {"n": [[{"x": n}]], "many": Many(a=1)})
        finally:
            gc.set_threshold(700)
        gc.collect()
        assert client.flush(PATIENCE)
        assert len(collector.messages) == 400
        assert all(m["properties"].get("from") == "__del__" for m in collector.messages if m["event"] == "Finalized")

    def test_stats_add_up(self, make, collector):
        collector.script = [(500, {}), (200, {}), (400, {})]
        client = make()
        client.track("u", "A")
        client.flush()
        client.track("u", "B")
        client.flush()
        with pytest.raises(InvalidError):
            client.track("", "C")
        stats = client.stats()
        assert (stats.accepted, stats.delivered, stats.failed, stats.queued, stats.refused) == (2, 1, 1, 0, 1)
        assert (stats.requests, stats.retries) == (3, 1)
        assert "accepted=2" in repr(stats)


class TestPeople:
    def test_a_stateful_client_remembers(self, make, collector):
        client = make(stateful=True)
        anonymous_id = client.anonymous_id
        assert anonymous_id and client.user_id is None
        client.track(event="First")
        client.identify("u-1", {"plan": "pro"})
        client.track(event="Second")
        assert client.user_id == "u-1"
        client.flush()
        first, _, second = collector.messages
        assert first["anonymousId"] == anonymous_id and "userId" not in first
        assert second["userId"] == "u-1" and second["anonymousId"] == anonymous_id
        client.reset()
        assert client.user_id is None and client.anonymous_id != anonymous_id

    def test_before_send_and_state_do_not_lock_each_other(self, make, collector):
        client = make(stateful=True, before_send=lambda message: (time.sleep(0.001), message)[1])

        def work(n):
            for i in range(20):
                client.identify(f"u-{n}", {"n": i})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert client.flush(PATIENCE) and len(collector.messages) == 120

    def test_consent_travels(self, make, collector):
        client = make()
        client.set_consent({"Advertising": True, "Analytics": False})
        client.track("u", "With")
        client.set_consent(None)
        client.track("u", "Without")
        client.flush()
        consents = [m["context"].get("consent") for m in collector.messages]
        assert consents == [{"categoryPreferences": {"Advertising": True, "Analytics": False}}, None]
        for wrong in ({"Advertising": "yes"}, {}):
            with pytest.raises(InvalidError):
                client.set_consent(wrong)

    def test_a_running_program_sets_its_context(self, make, collector):
        client = make(context={"app": {"name": "shop"}, "level": 0})
        client.set_context("level", 'E1M1 "Hangar"')
        client.set_context("app", {"build": 512, "released": date(2026, 1, 2)})
        client.track("u", "With")
        client.set_context("level", 7.5)
        client.track("u", "Over", context={"level": [1]})
        for key in ("level", "app", "never set"):
            client.set_context(key, None)
        client.track("u", "Without")
        client.flush()
        level, app = zip(*((m["context"]["level"], m["context"]["app"]) for m in collector.messages))
        assert level == ('E1M1 "Hangar"', [1], 0)
        built = {"name": "shop", "build": 512, "released": "2026-01-02"}
        assert app == (built, built, {"name": "shop"})
        for key, value, word in [
            ("consent", {}, "consent"),
            ("traits", None, "traits"),
            ("level", float("nan"), "value: not a finite number"),
            ("level", object(), "value: a value of type object has no JSON"),
        ]:
            with pytest.raises(InvalidError, match=word):
                client.set_context(key, value)
        with pytest.raises(TooLargeError):
            client.set_context("level", "x" * 16_000)
        with pytest.raises(TooLargeError):
            client.set_context("level", ["x" * 20_000] * 2)
        assert client.stats().refused == 6

    def test_after_an_opt_out_nothing_is_sent(self, make, collector, tmp_path):
        collector.script = [(500, {})] * 20
        client = make(spool_dir=tmp_path)
        client.track("u", "Waiting")
        client.opt_out()
        assert client.opted_out
        success, message = client.track("u", "Not taken")
        # Nothing is written about a user who has opted out, not even for the caller.
        assert success is False and message["userId"] is None and "event" not in message
        client.opt_in()
        collector.script = []
        client.track("u", "Taken")
        assert client.flush(PATIENCE) and collector.events() == ["Taken"]


class TestAskFirst:
    def test_before_an_answer_nothing_is_written_or_sent(self, make, collector, tmp_path):
        folder = tmp_path / "spool"
        client = make(spool_dir=folder, ask_first=True, stateful=True, shutdown_timeout=PATIENCE)
        assert client.opt_state is None and not client.opted_out
        anonymous_id = client.anonymous_id
        client.track(event="Held")
        client.set_consent({"Ads": False})
        stats = client.stats()
        assert (stats.held, stats.queued, stats.in_memory) == (2, 2, 2)
        assert client.flush(timeout=24 * 3600) is False  # at once
        assert client.last_problem == "the user has not answered yet; 2 messages wait"
        with pytest.raises(Error) as refused:
            client.call("POST", "/v1/track", {"userId": "u", "event": "E"})
        assert refused.value.kind == "opted_out"
        assert not folder.exists() and collector.messages == []
        client.opt_in()
        assert client.opt_state == "in"
        assert client.flush(PATIENCE) and client.stats().held == 0
        assert [m["anonymousId"] for m in collector.messages] == [anonymous_id] * 2
        client.shutdown()
        again = make(spool_dir=folder, ask_first=True, stateful=True)
        assert (again.opt_state, again.anonymous_id) == ("in", anonymous_id)

    def test_a_no_and_an_end_without_an_answer_drop_what_is_held(self, make, collector, tmp_path):
        for ends in (False, True):
            client = make(spool_dir=tmp_path / f"{ends}", ask_first=True, shutdown_timeout=PATIENCE)
            client.track("u", "Held")
            if ends:
                client.shutdown(timeout=24 * 3600)
                assert not (tmp_path / "True").exists()
            else:
                client.opt_out()
                assert client.opt_state == "out" and client.stats().dropped == 1
        assert collector.messages == []

    def test_without_the_flag_an_answer_is_returned_too(self, make):
        client = make()
        assert client.opt_state is None
        client.opt_in()
        assert client.opt_state == "in"


class TestCall:
    def test_any_status_is_an_answer(self, make, collector):
        client = make()
        answer = client.call("POST", "/v1/group", {"userId": "u", "groupId": "g"}, headers={"X-Mine": "1"})
        assert answer.status == 200 and answer.ok and answer.json() == {"success": True}
        assert answer.headers["content-length"] == str(len(answer.body))
        path, headers, body = collector.requests[0]
        assert path == "/v1/group" and headers["x-mine"] == "1" and body == {"userId": "u", "groupId": "g"}
        collector.script = [(429, {"Retry-After": "1"})]
        answer = client.call("post", "/v1/track", b"{}", timeout=PATIENCE)
        assert answer.status == 429 and not answer.ok and "429" in repr(answer)

    def test_no_answer_is_an_error(self, make, collector):
        with pytest.raises(Error) as raised:
            make(host="http://127.0.0.1:9").call("POST", "/v1/track", {})
        assert raised.value.kind == "network"
        collector.hold()
        with pytest.raises(Error) as raised:
            make().call("POST", "/v1/track", {}, timeout=0.2)
        assert raised.value.kind == "timeout"
        for wrong in (("FETCH", "/"), ("GET", "/", None)):
            with pytest.raises(InvalidError):
                make().call(*wrong, api="public" if wrong[0] == "GET" else "tracking")
        with pytest.raises(InvalidError, match="api must be"):
            make().call("GET", "/", api="private")

    def test_host_may_be_the_whole_url_of_batches(self, make, collector):
        client = make(host=f"{collector.url}/collect/b/?tenant=7")
        client.track("u", "E")
        assert client.flush(PATIENCE)
        assert client.call("POST", "/v1/track", {"userId": "u", "event": "E"}).status == 200
        assert [path for path, _, _ in collector.requests] == ["/collect/b?tenant=7", "/collect/v1/track"]
        with pytest.raises(InvalidError, match="unless its path ends in /batch or /b"):
            make(host=f"{collector.url}/collect?tenant=7")

    def test_pages_follow_each_other(self, make, collector):
        def page(names, following):
            pagination = {"current": "x"} | ({"next": following} if following else {})
            return 200, json.dumps({"data": {"sources": names, "pagination": pagination}}).encode()

        collector.pages = {
            "/sources?pagination.count=2": page(["a", "b"], "M=="),
            "/sources?pagination.count=2&pagination.cursor=M%3D%3D": page(["c"], None),
        }
        collector.pages["/sources?a=1&a=2&b="] = page(["d"], "N")
        collector.pages["/sources?a=1&a=2&b=&pagination.cursor=N"] = page(["e"], None)
        client = make(access_token="TOKEN", public_endpoint=collector.url)
        for query in ("a=1&a=2&b=", {"a": [1, 2], "b": ""}, [("a", 1), ("a", 2), ("b", "")]):
            both = list(client.pages("/sources", query=query))
            assert [name for page in both for name in page.json()["data"]["sources"]] == ["d", "e"], query
        collector.requests.clear()
        pages = list(client.pages("/sources", query={"pagination.count": 2}))
        assert [name for page in pages for name in page.json()["data"]["sources"]] == ["a", "b", "c"]
        assert collector.requests[0][1]["authorization"] == "Bearer TOKEN"
        (missing,) = client.pages("/none")
        assert missing.status == 404 and missing.cursor is None
        assert pages[0].cursor == "M==" and pages[1].cursor is None
        page = client.call("GET", "/sources", api="public", query={"pagination.count": 2}, cursor="M==")
        assert page.json() == pages[1].json()
        with pytest.raises(InvalidError, match="cursor is for the Public API"):
            client.call("GET", "/sources", cursor="M==")

    def test_pages_of_the_profile_api_follow_each_other(self, make, collector):
        def page(traits, cursor):
            return 200, json.dumps({"traits": traits, "cursor": cursor}).encode()

        collector.pages = {
            "/v1/traits?limit=1": page({"a": 1}, {"has_more": True, "next": "a", "limit": 1}),
            "/v1/traits?limit=1&next=a": page({"b": 2}, {"has_more": False, "next": "", "limit": 1}),
        }
        client = make(profile_token="TOKEN", profile_endpoint=collector.url)
        pages = client.pages("/v1/traits", api="profile", query={"limit": 1})
        assert [page.json()["traits"] for page in pages] == [{"a": 1}, {"b": 2}]

    def test_pages_do_not_go_round_in_circles(self, make, collector):
        same = 200, b'{"data":{"pagination":{"next":"a"}}}'
        collector.pages = {"/sources": same, "/sources?pagination.cursor=a": same}
        client = make(access_token="TOKEN", public_endpoint=collector.url)
        assert len(list(client.pages("/sources"))) == 2


class TestSettings:
    def test_wrong_ones_are_named(self):
        for settings, text in [
            ({"upload_size": 0}, "upload_size must not be zero"),
            ({"upload_interval": 0}, "upload_interval must not be zero"),
            ({"flush_at": 0}, "flush_at must not be zero"),
            ({"flush_interval": 0}, "flush_interval must not be zero"),
            ({"timeout": -1}, "timeout must be a number of seconds"),
            ({"host": "ftp://x"}, "endpoint"),
            ({"sync": True}, "sync needs a spool_dir"),
            ({"former_write_key": "OLD"}, "former_write_key needs a spool_dir"),
            ({"former_endpoint": ""}, "former_endpoint must not be empty"),
            ({"max_retries": "many"}, "max_retries"),
            ({"headers": {"Bad Name": "x"}}, "headers"),
            ({"context": {"x": float("nan")}}, 'context: "x": not a finite number'),
            ({"oauth_client_id": "c", "oauth_client_key": "no PEM", "oauth_key_id": "k"}, "oauth: private_key"),
        ]:
            with pytest.raises(InvalidError, match=text):
                Client("k", **settings)

    def test_the_forms_that_the_peer_takes_are_taken(self):
        client = Client("k", send=False, max_queue_size=-1, timeout=(3.05, 7))
        assert client.track("u", "E")[0] is True and not client.queue.full()
        with pytest.raises(InvalidError, match="timeout must be a number of seconds"):
            Client("k", send=False, timeout=(1, -1))
        level = Client.log.level
        Client.log.setLevel(logging.ERROR)
        assert client.log.level == logging.ERROR
        Client.log.setLevel(level)

    def test_context_integrations_and_headers_are_in_everything(self, make, collector):
        client = make(context={"app": {"name": "shop"}}, integrations={"All": False}, headers={"X-Gateway": "7"})
        client.track("u", "E", context={"app": {"version": "1"}}, integrations={"Mixpanel": True})
        client.flush()
        (message,) = collector.messages
        assert message["context"]["app"] == {"name": "shop", "version": "1"}
        assert message["context"]["library"]["name"] == "segment-native-python"
        assert message["integrations"] == {"All": False, "Mixpanel": True}
        assert collector.requests[0][1]["x-gateway"] == "7"

    def test_eu_is_short_for_its_host(self):
        assert Client("k", host="eu", send=False).host == "eu"

    def test_the_write_key_is_in_no_representation(self, make):
        client = make("very-secret-key")
        assert "very-secret-key" not in repr(client) and "very-secret-key" not in repr(client.stats())


class TestTyped:
    def test_traits_have_segments_names(self, make):
        from datetime import date, datetime, timezone

        from segment_native import Address, Company, GroupTraits, Product, Revenue, Traits

        client = make(send=False)
        traits = Traits(
            email="ada@example.com", first_name="Ada", birthday=date(1815, 12, 10),
            created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            address=Address(city="London", postal_code="N1"),
            company=Company(name="Engines", employee_count=2), favourite_colour="red",
        )  # fmt: skip
        assert client.identify("u", traits)[1]["traits"] == {
            "email": "ada@example.com", "firstName": "Ada", "birthday": "1815-12-10",
            "createdAt": "2026-01-02T03:04:05.000Z", "address": {"city": "London", "postalCode": "N1"},
            "company": {"name": "Engines", "employee_count": 2}, "favourite_colour": "red",
        }  # fmt: skip
        assert client.group("u", "g", GroupTraits(name="Initech", employees=329))[1]["traits"] == {
            "name": "Initech", "employees": 329,
        }  # fmt: skip
        order = {"order_id": "o", "products": [Product(product_id="p", price=19.0)], **Revenue(19.0, "EUR")}
        assert client.track("u", "Order Completed", order)[1]["properties"] == {
            "order_id": "o", "products": [{"product_id": "p", "price": 19.0}], "revenue": 19.0, "currency": "EUR",
        }  # fmt: skip

    def test_they_are_loaded_only_when_asked_for(self, run):
        run("import sys; assert 'segment_native.typed' not in sys.modules; segment_native.Traits()")


def test_python_is_told_every_count_that_c_is():
    manifest = json.loads(Path(__file__).parents[3].joinpath("include", "segment.abi.json").read_text())
    names = {field["name"] for field in manifest["structs"]["segment_stats"]["fields"]} - {"size", "flags"}
    assert {name for name in dir(segment_native.Stats) if not name.startswith("_")} == names


def test_the_version_is_the_crates():
    assert segment_native.__version__.count(".") == 2


def test_the_readme_shows_the_examples():
    from pathlib import Path

    here = Path(__file__).parent.parent
    readme = (here / "README.md").read_text()
    for name in ("hello.py",):
        code = readme.split(f"<!-- examples/{name} -->\n```python\n")[1].split("```")[0]
        assert code == (here / "examples" / name).read_text()
