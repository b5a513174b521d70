"""One session: its workers, their queues and the order in which utterances enter the dialogue."""
