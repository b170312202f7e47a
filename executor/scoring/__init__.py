"""How good texts are: under models, beside references, and to a judge."""
