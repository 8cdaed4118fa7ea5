"""Answer extraction and grading, and evaluation of a model on tasks."""
