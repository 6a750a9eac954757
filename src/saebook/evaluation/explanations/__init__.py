"""What latents fire on, as token patterns: the Neuron-to-Graph procedure (Foote et al. 2023; Top-k paper, section 4.3)."""
