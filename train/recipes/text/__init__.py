"""`python -m train text`: a sentence encoder fine-tuned on emotion by LoRA."""
