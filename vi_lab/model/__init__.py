"""Models: a program and its data, seen as a log density on R^D."""

from vi_lab.model.minibatch import Minibatch
from vi_lab.model.model import Model
from vi_lab.model.predictive import posterior_predictive, prior_predictive
from vi_lab.model.rows import Batches
from vi_lab.model.target import Target

__all__ = ["Batches", "Minibatch", "Model", "Target", "posterior_predictive", "prior_predictive"]
