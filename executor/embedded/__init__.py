"""What the embedded models were trained for: the tasks, their samples, the training."""
