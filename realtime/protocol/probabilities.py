"""Probabilities as the wire has them: four decimals that sum to 1, and the check that they do."""

from __future__ import annotations

import msgspec

from realtime.protocol import events

# Four decimals: a hundredth of a percent, finer than any calibration, and half the bytes of a float printed in full.
_DIGITS = 10_000


def round_probabilities(event: events.Logged) -> events.Logged:
    """The event with the numbers of the wire: four decimals, and every distribution sums to 1 as printed."""
    if not isinstance(event, events.EmotionFinal | events.EmotionProvisional):
        return event
    probabilities = _largest_remainder(event.probabilities)
    modalities = {
        name: msgspec.structs.replace(
            one,
            gate=None if one.gate is None else round(one.gate, 4),
            probabilities=None if one.probabilities is None else _largest_remainder(one.probabilities),
        )
        for name, one in event.modalities.items()
    }
    event = msgspec.structs.replace(
        event, confidence=probabilities[event.emotion], probabilities=probabilities, modalities=modalities
    )
    if isinstance(event, events.EmotionFinal) and (second := event.rescored) is not None:
        shares = _largest_remainder(second.probabilities)
        second = msgspec.structs.replace(second, confidence=shares[second.emotion], probabilities=shares)
        event = msgspec.structs.replace(event, rescored=second)
    return event


def _largest_remainder(probabilities: dict[str, float]) -> dict[str, float]:
    """Ten thousandths by largest remainder, which keeps their order: the most probable stays so."""
    total = sum(probabilities.values())
    if abs(total - 1) > 1e-3 or min(probabilities.values()) < 0:
        # No distribution: rounding must not hide that.
        return probabilities
    # Rounding each by itself would leave sums of 0.9998 or 1.0003, which clients that check would refuse.
    exact = [value / total * _DIGITS for value in probabilities.values()]
    whole = [round(value) for value in exact]
    # At most one step for each label: rounding is off by half a ten thousandth each.
    while excess := sum(whole) - _DIGITS:
        errors = [share - value for share, value in zip(whole, exact, strict=True)]
        if excess > 0:
            # Of equals the last, so that the first stays.
            whole[len(errors) - 1 - errors[::-1].index(max(errors))] -= 1
        else:
            whole[errors.index(min(errors))] += 1
    return {label: count / _DIGITS for label, count in zip(probabilities, whole, strict=True)}


def validate(message: events.Message) -> None:
    """ValueError where numbers contradict each other; types are the schema's business. Too slow for live."""
    if not isinstance(message, events.EmotionFinal | events.EmotionProvisional):
        return
    opinions = {"probabilities": message.probabilities}
    opinions |= {m: o.probabilities for m, o in message.modalities.items() if o.probabilities is not None}
    for name, probabilities in opinions.items():
        if abs(sum(probabilities.values()) - 1) > 1e-3 or min(probabilities.values()) < 0:
            raise ValueError(f"{message.utterance_id}: {name} is no distribution: {probabilities}")
    if message.confidence != message.probabilities[message.emotion]:
        raise ValueError(f"{message.utterance_id}: confidence is not that of {message.emotion}")
    if message.confidence < max(message.probabilities.values()):
        raise ValueError(f"{message.utterance_id}: {message.emotion} is not the most probable emotion")
    if not 0 <= message.start_ms < message.end_ms:
        raise ValueError(f"{message.utterance_id}: ends at {message.end_ms}, starts at {message.start_ms}")
