"""LIST, which no RFC gives a form: eight dialects, told apart by a listing's own first lines."""
