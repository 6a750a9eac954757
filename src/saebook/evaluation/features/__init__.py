"""What one sees of single latents: where they fire and how strongly, what they do to the logits, and which others are like them."""
