"""ADVI: fit a Gaussian to a posterior by gradients of its log density.

`front_door` is what a user calls, and `settings` checks what was asked. With an optimiser of the
user's choice the fit is `chosen`, a loop of `blocks` of steps. With none it is a `search`, which
stops by itself: read `local` first, then `climb`, `search` and `verdict`. What is climbed is an
`objective`: the `density` as it is, by `expansion` in many dimensions, or of some of very many
`rows`.

The package is hidden behind its function: `vi_lab.advi` is `advi`.
"""

from vi_lab.advi.front_door import advi
from vi_lab.advi.settings import Callback

__all__ = ["Callback", "advi"]
