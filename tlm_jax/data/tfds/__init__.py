"""Data sets prepared by TensorFlow Datasets."""
