"""Partitions: nothing that must be apart is together, and what is together is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core_models.errors import UsageError
from core_models.labels import IEMOCAP4, MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.splits import make_folds, person_of, validation_split


def iemocap(sessions: int = 5) -> Corpus:
    """Two dialogues a session, both people in each, one turn without label."""
    dialogues = []
    for session in range(1, sessions + 1):
        for number in (1, 2):
            name = f"Ses{session:02}F_impro{number:02}"
            turns = [("F", "sad"), ("M", "angry"), ("F", None), ("M", "neutral"), ("F", "happy")]
            lines = tuple(Utterance(f"{name}_{who}{i:03}", who, "Hm.", label) for i, (who, label) in enumerate(turns))
            dialogues.append(Dialogue(name, lines, str(session), "improvised"))
    return Corpus("iemocap", IEMOCAP4, tuple(dialogues))


def clips(actors: int = 10, each: int = 4) -> Corpus:
    dialogues = tuple(
        Dialogue(f"{actor}-{take}", (Utterance(f"{actor}-{take}", f"actor {actor}", None, "joy"),), f"{actor:02}")
        for actor in range(actors)
        for take in range(each)
    )
    return Corpus("ravdess", MELD7, dialogues)


def people(corpus: Corpus) -> set[str]:
    return {person_of(corpus, d, line) for d in corpus.dialogues for line in d.utterances}


def labelled(corpus: Corpus) -> set[str]:
    return {line.id for line in corpus.utterances() if line.label is not None}


def test_standard_split_of_iemocap_is_the_papers() -> None:
    """Sessions 1 to 4 are trained on, session 5 is tested on, and no speaker is in both."""
    (fold,) = make_folds(iemocap(), "standard")
    assert {d.group for d in fold.train.dialogues} == set("1234")
    assert {d.group for d in fold.test.dialogues} == {"5"}
    assert (people(fold.train) & people(fold.test), fold.stamp) == (set(), "")
    with pytest.raises(UsageError, match="all five"):
        make_folds(iemocap(4), "standard")
    with pytest.raises(UsageError, match="--split"):
        make_folds(clips(), "standard")


@pytest.mark.parametrize(("corpus", "count"), [(iemocap(), 5), (clips(), 10)])
def test_one_session_or_actor_is_left_out_at_a_time(corpus: Corpus, count: int) -> None:
    """Each group is the test once, all others its training, and their speakers are apart."""
    made = make_folds(corpus, "loso")
    assert len(made) == count
    assert set().union(*(labelled(fold.test) for fold in made)) == labelled(corpus)
    for fold in made:
        assert labelled(fold.train) | labelled(fold.test) == labelled(corpus)
        assert not people(fold.train) & people(fold.test)
        assert fold.stamp == ""


def test_training_hears_nothing_of_the_person_left_out() -> None:
    """A person's lines are in no training dialogue; in the test their partner is context without label."""
    made = make_folds(iemocap(), "lopo")
    assert len(made) == 10
    for fold in made:
        one = fold.name.removeprefix("without ")
        assert one not in people(fold.train)
        assert {person_of(fold.test, d, x) for d in fold.test.dialogues for x in d.utterances if x.label} == {one}
        assert [len(d.utterances) for d in fold.test.dialogues] == [5, 5]
        assert "other side" in fold.stamp
    assert all(fold.stamp == "" for fold in make_folds(clips(), "lopo"))


def test_random_folds_say_that_they_share_dialogues() -> None:
    """Every labelled line is tested once and never trained on in that fold; shared dialogues are stamped."""
    corpus = iemocap()
    made = make_folds(corpus, "random", count=10, seed=1)
    assert sorted(x for fold in made for x in labelled(fold.test)) == sorted(labelled(corpus))
    for fold in made:
        assert not labelled(fold.train) & labelled(fold.test)
        assert "dialogues are shared" in fold.stamp
    assert made == make_folds(corpus, "random", count=10, seed=1)
    assert made != make_folds(corpus, "random", count=10, seed=2)
    assert "speakers of the test are in training" in make_folds(clips(), "random", count=2)[0].stamp
    with pytest.raises(UsageError, match="40 labelled utterances"):
        make_folds(corpus, "random", count=41)


def test_held_out_dialogues_say_whose_voices_training_knows() -> None:
    """A random fifth of dialogues is whole dialogues, and the stamp counts the speakers that both parts have."""
    (fold,) = make_folds(iemocap(), "holdout", share=0.2, seed=0)
    assert len(fold.test.dialogues) == 2
    assert not {d.id for d in fold.train.dialogues} & {d.id for d in fold.test.dialogues}
    shared = people(fold.train) & people(fold.test)
    assert fold.stamp == (f"{len(shared)} of {len(people(fold.test))} speakers of the test are in training")


def test_validation_keeps_speakers_apart_where_there_are_any() -> None:
    """Whole sessions or actors are held out of training; where everyone meets everyone, whole dialogues are."""
    for corpus, held in ((iemocap(), 10), (clips(), 4)):
        training, validation = validation_split(corpus, 0.1, seed=3)
        assert not people(training) & people(validation)
        assert len(list(validation.utterances())) == held
        assert validation_split(corpus, 0.1, seed=3) == (training, validation)
    show = replace(
        clips(),
        dialogues=tuple(replace(d, utterances=(*d.utterances, Utterance("x", "Joey"))) for d in clips().dialogues),
    )
    training, validation = validation_split(show, 0.25, seed=3)
    assert (len(training.dialogues), len(validation.dialogues)) == (30, 10)
