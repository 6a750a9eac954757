"""What latents do and how they are distributed: ablations, noise, layers, densities (Top-k paper, section 4.4, appendix)."""
