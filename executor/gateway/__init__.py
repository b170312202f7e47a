"""An OpenAI-compatible endpoint that answers with a pipeline under a plan's schedules."""
