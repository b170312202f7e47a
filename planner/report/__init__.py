"""A plan explained: the HTML report, and one screen of the terminal."""
