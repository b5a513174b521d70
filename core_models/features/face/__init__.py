"""A picture's faces: landmarks, blendshapes, alignment, expression."""
