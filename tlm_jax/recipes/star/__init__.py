"""STaR: a model that teaches itself from questions and answers (Zelikman et al. 2022)."""
