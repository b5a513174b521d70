"""The demonstration conversation: a written scene, spoken by two synthetic voices, with a face muxed to it.

`conversation.ogg` has one speaker a channel (anna left, ben right); `conversation.json` holds what is said and
when. The words are this project's; the voices are hibari-tts "heart" (Apache-2.0) and Piper "joe" (CC0). The
face is a silent stock clip of another person (Pexels licence), fetched at set-up and cut to follow the scene,
so face and voice do not belong together: it shows that the pipeline sees, not how right it is.
"""
