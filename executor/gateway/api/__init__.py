"""OpenAI's API as it is spoken here: bodies and what they ask for, answers, errors."""
