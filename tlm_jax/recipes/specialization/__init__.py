"""Flan-T5 specialization: students learn a teacher's solutions in four formats (Fu et al. 2023)."""
