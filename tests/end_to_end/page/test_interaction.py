"""The dashboard in a real Chromium: what a person can do on it, by pointer, by keys and by ear."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from support.served_session import finals, told

from realtime.protocol import events


def test_a_click_corrects_an_emotion(serve: Any, open_page: Any) -> None:
    """Choosing an utterance and another emotion makes an `emotion.corrected`, and the page shows it as such."""
    served, script = serve(), told(6)
    seen: list[events.Logged] = []
    served.publisher.add_view(seen.append)
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


def test_a_second_opinion_stands_beside_the_first(serve: Any, open_page: Any) -> None:
    """A replay that asked another model shows both for each utterance, marks where they differ, and spells it out."""
    served, script = serve(), told(2)
    first, second = finals(script)
    served.say([event for event in script if not isinstance(event, events.EmotionFinal)])
    other = next(label for label in first.probabilities if label != first.emotion)
    for event, emotion in ((first, other), (second, second.emotion)):
        opinion = events.Opinion(checkpoint="rival", emotion=emotion, confidence=1.0, probabilities={emotion: 1.0})
        served.say([msgspec.structs.replace(event, rescored=opinion)])
    tab = open_page(served.url)
    tab.expect("article .second.against", f"rival {other} 100 %")
    tab.expect("article .second:not(.against)", f"rival {second.emotion} 100 %")
    tab.page.locator("article", has=tab.page.locator(".second.against")).click()
    tab.expect("#details h3", "Second opinion: rival")
    tab.expect("#details .details-who ~ section .first", first.emotion)


def test_a_guess_that_is_not_sure_is_called_one(serve: Any, open_page: Any) -> None:
    """What the model itself holds uncertain is shown as `perhaps`, on card and row, until a person says what it was."""
    served, script = serve(), told(1)
    (final,) = finals(script)
    served.say([*script[:-1], msgspec.structs.replace(final, uncertain=True)])
    tab = open_page(served.url)
    tab.expect("article .emotion.uncertain", f"perhaps {final.emotion}")
    tab.expect(".mood-words", f"perhaps {final.emotion}")
    tab.page.locator("article[data-state=final]").click()
    tab.page.locator(f"#details button[data-label={final.emotion}]").click()
    tab.expect("article .tag.corrected", final.emotion)
    assert "perhaps" not in tab.page.locator("article[data-state=final]").inner_text()
