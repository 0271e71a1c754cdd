"""ADVI: fit a Gaussian to a posterior by stochastic gradients.

`front_door` is what a user calls. With an optimiser of the user's choice it runs
`blocks` (and `eta_search`); with none, the fit that stops by itself: read `automatic`
first, then `stages`, `natural_gradient`, `step_rule`, `stopping` and `starts`.
`deterministic` is the variant with fixed draws.

The package is hidden behind its function: `vi_lab.advi` is `advi`.
"""

from vi_lab.advi.blocks import Callback
from vi_lab.advi.front_door import advi

__all__ = ["Callback", "advi"]
