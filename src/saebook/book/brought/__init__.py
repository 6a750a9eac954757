"""Trained SAEs that a reader brings: where they are, what they were made for, and their marks in a figure."""
