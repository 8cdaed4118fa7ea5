"""Teacher tokens against student tokens, and teacher distributions over the student's vocabulary.

`dtw` and `offsets` align, `mapping` turns one row's distributions, `rows` does all of it for the
rows of a cache, `published` is the published target rule on texts.
"""
