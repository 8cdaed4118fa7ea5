"""Teacher forcing: log-probabilities of given texts, and a teacher's distributions over them."""
