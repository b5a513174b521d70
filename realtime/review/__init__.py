"""A recorded session as a whole: the conversation that its events tell, and second opinions on it."""
