"""ADVI: fit a Gaussian to a posterior by stochastic gradients.

`front_door` is what a user calls, `settings` checks what was asked, and `blocks` is the loop
in which all steps are taken. With an optimiser of the user's choice the fit is `chosen`;
with none it stops by itself: read `automatic` first, then `stages`, `stopping` and
`starts`. `deterministic` is the variant with fixed draws.

The package is hidden behind its function: `vi_lab.advi` is `advi`.
"""

from vi_lab.advi.front_door import advi
from vi_lab.advi.settings import Callback

__all__ = ["Callback", "advi"]
