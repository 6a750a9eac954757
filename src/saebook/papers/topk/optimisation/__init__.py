"""How TopK is trained: averages of the weights, forms of AuxK, and the time of a step (Top-k paper, appendices A and D)."""
