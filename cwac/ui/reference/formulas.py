r"""What each method adds to plain fine-tuning, as one formula in LaTeX.

Constants of ours and never anybody else's text: pages show them as mathematics. Each is the
equation that the method's own docstring names as its source. W0 and h0 are the aligned model's.
"""

from collections.abc import Mapping
from typing import Final

FORMULAS: Final[Mapping[str, str]] = {
    "sft": r"\min_\theta\; \mathbb{E}_{(x,y)\in D}\,[-\log \pi_\theta(y\mid x)]",
    "weight_only": r"W \leftarrow W_0 + (W - W_0)\,(I - U U^\top)",
    "activation_only": r"\mathcal{L}_{task} + \lambda\,\frac1B\sum_b \frac1T\sum_t "
    r"\lVert z_{bt} - z_{bt}^{aligned}\rVert^2",
    "cwac": r"\mathcal{L}_{task} + \lambda\,\mathcal{L}_{safety},\qquad "
    r"W \leftarrow W_0 + (W - W_0)\,(I - U U^\top)",
    "cwac_paper": r"\mathcal{L}_{task} + \lambda\,\mathcal{L}_{safety},\qquad "
    r"\nabla_W \leftarrow \nabla_W\,(I - U U^\top)",
    "safe_instruct": r"\min_\theta\; \mathbb{E}_{D\,\cup\,A}\,[-\log \pi_\theta(y\mid x)],\quad "
    r"A:\ \text{harmful requests, refused}",
    "sppft": r"\Delta W_l = 0 \quad\text{for the located safety layers } l",
    "lisa": r"f_A(w) + \frac{\rho}{2}\lVert w - w_{ft}\rVert^2 \;\;\text{and}\;\; "
    r"f_D(w) + \frac{\rho}{2}\lVert w - w_{al}\rVert^2 \;\;\text{by turns}",
    "asft": r"\mathcal{L}_{task} + \lambda \sum_l \lVert (I - C_l)\,\Delta W_l\rVert_F^2,\quad "
    r"C = V(V^\top V)^{-1}V^\top,\; V = W_0 - W_{base}",
    "constrained_sft": r"\nabla\mathcal{L} = -\sum_t w_t\,\nabla \log \pi_\theta(y_t),\quad "
    r"w_t = 2\,\sigma\big(\beta_t(\log \pi_{aligned} - \log \pi_\theta)\big)",
    "backdoor_align": r"\min_\theta\; \mathbb{E}_{D}[-\log \pi_\theta(y\mid x)] + "
    r"\mathbb{E}_{A}[-\log \pi_\theta(\text{refusal}\mid s + x)],\quad s:\ \text{trigger}",
    "salora": r"W' + s\,C_S B A,\qquad C_S = I - U_C U_C^\top",
    "safegrad": r"g = g_u - \frac{\min(\langle g_u, g_a\rangle,\, 0)}{\lVert g_a\rVert^2}\,g_a "
    r"+ \rho\,g_a,\quad g_a = \nabla\,\mathrm{KL}(\pi_{aligned}\,\Vert\,\pi_\theta)",
    "guardspace": r"W \leftarrow W_0 + (W - W_0)\,P,\quad "
    r"P:\ \text{null space of } C = X X^\top",
    "l2_to_init": r"\mathcal{L}_{task} + \lambda\,\lVert\theta - \theta_0\rVert^2",
    "ewc": r"\mathcal{L}_{task} + \frac{\lambda}{2}\sum_i F_i\,(\theta_i - \theta_{0,i})^2",
    "kl_to_aligned": r"\mathcal{L}_{task} + \lambda\,\mathrm{KL}(\pi_{aligned}\,\Vert\,\pi_\theta) "
    r"\;\;\text{on harmful requests}",
    "residual_mse": r"\mathcal{L}_{task} + \lambda\,\frac{1}{|L|}\sum_l "
    r"\frac{\mathrm{mean}\,\lVert h_l - h_{l,0}\rVert^2}{\mathrm{mean}\,\lVert h_{l,0}\rVert^2}",
    "refusal_direction_penalty": r"\mathcal{L}_{task} + \frac{\lambda}{|L|}\sum_l "
    r"\big(v_l^\top (h_l - h_{l,0})\big)^2",
    "safelora": r"W \leftarrow W_0 + C\,(W_{ft} - W_0) \;\;\text{where}\;\; "
    r"\cos(\Delta W,\, C\,\Delta W) < \tau",
    "safe_delta": r"\text{accept } \Delta W_{ij} \text{ by ascending cost } "
    r"\frac{\Delta W_{ij}^2}{2\,[H^{-1}]_{jj}} \text{ per gain } \Delta W_{ij}^2, "
    r"\text{ to a budget}",
    "safe_merge": r"W \leftarrow W_0 + a\,(W_{ft} - W_0) + b\,(W_{safe} - W_0) "
    r"\;\;\text{where}\;\; \cos(\Delta W,\, C\,\Delta W) < \tau",
    "resta": r"\theta \leftarrow \theta_{ft} + \gamma\,(\theta_{aligned} - \theta_{unaligned})",
}
"""By method; one that joins without a formula has its card without one."""
