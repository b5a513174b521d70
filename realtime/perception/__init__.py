"""From an utterance to its features: words, voice, face."""
