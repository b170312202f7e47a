"""Engines behind OpenAI-compatible servers: connections, probes, streams, vocabularies."""
