"""A recorded session as a whole: the conversation that its events add up to, and second opinions on it."""
