"""What no paper shows: chapters made of what the papers' chapters have trained. Only this package may import the papers'."""
