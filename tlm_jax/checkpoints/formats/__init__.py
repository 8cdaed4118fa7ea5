"""Files of other programs and our own, opened as lazy arrays and written part by part."""
