"""Sound to frames or to a speaker embedding: Whisper, HuBERT, filter banks, prosody, openSMILE, CAM++, ECAPA."""
