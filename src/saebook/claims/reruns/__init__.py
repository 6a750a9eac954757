"""A chapter run again with one thing changed, and what its claims say then."""
