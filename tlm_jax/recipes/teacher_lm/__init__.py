"""TeacherLM (He et al. 2023): a teacher that writes explanations, and students of every format."""
