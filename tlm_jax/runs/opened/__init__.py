"""A model that has been opened to be run: how it reads, its window, its parameters on a mesh."""
