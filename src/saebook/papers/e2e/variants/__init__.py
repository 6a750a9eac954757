"""Figure 1 with one thing varied: depth, seed, tokens, width, rate, subject, encoder, and the end of training (e2e paper, appendices)."""
