"""One fine-tuning rule per file; this list decides the order in tables and figures."""

from typing import Any, Final

from cwac.interfaces import Method
from cwac.methods.activation_only import ActivationOnly
from cwac.methods.asft import Asft
from cwac.methods.backdoor_align import BackdoorAlign
from cwac.methods.constrained_sft import ConstrainedSft
from cwac.methods.cwac import Cwac
from cwac.methods.cwac_paper import CwacPaper
from cwac.methods.ewc import Ewc
from cwac.methods.guardspace import GuardSpace
from cwac.methods.kl_to_aligned import KlToAligned
from cwac.methods.l2_to_init import L2ToInit
from cwac.methods.lisa import Lisa
from cwac.methods.refusal_direction_penalty import RefusalDirectionPenalty
from cwac.methods.residual_mse import ResidualMse
from cwac.methods.resta import Resta
from cwac.methods.safe_delta import SafeDelta
from cwac.methods.safe_instruct import SafeInstruct
from cwac.methods.safe_merge import SafeMerge
from cwac.methods.safegrad import SafeGrad
from cwac.methods.safelora import SafeLora
from cwac.methods.salora import Salora
from cwac.methods.sft import Sft
from cwac.methods.sppft import Sppft
from cwac.methods.weight_only import WeightOnly
from cwac.registry import Registry

METHODS: Final[Registry[type[Method[Any]]]] = Registry(
    "method",
    [
        Sft,
        WeightOnly,
        ActivationOnly,
        Cwac,
        CwacPaper,
        SafeInstruct,
        Sppft,
        Lisa,
        Asft,
        ConstrainedSft,
        BackdoorAlign,
        Salora,
        SafeGrad,
        GuardSpace,
        L2ToInit,
        Ewc,
        KlToAligned,
        ResidualMse,
        RefusalDirectionPenalty,
        SafeLora,
        SafeDelta,
        SafeMerge,
        Resta,
    ],
)
