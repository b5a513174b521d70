"""The dashboard in a real Chromium, on the real feed: what a person sees, does and is told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync import server
from websockets.sync.server import ServerConnection

from realtime import events
from realtime.bench_page import conversation
from realtime.feed import Feed
from realtime.journal import Journal
from realtime.ledger import Ledger
from realtime.pages import address, page

SESSION = "01JPAGE0000000000000000000"


class Served:
    """A session that a test speaks for, served as `realtime.listen` serves one."""

    def __init__(self, *, port: int = 0, journal: Journal | None = None, **options: Any) -> None:
        self.feed = Feed(SESSION, history=journal, port=port, **options)
        self.ledger = Ledger(SESSION, journal=journal, feed=self.feed)
        self.feed.start()

    @property
    def url(self) -> str:
        return address(self.feed.url)

    def say(self, told: list[events.Logged]) -> None:
        for event in told:
            self.ledger.append(event)

    def stop(self) -> None:
        self.feed.stop(grace=0.2)
        self.ledger.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def start(**options: Any) -> Served:
        made.append(Served(**options))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def told(utterances: int, **options: Any) -> list[events.Logged]:
    return list(conversation(utterances, **options))


def finals(of: list[events.Logged]) -> list[events.EmotionFinal]:
    return [event for event in of if isinstance(event, events.EmotionFinal)]


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
        found = page(request.path)
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
    ledger = Ledger("01JPAGE0000000000000000001", feed=feed)
    for event in told(3, speakers=("carol", "dan")):
        ledger.append(event)
    feed.start()
    tab.expect("#transcript-count", "3 utterances")
    assert "anna" not in tab.page.locator("body").inner_text()
    feed.stop(grace=0.2)


def test_a_click_corrects_an_emotion(serve: Any, open_page: Any) -> None:
    """Choosing an utterance and another emotion makes an `emotion.corrected`, and the page shows it as such."""
    served, script = serve(), told(6)
    seen: list[events.Logged] = []
    served.ledger.watch(seen.append)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "6 utterances")
    last = finals(script)[-1]
    tab.page.locator("article[data-state=final]").last.click()
    wrong = next(label for label in last.probabilities if label != last.emotion)
    tab.page.locator(f"#details button[data-label={wrong}]").click()
    tab.expect("article[data-state=final] .tag.corrected", last.emotion)
    (corrected,) = [event for event in seen if isinstance(event, events.EmotionCorrected)]
    assert (corrected.utterance_id, corrected.from_, corrected.to) == (last.utterance_id, last.emotion, wrong)


def test_a_refused_correction_says_why(serve: Any, open_page: Any) -> None:
    """After the session's end the correction is refused, and the page says so instead of pretending."""
    served, script = serve(), told(3)
    served.say([*script, events.SessionClosed(reason="ended", totals={})])
    tab = open_page(served.url)
    tab.expect("#connection", "Ended")
    tab.page.locator("article[data-state=final]").last.click()
    last = finals(script)[-1]
    wrong = next(label for label in last.probabilities if label != last.emotion)
    tab.page.locator(f"#details button[data-label={wrong}]").click()
    tab.expect("#details .refusal", "over")
    assert tab.page.locator(".tag.corrected").count() == 0


def test_speakers_are_renamed_and_opt_out_on_the_page(serve: Any, open_page: Any) -> None:
    """A new name is shown everywhere at once; who opts out is shown as not analysed."""
    served = serve()
    served.say(told(6))
    tab = open_page(served.url)
    card = tab.page.locator(".mood").first
    name = card.locator("h3 > span").first.inner_text().split()[-1]
    card.locator("button.more").click()
    tab.page.locator("form:popover-open input").fill("Somebody Else")
    tab.page.keyboard.press("Enter")
    tab.expect(".mood h3", "Somebody Else")
    tab.expect("article .who", "Somebody Else")
    assert name not in tab.page.locator("#transcript").inner_text()
    card.locator("button.more").click()
    tab.page.locator("form:popover-open button[name=opt-out]").click()
    tab.expect(".mood", "Not analysed")


def test_a_feed_with_a_token_lets_its_page_in(serve: Any, open_page: Any) -> None:
    """The address that the program prints carries the token, which leaves the address bar at once."""
    served = serve(token="sesame öffne dich")
    served.say(told(2))
    tab = open_page(address(served.feed.url, "sesame öffne dich"))
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


def test_the_keyboard_reaches_everything(serve: Any, open_page: Any) -> None:
    """By keys alone: from the skip link to the transcript, through utterances, into one, correct it, and back."""
    served, script = serve(), told(40)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "40 utterances")
    keys = tab.page.keyboard
    keys.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    keys.press("Home")
    first, second = finals(script)[:2]
    label = "document.activeElement.getAttribute('aria-label')"
    assert first.text in tab.page.evaluate(label)
    keys.press("ArrowDown")
    assert second.text in tab.page.evaluate(label)
    keys.press("End")
    assert finals(script)[-1].text in tab.page.evaluate(label)
    keys.press("Enter")
    pressed = "document.activeElement.closest('#details') && document.activeElement.dataset.label"
    assert tab.page.evaluate(pressed) == "neutral"
    keys.press("Tab")
    keys.press("Enter")
    tab.page.locator("#details button[data-label=joy][aria-pressed=true]").wait_for()
    assert tab.page.evaluate(pressed) == "joy", "the focus stays where it was"
    keys.press("Escape")
    assert tab.page.evaluate("document.activeElement.closest('#transcript') !== null")


def test_the_timeline_is_a_slider_that_speaks(serve: Any, open_page: Any) -> None:
    """Arrow keys on the timeline go from utterance to utterance and say which; plus zooms in."""
    served, script = serve(), told(30)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "30 utterances")
    lanes = tab.page.locator("#lanes")
    lanes.focus()
    tab.page.keyboard.press("Home")
    first, second = finals(script)[:2]
    tab.page.locator(f'#lanes[aria-valuetext*="{first.speaker}"][aria-valuetext*="{first.emotion}"]').wait_for()
    tab.page.keyboard.press("ArrowRight")
    tab.page.locator(f'#lanes[aria-valuetext*="{second.text}"]').wait_for()
    assert second.text in tab.page.locator("#details").inner_text()


def test_scrubbing_the_timeline_chooses_what_was_said_there(serve: Any, open_page: Any) -> None:
    """Pressing on a speaker's lane shows that speaker's utterance at that time in transcript and details."""
    served, script = serve(), told(12)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "12 utterances")
    wanted = finals(script)[0]
    speakers = list(dict.fromkeys(event.speaker for event in script if isinstance(event, events.SpeechStarted)))
    lane = speakers.index(wanted.speaker)
    tab.page.locator("#lanes-canvas").click(position={"x": 4, "y": lane * 68 + 40})
    tab.expect("#details blockquote", wanted.text)
    tab.expect("article.current .words", wanted.text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1360, 850), (390, 844)])
def test_axe_finds_nothing_serious(serve: Any, open_page: Any, scheme: str, size: tuple[int, int]) -> None:
    """axe-core finds no serious or critical fault, with an utterance open, on desktop and phone, light and dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    served = serve()
    served.say(told(12))
    served.say(list(itertools.islice((e for e in told(14, seed=1) if isinstance(e, events.EmotionProvisional)), 1)))
    tab = open_page(served.url, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    tab.expect("#transcript-count", "12 utterances")
    for opened in (None, "article[data-state=final] >> nth=-1"):
        if opened:
            tab.page.locator(opened).click()
        found = axe.run(tab.page).response["violations"]
        serious = [
            (v["id"], [n["html"][:150] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_a_screen_reader_is_not_flooded(serve: Any, open_page: Any) -> None:
    """Announcements are off until asked for; then twenty results in two seconds make a sentence or two, not twenty."""
    served, script = serve(), told(25)
    early = script.index(finals(script)[4]) + 1
    served.say(script[:early])
    tab = open_page(served.url)
    tab.expect("#transcript-count", "5 utterances")
    tab.page.evaluate(
        "() => { window.said = []; new MutationObserver(() => said.push(announcer.textContent))"
        ".observe(announcer, { childList: true }); }"
    )
    tab.page.locator("#announce").click()
    for event in script[early:]:
        served.say([event])
        tab.page.wait_for_timeout(40)  # each in a frame of its own
    tab.expect("#transcript-count", "25 utterances")
    tab.page.locator("#announcer:not(:empty)").wait_for(state="attached")
    assert 1 <= len(tab.page.evaluate("said")) <= 8


def test_a_long_call_keeps_few_rows_in_the_page(serve: Any, open_page: Any) -> None:
    """Of two thousand utterances only those near the sight are in the page, and each can be reached."""
    served, script = serve(), told(2_000)
    served.say(script)
    tab = open_page(served.url)
    tab.expect("#transcript-count", "2,000 utterances")
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
        served.ledger.append(event)
    tab = open_page(served.url)
    tab.expect("article .words", "<b>bold</b>")
    tab.expect(".mood h3", "<img src=x")
    assert tab.complaints == []
