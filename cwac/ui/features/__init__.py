"""The Features page: latents and their cards, what moved, what the penalty held, the fit."""
