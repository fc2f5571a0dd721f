"""SAE codes at named layers, the safety-critical latents, and the activation loss on them."""

from cwac.features.choice import highest_latents, latent_scores, random_latents
from cwac.features.loss import AlignedCodes, activation_loss, loss_of
from cwac.features.sae import Sae
from cwac.features.safety import SafetyFeatures
from cwac.features.scored import (
    LatentStatistics,
    last_tokens,
    latent_statistics,
    prompt_batch,
    request_batches,
    scored_residuals,
    scored_tokens,
)
from cwac.features.steering import Edit, Steering, edited
from cwac.features.tokens import TokenCodes, token_codes

__all__ = [
    "AlignedCodes",
    "Edit",
    "LatentStatistics",
    "Sae",
    "SafetyFeatures",
    "Steering",
    "TokenCodes",
    "activation_loss",
    "edited",
    "highest_latents",
    "last_tokens",
    "latent_scores",
    "latent_statistics",
    "loss_of",
    "prompt_batch",
    "random_latents",
    "request_batches",
    "scored_residuals",
    "scored_tokens",
    "token_codes",
]
