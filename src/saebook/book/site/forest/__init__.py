"""The forest plot of the front page: every verdict as an interval beside the range in which its claim holds."""
