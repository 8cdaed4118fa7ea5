"""Records, formats, vocabularies, packing and the input pipeline."""
