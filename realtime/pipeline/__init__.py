"""One session: its workers, their queues and the order in which utterances enter the dialogue (README.md).

Contract 1: a checkpoint runs only on the features that it was trained on; `models` loads the extractors that its
specs name and refuses any other in one sentence that names both.

Contract 6: time is media time, integer milliseconds from the session's start on a monotonic clock, and utterances
enter the dialogue in commit order, the order of their endpoint decisions, however long each took to transcribe.

Contract 7: every queue is bounded; what is shed is provisional results and pictures first, final results never, and
every loss is counted and announced.
"""
