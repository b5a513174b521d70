"""Which stretches of speech are one person's: constrained clustering of their speaker vectors, anew with each (no I/O).

Average linkage by cosine, as offline diarization does it, over the stretches that are remembered, moved by what the
segmentation network said: two stretches that it took for one local speaker are drawn together, two that it told apart
in one window are held apart. So a stretch's person is the best guess of now, and a later look may change it; people
keep their name through it, since most of what bears it stays together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from core_models.errors import UsageError
from core_models.features.audio.campplus import SpeakerVector
from realtime.sources.media import SAMPLE_RATE

Vector = NDArray[np.float32]

# Who speaks in a source with several people.
UNKNOWN_SPEAKER = "anybody"

# Speech of one person alone that founds or shapes a person: below it, the distances of one person (0.40 at the
# median, 0.53 at the 90th percentile) reach into those of two (0.57 at the 10th).
FOUNDING_S = 1.5
# Cosine distance at which clusters are cut. Over twelve laid-out talks 0.5 makes two of one person in more of them,
# 0.6 one of two.
SAME_PERSON = 0.55
# Mean distance from which a shorter stretch is nobody's who is known: 0.60 is the median of one person's stretches
# under a second, 0.74 the 10th percentile of two people's.
NOBODY = 0.65
# Distance that the network's unanimous word is worth. Its word for one person is right in nine of ten windows, but
# its word for two in half of them, where both are of one sex; 0.3 was no better.
_EVIDENCE = 0.15
# Windows that are added to its count, so that one window's word weighs a third.
_DOUBT = 2
# Distance by which one enrolled person must be nearer than any other, or the name is refused.
_ENROLLED_LEAD = 0.1
# Stretches that are remembered: a clustering of so many takes 3 ms.
_MOST = 120
# Speech of a turn that may found a person when its final needs a name.
_LEAST_TO_NAME_S = 0.6


@dataclass
class _Stretch:
    number: int
    vector: Vector
    seconds: float
    person: int | None = None


@dataclass
class _Enrolled:
    person: int
    vector: Vector


class SpeakerClustering:
    """The people of one conversation. `vector` tells one voice from another; `people` is their number, where given.

    With `people` given no further person is ever made. Names are `speaker1`, `speaker2`, ... in order of appearance
    (`prefix` instead of `speaker`, and no number for the first if not `numbered`), or those enrolled.
    """

    def __init__(
        self,
        vector: SpeakerVector | None = None,
        *,
        people: int | None = None,
        prefix: str = "speaker",
        numbered: bool = True,
    ) -> None:
        self.vector = vector
        self.latest: str
        """Who spoke last: the best guess while somebody begins to."""
        self._people = people
        self._prefix, self._numbered = prefix, numbered
        self._stretches: dict[int, _Stretch] = {}
        self._evidence: dict[tuple[int, int], list[int]] = {}  # windows that took two for two, and for one
        self._enrolled: list[_Enrolled] = []
        self._names: dict[int, str] = {}
        self._count = 0  # stretches
        self._merged: list[tuple[str, str]] = []
        self._told: set[str] = set()  # names that were given to turns
        self.latest = self._free_name()

    # -- people who are known beforehand

    def enrol(self, name: str, vector: Vector) -> None:
        """Know a person by the vector of a sample of speech; UsageError where the name is taken."""
        if name in self._names.values():
            raise UsageError(f"Two samples are called {name}: give one sample a person with --enrol.")
        person = self._new_person(name)
        self._enrolled.append(_Enrolled(person, _unit(vector)))

    def hear_sample(self, name: str, samples: NDArray[np.float32]) -> None:
        """Know a person by samples, float32 [n] at 16 kHz; UsageError where they are too few."""
        if self.vector is None or len(samples) < FOUNDING_S * SAMPLE_RATE:
            raise UsageError(f"The sample of {name} is too short: give some seconds of that voice alone.")
        self.enrol(name, self.vector(samples))

    def prints(self) -> dict[str, Vector]:
        """Everybody's vector by name, enrolled people who were not heard among them."""
        known = {self._names[one.person]: one.vector for one in self._enrolled}
        return known | {self._names[person]: vector for person, vector in self._centroids().items()}

    # -- what is heard

    def new_stretch(self) -> int:
        """A number for a stretch of speech that begins."""
        self._count += 1
        return self._count

    def hear(self, stretch: int, vector: Vector, seconds: float) -> None:
        """A stretch has so many seconds of one person alone by now, and this vector; the people are found anew."""
        known = self._stretches.get(stretch)
        self._stretches[stretch] = _Stretch(stretch, _unit(vector), seconds, known.person if known else None)
        if len(self._stretches) > _MOST:
            # Of whoever has most, the oldest: somebody who was silent for an hour must be known again.
            most = Counter(one.person for one in self._stretches.values()).most_common(1)[0][0]
            self.forget(next(number for number, one in self._stretches.items() if one.person == most))
        self._cluster()

    def compare(self, one: int, other: int, *, same: bool) -> None:
        """One more window in which the network took two stretches for one local speaker, or for two."""
        self._evidence.setdefault((min(one, other), max(one, other)), [0, 0])[same] += 1

    def forget(self, stretch: int) -> None:
        """Remember a stretch no longer."""
        self._stretches.pop(stretch, None)
        self._evidence = {pair: counts for pair, counts in self._evidence.items() if stretch not in pair}

    def person_of(self, stretch: int) -> int | None:
        """Whose stretch it is as far as is known now."""
        known = self._stretches.get(stretch)
        return known.person if known is not None else None

    def name_turn(self, stretches: list[int]) -> str:
        """Whose turn it is that consists of these stretches: a final needs a name, so the nearest where none is sure.

        A voice that is nobody's who is known becomes a further person, unless all are known that there are.
        """
        heard = [self._stretches[number] for number in stretches if number in self._stretches]
        votes: Counter[int] = Counter()
        for one in heard:
            if one.person is not None:
                votes[one.person] += round(1000 * one.seconds)
        if votes:
            self.latest = self._names[votes.most_common(1)[0][0]]
        elif heard:
            longest = max(heard, key=lambda one: one.seconds)
            if longest.seconds >= _LEAST_TO_NAME_S and not self._complete:
                longest.person = self._new_person()
                self.latest = self._names[longest.person]
            else:
                near = self._nearest(longest)
                self.latest = self._names[near[0]] if near is not None else self.latest
        self._told.add(self.latest)
        return self.latest

    def take_merged(self) -> list[tuple[str, str]]:
        """Names of people who proved to be one since the last call, as (gone, kept)."""
        merged, self._merged = self._merged, []
        return merged

    # -- clustering

    @property
    def _complete(self) -> bool:
        return self._people is not None and len(self._present()) >= self._people

    def _present(self) -> set[int]:
        return {one.person for one in self._stretches.values() if one.person is not None}

    def _cluster(self) -> None:
        founding = [one for one in self._stretches.values() if one.seconds >= FOUNDING_S]
        if not founding:
            return
        before = {number: one.person for number, one in self._stretches.items()}
        clusters = np.ones(1, int)
        if len(founding) > 1:
            distance = self._distances(founding, founding)
            np.fill_diagonal(distance, 0)
            tree = linkage(squareform(distance, checks=False), "average")
            clusters = fcluster(tree, SAME_PERSON, "distance")
            if self._people is not None and clusters.max() > self._people:
                clusters = fcluster(tree, self._people, "maxclust")
        self._follow_names(founding, [int(cluster) for cluster in clusters])
        for one in self._stretches.values():
            if one.seconds < FOUNDING_S:
                near = self._nearest(one)
                # A short turn that somebody was named after is all that is known of them so far.
                alone = one.person is not None and sum(o.person == one.person for o in self._stretches.values()) == 1
                if near is not None and (near[1] < NOBODY or (self._complete and not alone)):
                    one.person = near[0]
        self._tell_merged(before)

    def _distances(self, ones: list[_Stretch], others: list[_Stretch]) -> NDArray[np.float64]:
        """Cosine distance, [ones, others], moved by the network's word; at least 0."""
        vectors = np.stack([one.vector for one in ones]), np.stack([other.vector for other in others])
        distance = 1.0 - vectors[0].astype(np.float64) @ vectors[1].T
        for i, one in enumerate(ones):
            for j, other in enumerate(others):
                pair = min(one.number, other.number), max(one.number, other.number)
                if (counts := self._evidence.get(pair)) is not None:
                    distance[i, j] += _EVIDENCE * (counts[0] - counts[1]) / (sum(counts) + _DOUBT)
        clipped: NDArray[np.float64] = np.maximum(distance, 0)
        return clipped

    def _nearest(self, one: _Stretch) -> tuple[int, float] | None:
        """The nearest person and the distance, by mean over their stretches."""
        others = [o for o in self._stretches.values() if o.person is not None and o is not one]
        if not others:
            return None
        distance = self._distances([one], others)[0]
        far = {
            person: float(np.average(distance[mask], weights=[o.seconds for o in others if o.person == person]))
            for person in {o.person for o in others if o.person is not None}
            if (mask := np.array([o.person == person for o in others])).any()
        }
        return min(far.items(), key=lambda item: item[1])

    def _follow_names(self, founding: list[_Stretch], clusters: list[int]) -> None:
        """Give every cluster a person: an enrolled one, who most of it was before, somebody near, or a new one."""
        claims: Counter[tuple[int, int]] = Counter()
        for one, cluster in zip(founding, clusters, strict=True):
            if one.person is not None:
                claims[cluster, one.person] += round(1000 * one.seconds)
        named = self._recognise(founding, clusters)
        enrolled = {one.person for one in self._enrolled}
        for (cluster, person), _ in claims.most_common():
            if cluster not in named and person not in named.values() and person not in enrolled:
                named[cluster] = person
        for one, cluster in zip(founding, clusters, strict=True):
            if cluster not in named:
                members = [o for o, c in zip(founding, clusters, strict=True) if c == cluster]
                named[cluster] = self._adopt(members, {*named.values(), *enrolled})
            one.person = named[cluster]

    def _adopt(self, members: list[_Stretch], taken: set[int]) -> int:
        """Whoever was named after a short turn and is near to these, or somebody new."""
        for one in self._stretches.values():
            if one.seconds < FOUNDING_S and one.person is not None and one.person not in taken:
                distance = self._distances([one], members).mean()
                if distance < NOBODY or self._complete:
                    return one.person
        return self._new_person()

    def _tell_merged(self, before: dict[int, int | None]) -> None:
        """Names that were given and that nobody bears any more go to whoever has what they had.

        Not where the number of people is given: there the name is still to be somebody's.
        """
        if self._people is not None:
            return
        present = self._present()
        for person in {p for p in before.values() if p is not None and p not in present}:
            now: Counter[int] = Counter()
            for number, was in before.items():
                is_now = self._stretches[number].person
                if was == person and is_now is not None:
                    now[is_now] += 1
            if now and self._names[person] in self._told:
                kept = self._names[now.most_common(1)[0][0]]
                self._merged.append((self._names[person], kept))
                self._told.discard(self._names[person])
                self.latest = kept if self.latest == self._names[person] else self.latest

    def _recognise(self, founding: list[_Stretch], clusters: list[int]) -> dict[int, int]:
        """Clusters that are enrolled people; the name is refused where two enrolled people are equally near."""
        found: dict[int, int] = {}
        if not self._enrolled:
            return found
        vectors = np.stack([one.vector for one in self._enrolled])
        for cluster in dict.fromkeys(clusters):
            members = [one for one, c in zip(founding, clusters, strict=True) if c == cluster]
            centroid = np.average([one.vector for one in members], axis=0, weights=[one.seconds for one in members])
            distances = 1.0 - vectors @ _unit(centroid)
            order = np.argsort(distances)
            lead = distances[order[1]] - distances[order[0]] if len(order) > 1 else np.inf
            if distances[order[0]] < SAME_PERSON and lead >= _ENROLLED_LEAD:
                found[cluster] = self._enrolled[int(order[0])].person
        return found

    def _centroids(self) -> dict[int, Vector]:
        return {
            person: _unit(
                np.sum([one.vector * one.seconds for one in self._stretches.values() if one.person == person], axis=0)
            )
            for person in sorted(self._present())
        }

    def _new_person(self, name: str | None = None) -> int:
        if name is None and self._people is not None and len(self._names) >= self._people:
            # As many were named as there are: one of them is heard no more by this name.
            present = self._present()
            return next((person for person in self._names if person not in present), 0)
        person = len(self._names)
        self._names[person] = name or self._free_name()
        return person

    def _free_name(self) -> str:
        count = 1
        name = f"{self._prefix}1" if self._numbered else self._prefix
        while name in self._names.values():
            count += 1
            name = f"{self._prefix}{count}"
        return name


def _unit(vector: NDArray[np.floating]) -> Vector:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
