"""Latents explained by token patterns, and simulated from them (Top-k paper, sections 4.3 and 4.4)."""
