"""What the Hub knows of models, read within its rate limits: pins of entries, and its image classifiers as records."""
