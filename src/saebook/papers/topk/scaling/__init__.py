"""How error, learning rate, tokens and batch scale with the width (Top-k paper, section 3, Figures 1, 3, 11, 12)."""
