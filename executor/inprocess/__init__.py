"""Models in this process: loaded, run on devices that they share, in batches or in turn."""
