"""Models and accelerators that nobody measured here: shapes, datasheets, rooflines."""
