"""Pages, charts and heat maps: what a person looks at."""
