"""Systems whose stages start on partial input: what they publish beside what is forecast."""
