"""One intervention per file; this list decides the order in which they are made and shown."""

from typing import Final

from cwac.interfaces import Intervention
from cwac.interventions.clamp_latents import ClampLatents
from cwac.interventions.decomposition import Decomposition
from cwac.interventions.ends import Ends
from cwac.interventions.greedy_path import GreedyPath
from cwac.interventions.patch_features import PatchFeatures
from cwac.interventions.patch_residual import PatchResidual
from cwac.interventions.path import Path
from cwac.interventions.prefill import Prefill
from cwac.interventions.read_out import ReadOut
from cwac.interventions.refusal_direction import RefusalDirection
from cwac.interventions.restore import Restore
from cwac.interventions.spectral_split import SpectralSplit
from cwac.interventions.subspace_split import SubspaceSplit
from cwac.interventions.transplant import Transplant
from cwac.registry import Registry

INTERVENTIONS: Final[Registry[type[Intervention]]] = Registry(
    "intervention",
    [
        Ends,
        Restore,
        Transplant,
        GreedyPath,
        ReadOut,
        Path,
        SubspaceSplit,
        SpectralSplit,
        Decomposition,
        PatchFeatures,
        ClampLatents,
        PatchResidual,
        RefusalDirection,
        Prefill,
    ],
)
