"""Pages about single latents: the feature browser, and the key to the features that readers rate."""
