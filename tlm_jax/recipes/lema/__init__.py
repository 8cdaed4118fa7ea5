"""LEMA: a model learns from corrected mistakes, its own and others' (An et al. 2023)."""
