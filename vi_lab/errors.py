"""What can go wrong in a run, as types that a caller can catch."""


class NonFiniteError(ArithmeticError):
    """The log density or its gradient became infinite or NaN."""


class ConvergenceWarning(UserWarning):
    """A result that should not be trusted as it is; the message says why and what to do."""
