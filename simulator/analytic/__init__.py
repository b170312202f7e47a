"""Requests without events: closed forms, sketches, lower bounds."""
