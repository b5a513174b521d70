"""Two voices that prove to be one person: what the page makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
from support.served_session import finals, told

from realtime.protocol import events

MERGED = events.SpeakerMerged(speaker="speaker3", into="speaker1")
VOICES = ("speaker1", "speaker2", "speaker3")


def test_past_and_later_utterances_are_shown_as_the_one_persons(serve: Any, open_page: Any) -> None:
    """After the merge no row, card or lane is the vanished speaker's; names that people gave stay; a note says so."""
    served, script = serve(), told(12, speakers=VOICES)
    served.say([*script, events.SpeakerRenamed(speaker="speaker1", name="Anna")])
    tab = open_page(served.url)
    tab.expect("article .who", "speaker3")
    assert tab.page.locator(".mood").count() == 3
    of_three = next(one for one in finals(script) if one.speaker == "speaker3")
    tab.page.locator("article", has=tab.page.locator(".who", has_text="speaker3")).first.click()
    served.say([MERGED])
    tab.expect("article[data-state=note]", "speaker3 proved to be Anna")
    tab.expect("#details .details-who", "Anna")
    tab.page.locator(".mood").nth(2).wait_for(state="detached")
    tab.page.locator("#transcript").focus()
    for key in ("Home", "End"):
        tab.page.keyboard.press(key)
        assert "speaker3" not in tab.page.locator("article .who").all_inner_texts()
    assert "speaker3" not in tab.page.locator("#lane-names").text_content()
    tab.page.locator("#lanes").focus()
    spoken = [one.text for one in finals(script)]
    for number, text in enumerate(spoken[: spoken.index(of_three.text) + 1]):
        tab.page.keyboard.press("ArrowRight" if number else "Home")
        tab.page.locator(f'#lanes[aria-valuetext*="{text}"]').wait_for()
    assert tab.page.locator("#lanes").get_attribute("aria-valuetext").startswith("Anna")
    assert tab.complaints == []


def test_a_late_page_shows_them_as_one_person_too(serve: Any, open_page: Any) -> None:
    """Who has only a snapshot finds one card with the utterances of both, in order, and later ones join it."""
    served, script = serve(memory_bytes=1), told(9, speakers=VOICES)
    served.say([*script, MERGED])
    tab = open_page(served.url)
    tab.page.locator(".mood").nth(1).wait_for()
    assert tab.page.locator(".mood").count() == 2
    assert set(tab.page.locator("article .who").all_inner_texts()) <= {"speaker1", "speaker2"}
    later = msgspec.structs.replace(finals(script)[0], utterance_id="u99", speaker="speaker1", text="Something new.")
    served.say([later])
    tab.expect("article[data-state=final] .words", "Something new.")
    assert tab.page.locator(".mood").count() == 2
