"""One replica as vLLM v1 runs it, compiled: scheduling, KV blocks, the cost of iterations."""
