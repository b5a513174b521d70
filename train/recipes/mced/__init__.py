"""`python -m train mced`: MCED's stages: teacher, distillation, fine-tuning."""
