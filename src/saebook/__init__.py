"""saebook: three papers on sparse autoencoders, replicated live.

Legend of dimension letters, used everywhere: B tokens in a batch, N rows of text, T positions of a row (the context),
D width of the activation (d_in), M latents (d_sae), K active latents, S members of a stack, V vocabulary.
"""
