"""What model cards say of models, corpora, limits and the law."""

from __future__ import annotations

MODELS = {
    "sdt": "SDT (Ma et al., 2023)",
    "cmath": "CMATH (Zhu et al., 2024)",
}

# A checkpoint may be used no more freely than the strictest of the corpora that it learned from, so each is named.
LICENCES = {
    "meld": (
        "MELD (Poria et al., 2019): words, speakers and labels of dialogues from the television series Friends. The "
        "annotation is published under GPL-3.0; the dialogues belong to the owners of the series."
    ),
    "emorynlp": (
        "EmoryNLP (Zahiri and Choi, 2018): words, speakers and labels of scenes from the television series Friends, "
        "annotated for research; the dialogues belong to the owners of the series."
    ),
    "iemocap": (
        "IEMOCAP (Busso et al., 2008): dialogues of ten actors in five sessions, scripted and improvised. Given by the "
        "University of Southern California for research under an agreement of its own."
    ),
    "ravdess": (
        "RAVDESS (Livingstone and Russo, 2018): speech of professional actors, two sentences. CC BY-NC-SA 4.0: "
        "non-commercial."
    ),
    "emodb": "EmoDB (Burkhardt et al., 2005): ten German sentences, acted by ten speakers. Free for research.",
    "fer2013": "FER-2013 (Goodfellow et al., 2013): grey 48x48 faces that were found on the web. For research.",
    "corrections": (
        "Corrected calls: what people said of emotions in calls of their own. It belongs to those who spoke in them."
    ),
    "goemotions": "GoEmotions (Demszky et al., 2020): comments on Reddit, by way of the text adapter. CC BY 4.0.",
    "xed": "XED (Öhman et al., 2020): lines of film subtitles, by way of the text adapter. CC BY 4.0.",
    "dailydialog": (
        "DailyDialog (Li et al., 2017): dialogues for learners of English, by way of the text adapter. "
        "CC BY-NC-SA 4.0: non-commercial."
    ),
    "isear": (
        "ISEAR (Scherer and Wallbott, 1994): people's reports of what they felt, by way of the text adapter. "
        "CC BY-NC-SA 3.0: non-commercial."
    ),
    "brighter": (
        "BRIGHTER (Muhammad et al., 2025): posts, by way of the text adapter. CC BY 4.0 by its card, for research "
        "alone by the rules of the task that it was made for."
    ),
    "mspimprov": (
        "MSP-IMPROV (Busso et al., 2017): improvised talk of pairs of actors, its words alone, by way of the text "
        "adapter. Given by the University of Texas at Dallas for academic research."
    ),
}

PAIRED = (
    "No corpus here has words, voice and face of the same utterance. Voices and faces were put to the dialogues' "
    "lines at random, anew in each pass: {how}. Modalities were hidden at random, so that the gates learn that each "
    "carries emotion and that any may be missing. Scores on such pairs are a sanity check and no accuracy: how far "
    "words, voice and face agree in life was not learned. The prior in every pattern is that of the dialogues."
)

STILLS = (
    "351 of the 28,709 stills of FER-2013's training part stand in its validation part too. They were not taken out of "
    "what the dialogue model heard, so its scores on faces may be up to a point and a half too good; the expression "
    "network under it never saw them."
)

LIMITS_OF = {
    "meld": (
        "Fear and disgust are rare in MELD and often missed; see their F1 before acting on them. Words are those of "
        "scripted American television comedy."
    ),
    "emorynlp": "EmoryNLP's words are those of scripted American television comedy, too.",
    "iemocap": (
        "IEMOCAP's people are ten actors in a studio; its scripted dialogues repeat their lines across sessions, so "
        "scores on them flatter: see improvised ones apart."
    ),
    "ravdess": "Voices are acted, in two sentences, in a studio.",
    "emodb": "EmoDB's voices are acted, in ten sentences, in a studio, and German.",
    "fer2013": "Faces are posed or picked stills, seen through a landmarker that finds no face in some of them.",
}

LIMITS = (
    "Everyday speech, other languages, accents, ages, rooms and microphones were not measured; expect less.",
    "An emotion shown is not an emotion felt. The output is a guess about expression.",
    "Confidence was calibrated on the dialogues that chose the pass, with any clips that were put to them, and nowhere "
    "else.",
)

FORBIDDEN = """## What must not be done with it

- Inferring emotions of people at work or in education is forbidden in the European Union, but for medical or safety
  reasons (Regulation (EU) 2024/1689, Art. 5(1)(f)). People who are exposed to it must be told (Art. 50(3)).
- No decision about a person may rest on it: hiring, credit, insurance, policing, border control, diagnosis.
- No commercial use of the weights (see the licences above)."""
