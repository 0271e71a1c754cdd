"""What can go wrong, as types that a caller can catch.

``except vl.ViLabError`` catches everything that this library raises on purpose. Each error
is also the builtin exception of its kind, so ``except ValueError`` works as anywhere:

======================= ===================== ==================================================
`ArgumentError`         `ValueError`          an argument of the right kind, but with a value that
                                              cannot be used
`ArgumentTypeError`     `TypeError`           an argument of the wrong kind
`MissingFileError`      `FileNotFoundError`   a file to be read is not there
`UnknownNameError`      `KeyError`            a name that is not in a table
`OutOfRangeError`       `IndexError`          a program counts beyond the entries of an array
`UnsupportedError`      `NotImplementedError` what the mathematics or an engine does not offer
`MissingPackageError`   `ImportError`         an optional package is not installed
`EngineError`           `RuntimeError`        an engine's operator used where no engine runs, or a
                                              program that an engine cannot run
`NonFiniteError`        `ArithmeticError`     a density or gradient that is infinite or NaN
======================= ===================== ==================================================

**Which of the first two?** Where a number is asked for, 1.5, -1 and NaN are wrong values, and
"3", None, True and [3] are of the wrong kind; where a name is, a name that is not known is a
wrong value, and 3 of the wrong kind. An array of the wrong shape, and a dictionary with other
names than were asked for, are wrong values; an array of text is of the wrong kind.

The message of either begins with what is wrong and a colon: with the argument's name, or, for
what a program or a file holds, with that: ``latent 'mu':``, ``data 'x':``. What is wrong and
what to do about it follow.
"""


class ViLabError(Exception):
    """The base of all errors that the library raises on purpose."""


class ArgumentError(ViLabError, ValueError):
    """An argument has a value that cannot be used; the message says which one would do."""


class ArgumentTypeError(ViLabError, TypeError):
    """An argument is an object of the wrong kind; the message says what to give instead."""


class MissingFileError(ViLabError, FileNotFoundError):
    """There is no such file."""


class UnknownNameError(ViLabError, KeyError):
    """A name is not among those of a table; the message lists them."""

    __str__ = Exception.__str__  # KeyError's own puts the whole sentence in quotes


class OutOfRangeError(ViLabError, IndexError):
    """A program asks for an entry that an array does not have; codes count from 0."""


class UnsupportedError(ViLabError, NotImplementedError):
    """What was asked for has no formula or no derivative here."""


class MissingPackageError(ViLabError, ImportError):
    """A package that is optional is needed; the message says how to install it."""


class EngineError(ViLabError, RuntimeError):
    """An operator of an engine where none is running, or a program that one cannot run."""


class NonFiniteError(ViLabError, ArithmeticError):
    """The log density or its gradient became infinite or NaN."""


class ConvergenceWarning(UserWarning):
    """A result that should not be trusted as it is; the message says why and what to do."""
