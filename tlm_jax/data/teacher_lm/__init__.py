"""TeacherLM's texts (He et al. 2023): lines of questions, elicitation, and students' sequences."""
