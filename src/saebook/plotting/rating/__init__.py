"""Features for people to rate, blind to which SAE they are of: cards, the form that shows them, and what it saved."""
