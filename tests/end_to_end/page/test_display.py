"""The dashboard in a real Chromium, on the real feed: what a person sees and is told."""

from __future__ import annotations

import threading
from typing import Any

from support.served_session import SESSION, finals, told
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync import server
from websockets.sync.server import ServerConnection

from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.feed.static_files import find_page, page_address
from realtime.journal.event_log import Journal
from realtime.protocol import events


def test_what_is_said_while_the_page_is_open_appears_with_its_emotion(serve: Any, open_page: Any) -> None:
    """An utterance appears with its words, speaker, emotion and confidence; provisional first, then final."""
    served, script = serve(), told(4)
    served.say(script[:-2])
    tab = open_page(served.url)
    tab.expect("#connection", "Live")
    provisional, final = script[-2:]
    assert isinstance(provisional, events.EmotionProvisional)
    assert isinstance(final, events.EmotionFinal)
    served.say([provisional])
    tab.expect("article[data-state=provisional] .tag.provisional", "provisional")
    served.say([final])
    row = tab.page.locator("article[data-state=final]").last
    tab.expect("#transcript-count", "4 utterances")
    text = row.inner_text()
    assert all(part in text for part in (final.text, final.speaker, final.emotion, f"{final.confidence:.0%}"[:-1]))
    assert tab.page.locator("article[data-state=provisional]").count() == 0
    assert tab.complaints == []


def test_the_page_talks_to_nobody_but_the_feed(serve: Any, open_page: Any) -> None:
    """Nothing is requested from another origin, and the browser finds nothing to complain about."""
    served = serve()
    served.say(told(5))
    tab = open_page(served.url)
    tab.expect("#transcript-count", "5 utterances")
    assert all(request.startswith(served.url) for request in tab.requests)
    assert len(tab.requests) > 10
    assert tab.complaints == []


def test_who_has_finished_is_being_judged_and_does_not_speak(serve: Any, open_page: Any) -> None:
    """From `speech.ended` on, an utterance and its speaker are shown as being judged."""
    served, script = serve(), told(4)
    served.say(script)
    tab = open_page(served.url)
    speaker = next(event.speaker for event in script if isinstance(event, events.SpeechStarted))
    about = {"utterance_id": "u900", "source": "made", "speaker": speaker, "start_ms": 900_000}
    served.say([events.SpeechStarted(**about)])
    tab.expect("article[data-state=open]", "speaking …")
    tab.expect(".mood[data-speaking=true] .speaking-now", "speaking")
    served.say([events.SpeechEnded(**about, end_ms=901_000)])
    tab.expect("article[data-state=open]", "being judged …")
    tab.expect(".mood[data-speaking=false] .speaking-now:not(:empty)", "being judged")
    assert tab.complaints == []


def test_discarded_sound_leaves_the_page(serve: Any, open_page: Any) -> None:
    """An utterance that comes to nothing is gone from the transcript, and counted."""
    served, script = serve(), told(30)
    dropped = sum(isinstance(event, events.UtteranceDiscarded) for event in script)
    assert dropped
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "30 utterances")
    assert tab.page.locator("article[data-state=open]").count() == 0
    tab.expect("#system .figures div:has-text('left out') dd", str(dropped))


def test_a_page_that_was_cut_off_resumes_without_loss(serve: Any, open_page: Any, tmp_path: Any) -> None:
    """When the program's feed dies and comes back, the page reconnects by itself and has every utterance once."""
    script = told(12)
    journal = Journal(tmp_path / f"{SESSION}.jsonl")
    first = serve(journal=journal)
    port = int(first.url.rstrip("/").rpartition(":")[2])
    first.say(script[:20])
    tab = open_page(first.url)
    before = len(finals(script[:20]))
    tab.expect("#transcript-count", f"{before} utterances")
    first.stop()
    tab.page.locator("#connection[data-state=waiting]").wait_for()
    epoch = journal.epochs[-1][0]
    again = serve(journal=Journal.reopen(tmp_path / f"{SESSION}.jsonl"), port=port)
    again.say(script[20:])
    tab.expect("#connection", "Live")
    tab.expect("#transcript-count", "12 utterances")
    assert f"from=20&epoch={epoch}" in tab.sockets[-1], "it asks for what it has not seen, and for no more"
    assert tab.page.locator("article[data-state=note]").count() == 0, "nothing was missing, so nothing says so"


def test_five_lines_of_javascript_follow_the_feed(serve: Any, open_page: Any) -> None:
    """The client module gives every event in order to a `for await` loop and answers a command."""
    served, script = serve(), told(5)
    served.say(script)
    tab = open_page(served.url + "icon.svg")
    got = tab.page.evaluate(
        """async ([url, count]) => {
          const { Feed } = await import(`${url}feed.js`);
          const seen = [];
          for await (const event of new Feed(url.replace("http", "ws"), { from: 0 })) {
            if (seen.push(event.seq) === count) break;
          }
          const opened = Promise.withResolvers();
          const onState = (state) => state === "open" && opened.resolve();
          const live = new Feed(url.replace("http", "ws"), { onState });
          await opened.promise;
          const answer = live.command({ type: "moment.mark", note: "here" });
          for await (const event of live) return [...seen, event.type, (await answer).ok];
        }""",
        [served.url, len(script)],
    )
    assert got[: len(script)] == list(range(1, len(script) + 1))
    assert got[len(script) :] == ["moment.marked", True]


def test_the_client_that_was_too_slow_resumes_where_it_was(open_page: Any) -> None:
    """Told that it was too slow, with a snapshot from far ahead, the client asks for what came after its last event."""
    asked: list[str] = []

    def speak(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        if len(asked) == 1:
            connection.send('{"type":"error","seq":7,"epoch":"e"}')
            connection.send('{"type":"stream.gap","from":7,"to":51,"from_epoch":"e","epoch":"e","reason":"too_slow"}')
            connection.send('{"type":"snapshot","seq":50,"epoch":"e"}')
            connection.close(1013)
        else:
            connection.send('{"type":"error","seq":8,"epoch":"e"}')
            connection.recv()

    def files(connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        found = find_page(request.path)
        assert found is not None
        headers = Headers([*found.headers, ("Content-Length", str(len(found.body))), ("Connection", "close")])
        return Response(200, "OK", headers, found.body)

    with server.serve(speak, "127.0.0.1", 0, process_request=files) as feed:
        threading.Thread(target=feed.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{feed.socket.getsockname()[1]}/"
        tab = open_page(f"{url}icon.svg")
        seen = tab.page.evaluate(
            """async (url) => {
              const { Feed } = await import(`${url}feed.js`);
              const seen = [];
              const feed = new Feed(url.replace("http", "ws"), { from: 0 });
              for await (const event of feed) if (seen.push(event.seq) === 2) return seen;
            }""",
            url,
        )
        feed.shutdown()
    assert seen == [7, 8]
    assert asked[1] == "/?from=7&epoch=e"


def test_another_session_on_the_same_port_begins_a_fresh_page(serve: Any, open_page: Any) -> None:
    """A page that outlives its session and meets another one shows that one alone."""
    first = serve()
    port = int(first.url.rstrip("/").rpartition(":")[2])
    first.say(told(8))
    tab = open_page(first.url)
    tab.expect("#transcript-count", "8 utterances")
    first.stop()
    feed = Feed("01JPAGE0000000000000000001", port=port)
    publisher = EventPublisher("01JPAGE0000000000000000001", feed=feed)
    for event in told(3, speakers=("carol", "dan")):
        publisher.append(event)
    feed.start()
    tab.expect("#transcript-count", "3 utterances")
    assert "anna" not in tab.page.locator("body").inner_text()
    feed.stop(grace=0.2)


def test_a_feed_with_a_token_lets_its_page_in(serve: Any, open_page: Any) -> None:
    """The address that the program prints carries the token, which leaves the address bar at once."""
    served = serve(token="sesame öffne dich")
    served.say(told(2))
    tab = open_page(page_address(served.feed.url, "sesame öffne dich"))
    tab.expect("#transcript-count", "2 utterances")
    assert "sesame" not in tab.page.url
    assert not any("sesame" in request for request in tab.requests)


def test_a_page_without_the_token_asks_for_it(serve: Any, open_page: Any) -> None:
    """Who opens a guarded page without its token is asked for it, and then let in."""
    served = serve(token="sesame")
    served.say(told(2))
    tab = open_page(served.url)
    tab.page.locator("#token").fill("sesame")
    tab.page.keyboard.press("Enter")
    tab.expect("#transcript-count", "2 utterances")


def test_the_overlay_shows_moods_alone_on_a_transparent_ground(serve: Any, open_page: Any) -> None:
    """`?overlay=1` is see-through but for one plate a speaker, and has nothing to press."""
    served, script = serve(), told(10)
    served.say(script)
    tab = open_page(served.url + "?overlay=1")
    tab.page.locator(".plate").nth(1).wait_for()
    latest = {event.speaker: event for event in finals(script)}
    text = tab.page.locator("#overlay").inner_text()
    assert all(event.emotion in text and name in text for name, event in latest.items())
    grounds = tab.page.evaluate(
        "['html', 'body', '#overlay'].map((s) => getComputedStyle(document.querySelector(s)).backgroundColor)"
    )
    assert set(grounds) == {"rgba(0, 0, 0, 0)"}
    assert not any(button.is_visible() for button in tab.page.locator("button, a, input").all())


def test_a_long_call_keeps_few_rows_in_the_page(serve: Any, open_page: Any) -> None:
    """Of hundreds of utterances only those near the sight are in the page, and each can be reached."""
    served, script = serve(), told(600)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "600 utterances")
    assert tab.rows().count() < 40
    tab.page.locator("#transcript").focus()
    tab.page.keyboard.press("Home")
    tab.expect("article.current .words", finals(script)[0].text or "")
    assert tab.rows().count() < 40
    tab.page.locator("#follow").click()
    tab.page.locator("article[data-state=final] .words", has_text=finals(script)[-1].text).last.wait_for()


def test_what_a_speaker_says_stays_text(serve: Any, open_page: Any) -> None:
    """Words and names that look like markup are shown as they are and run nothing."""
    served = serve()
    for event in told(2, speakers=("<img src=x onerror=alert(1)>",)):
        if isinstance(event, events.EmotionFinal):
            event = type(event)(**{f: getattr(event, f) for f in event.__struct_fields__} | {"text": "<b>bold</b>"})
        served.publisher.append(event)
    tab = open_page(served.url)
    tab.expect("article .words", "<b>bold</b>")
    tab.expect(".mood h3", "<img src=x")
    assert tab.complaints == []
