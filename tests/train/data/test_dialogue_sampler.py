"""Training dialogues: who is paired with whom, what is hidden, and whose prior rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED, MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.data.class_balance import class_counts, prior_offset
from train.data.clip_pairing import ClipBank, pair_for_validation
from train.data.corpus_parts import split_by_actor
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_sampler import DialogueSampler, SamplerOptions
from train.data.dialogue_tensors import TensorDialogue, collate_dialogues, modality_patterns, to_tensors

WIDTHS = {"text": 2, "voice": 2, "face": 2}


def words(count: int = 40) -> Corpus:
    """Dialogues of 3 to 7 lines by two people, half of them neutral."""
    dialogues = []
    for number in range(count):
        lines = tuple(
            Utterance(
                f"{number}/{row}",
                "AB"[row % 2],
                "words",
                "neutral" if row % 2 else MELD7.labels[(number + row) % 7],
            )
            for row in range(3 + number % 5)
        )
        dialogues.append(Dialogue(str(number), lines))
    return Corpus("meld", MELD7, tuple(dialogues))


def clips(name: str, groups: tuple[str, ...] | None) -> Corpus:
    """Two clips of each emotion, of each group."""
    made = []
    for group in groups or (None,):
        for label in MELD7.labels:
            for number in range(2):
                identity = f"{name} {group} {label} {number}"
                line = Utterance(identity, "x", label=label, audio=Path(identity))
                made.append(Dialogue(identity, (line,), group=group))
    return Corpus(name, MELD7, tuple(made))


def vectors(corpus: Corpus) -> dict[str, np.ndarray]:
    """A vector that tells each line's label and the group of its dialogue."""
    return {
        line.id: np.array([MELD7.index(line.label or ""), int(dialogue.group or 0)], np.float32)
        for dialogue in corpus.dialogues
        for line in dialogue.utterances
    }


def mixture(options: SamplerOptions | None = None, seed: int = 0, window: int = 8) -> DialogueSampler:
    text, voices, faces = words(), clips("ravdess", ("1", "2", "3")), clips("fer2013", None)
    features = {"text": vectors(text), "voice": vectors(voices), "face": vectors(faces)}
    return DialogueSampler(
        to_tensors(text, features, WIDTHS, 9),
        {name: to_tensors(corpus, features, WIDTHS, 9) for name, corpus in (("v", voices), ("f", faces))},
        [ClipBank("voice", voices, features), ClipBank("face", faces, features)],
        options or SamplerOptions(),
        window,
        9,
        seed,
    )


def dialogues_of(made: DialogueSampler, epoch: int = 0) -> list[TensorDialogue]:
    return [dialogue for batch in made.epoch(epoch, 4) for dialogue in batch]


@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_every_line_gets_a_clip_of_its_own_label(blend: float) -> None:
    """Whatever is put to a line, voice or face, blended or not, carries the line's label."""
    for dialogue in dialogues_of(mixture(SamplerOptions(blend=blend))):
        for column, modality in enumerate(MODALITIES):
            there = dialogue.present[:, column]
            labels = dialogue.features[modality][there, 0]
            torch.testing.assert_close(labels, dialogue.labels[there].float())


def test_speaker_keeps_one_actor_throughout_a_dialogue() -> None:
    """Within a dialogue one slot has one actor's voice; over dialogues every actor occurs."""
    made = mixture()
    actors = set()
    for source in made.dialogues:
        dialogue = made.banks[0].attach(source, np.random.default_rng(len(source)))
        for slot in dialogue.speakers.unique():
            (actor,) = set(dialogue.features["voice"][dialogue.speakers == slot, 1].tolist())
            actors.add(actor)
    assert len(actors) == 3


def test_every_pattern_of_modalities_occurs() -> None:
    """All seven patterns are seen, some held through a dialogue, some changing inside one; none is empty."""
    seen: Counter[tuple[bool, ...]] = Counter()
    constant = changing = 0
    for epoch in range(3):
        for dialogue in dialogues_of(mixture(SamplerOptions(concatenate=0, clips=0)), epoch):
            rows = {tuple(row) for row in dialogue.present.tolist()}
            constant, changing = constant + (len(rows) == 1), changing + (len(rows) > 1)
            seen.update(tuple(row) for row in dialogue.present.tolist())
    assert len(seen) == 7
    assert (False, False, False) not in seen
    assert constant > 20
    assert changing > 20


def test_prior_of_the_lines_is_left_alone() -> None:
    """An epoch holds every line once under its label, however dialogues are joined and whatever is hidden."""
    made = mixture(SamplerOptions(clips=0))
    epoch = dialogues_of(made)
    assert class_counts(epoch, 7).tolist() == class_counts(made.dialogues, 7).tolist()
    assert all(not dialogue.offset.any() for dialogue in epoch)
    assert max(len(dialogue) for dialogue in epoch) > 8


def test_clips_come_under_their_own_prior() -> None:
    """A single clip's offset turns a posterior under MELD's prior into one under its corpus's."""
    made = mixture(SamplerOptions(clips=1))
    singles = [dialogue for dialogue in dialogues_of(made) if dialogue.offset.any()]
    assert len(singles) == sum(len(corpus) for corpus in made.clips.values())
    prior = class_counts(made.dialogues, 7).double()
    moved = (prior / prior.sum()).log() + singles[0].offset.double()
    torch.testing.assert_close(moved.softmax(0), torch.full((7,), 1 / 7, dtype=torch.double))


def test_prior_offset_is_bayes_rule() -> None:
    """Likelihoods under one prior, moved by the offset, are the posterior under the other."""
    likelihood = torch.tensor([0.2, 0.5, 0.1])
    old, new = torch.tensor([7.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])
    posterior = (likelihood * old).log() + prior_offset(new, old)
    torch.testing.assert_close(posterior.softmax(0), likelihood * new / (likelihood * new).sum())


def test_slots_are_permuted_and_keep_people_apart() -> None:
    """In training two speakers have two slots, and over an epoch every slot is somebody's first."""
    first = set()
    for dialogue in dialogues_of(mixture(SamplerOptions(concatenate=0, clips=0))):
        assert len(dialogue.speakers.unique()) == 2
        first.add(int(dialogue.speakers[0]))
    assert len(first) > 5


def test_epoch_depends_on_seed_and_number_alone() -> None:
    """The same seed and number give the same batches; another number or seed gives others."""

    def told(made: DialogueSampler, epoch: int) -> list[object]:
        return [(d.id, d.present.tolist(), d.features["voice"].tolist()) for d in dialogues_of(made, epoch)]

    assert told(mixture(), 1) == told(mixture(), 1)
    assert told(mixture(), 1) != told(mixture(), 2)
    assert told(mixture(), 1) != told(mixture(seed=1), 1)


def test_test_actors_are_in_no_part() -> None:
    """Actors held out for testing are neither trained on nor validated on; validation actors are not trained on."""
    training, validation = split_by_actor(clips("ravdess", ("1", "2", "3", "4")), validation=(3,), held_out=(2, 4))
    assert {d.group for d in training.dialogues} == {"1"}
    assert {d.group for d in validation.dialogues} == {"3"}


def test_validation_shows_the_same_dialogues_under_every_pattern() -> None:
    """Every pattern has the same lines and pairs, and differs from the others in what is hidden alone."""
    made = mixture()
    shown = pair_for_validation(made.dialogues, made.banks, MODALITIES, seed=0)
    assert list(shown) == ["+".join(pattern) for pattern in modality_patterns(MODALITIES)]
    for one, other in zip(shown["voice"], shown["text+voice+face"], strict=True):
        assert torch.equal(one.features["voice"], other.features["voice"])
        assert one.present.tolist() == [[False, True, False]] * len(one)
        assert other.present.all()


def test_speakers_are_slots_by_first_appearance() -> None:
    """The first to speak has slot 0, and whoever comes after the slots are used up shares the last."""
    lines = tuple(Utterance(str(n), name, "words", "joy") for n, name in enumerate("CABCDE"))
    corpus = Corpus("x", MELD7, (Dialogue("x", lines),))
    (dialogue,) = to_tensors(corpus, {"text": vectors(corpus)}, {"text": 2}, slots=3)
    assert dialogue.speakers.tolist() == [0, 1, 2, 0, 2, 2]


def test_line_without_label_stays_as_context() -> None:
    """A line whose label is not of the set keeps its place and its words, and is ignored by the loss."""
    corpus = words(1)
    lines = (replace(corpus.dialogues[0].utterances[0], label=None), *corpus.dialogues[0].utterances[1:])
    features = {"text": vectors(corpus)}
    unlabelled = replace(corpus, dialogues=(replace(corpus.dialogues[0], utterances=lines),))
    (dialogue,) = to_tensors(unlabelled, features, {"text": 2}, slots=9)
    assert dialogue.labels[0] == IGNORED
    assert dialogue.present[0, 0]


def test_collation_pads_behind_the_shorter() -> None:
    """A batch keeps each dialogue as it is and marks what lies behind its end."""
    made = mixture()
    short, long = sorted(made.dialogues, key=len)[:: len(made.dialogues) - 1]
    batch = collate_dialogues([short, long])
    assert batch.padding.sum(dim=1).tolist() == [len(long) - len(short), 0]
    assert torch.equal(batch.features["text"][0, : len(short)], short.features["text"])
    assert (batch.labels[0, len(short) :] == IGNORED).all()
    assert not batch.present[0, len(short) :].any()


def test_mismatch_takes_labels_at_random() -> None:
    """With `mismatch` 1 a line's clip is of any label; without it, always of its own."""
    voices = clips("ravdess", ("01",))
    found = {"voice": vectors(voices)}
    dialogue = to_tensors(words(), {"text": vectors(words())}, WIDTHS, 9)[4]
    own = ClipBank("voice", voices, found).attach(dialogue, np.random.default_rng(0))
    assert own.features["voice"][:, 0].tolist() == dialogue.labels.tolist()
    bank = ClipBank("voice", voices, found, 1.0)
    drawn = [bank.attach(dialogue, np.random.default_rng(seed)).features["voice"][:, 0] for seed in range(20)]
    assert set(torch.cat(drawn).tolist()) == set(range(7))


def test_long_dialogues_are_cut_anew_in_each_pass() -> None:
    """With `crop`, no dialogue is longer, every utterance is seen once a pass, and pieces begin elsewhere each time."""
    made = mixture(SamplerOptions(crop=4, concatenate=0, clips=0))
    first, second = dialogues_of(made, 0), dialogues_of(made, 1)
    assert max(map(len, first)) == 4
    assert class_counts(first, 7).tolist() == class_counts(made.dialogues, 7).tolist()
    assert sum(map(len, first)) == sum(map(len, made.dialogues))
    cuts = [sorted((d.id, len(d)) for d in epoch) for epoch in (first, second)]
    assert cuts[0] != cuts[1]


def test_corpus_ids_are_left_alone_in_training() -> None:
    """Without slots to permute among, speakers stay who they are."""
    made = mixture(SamplerOptions(concatenate=0, clips=0))
    made.slots = 0
    assert all(set(dialogue.speakers.tolist()) <= {0, 1} for dialogue in dialogues_of(made))


def turns() -> Corpus:
    """Three turns: the first ends last, the second has no label, and it is F who begins."""
    lines = (
        Utterance("a", "M", "words", "joy", start_ms=0, end_ms=9000),
        Utterance("b", "F", "words", None, start_ms=1000, end_ms=2000),
        Utterance("c", "M", "words", "anger", start_ms=3000, end_ms=4000),
    )
    return Corpus("x", MELD7, (Dialogue("x", lines),))


def read(reading: DialogueLayout) -> TensorDialogue:
    features = {"text": {name: np.full(2, ord(name), np.float32) for name in "abc"}}
    (dialogue,) = to_tensors(reading.arrange_corpus(turns()), features, {"text": 2}, 9, reading)
    return dialogue


def test_turns_stand_by_their_end_or_as_the_corpus_has_them() -> None:
    """By end, a long turn comes after those that it overlaps; in the corpus's order it stays first."""
    for order, expected in (("end", "bca"), ("corpus", "abc")):
        told = read(DialogueLayout(order=order)).features["text"][:, 0]
        assert "".join(chr(int(code)) for code in told) == expected


def test_unlabelled_turns_are_context_or_dropped() -> None:
    """A turn without a label stays, uncounted, or is as if it had never been said."""
    assert read(DialogueLayout()).labels.tolist() == [IGNORED, MELD7.index("anger"), MELD7.index("joy")]
    assert read(DialogueLayout(unlabelled="drop")).labels.tolist() == [MELD7.index("anger"), MELD7.index("joy")]


def test_speakers_are_slots_or_the_corpus_ids() -> None:
    """By slot the first to end a turn is 0; by id it is whom the corpus names first, and strangers share the last."""
    assert read(DialogueLayout()).speakers.tolist() == [0, 1, 1]
    assert read(DialogueLayout(speakers="corpus", names=("F", "M"))).speakers.tolist() == [0, 1, 1]
    assert read(DialogueLayout(speakers="corpus", names=("M", "F"))).speakers.tolist() == [1, 0, 0]
    assert read(DialogueLayout(speakers="corpus", names=("F",))).speakers.tolist() == [0, 8, 8]


def test_reading_is_that_of_the_record() -> None:
    """What a checkpoint records is how it is evaluated; the first checkpoints were trained in the corpus's order."""
    reading = DialogueLayout("corpus", "corpus", "drop", ("F", "M"))
    assert DialogueLayout.of({"reading": asdict(reading)}) == reading
    assert DialogueLayout.of({}).order == "corpus"


def test_plain_words_stand_only_beside_a_voice_or_a_face() -> None:
    """Of utterances that keep a voice or a face, a share has a neutral line's words; alone, words are their own."""
    text, neutral = MODALITIES.index("text"), MELD7.index("neutral")
    beside, plain = 0, 0
    for epoch in range(6):
        for dialogue in dialogues_of(mixture(SamplerOptions(plain_words=0.5, clips=0.0)), epoch):
            other = dialogue.present.any(dim=1) & (dialogue.present.sum(dim=1) > dialogue.present[:, text].int())
            said = dialogue.features["text"][:, 0].long()
            for row in range(len(dialogue)):
                if not dialogue.present[row, text] or dialogue.labels[row] in (IGNORED, neutral):
                    continue
                if other[row]:
                    assert int(said[row]) in (int(dialogue.labels[row]), neutral)
                    beside, plain = beside + 1, plain + int(said[row] == neutral)
                else:
                    assert said[row] == dialogue.labels[row]
    assert 0.4 < plain / beside < 0.6
