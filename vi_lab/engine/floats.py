"""Limits of float64 that formulas keep away from, on every engine alike."""

import math
import sys

EPSILON = sys.float_info.epsilon
SMALLEST = 4.0 * sys.float_info.min  # engines take numbers below the least normal one for 0
LOG_SMALLEST = math.log(SMALLEST)  # -707
LARGE = 1e100  # above it 1 + t is t, and t^2 may overflow, or its reciprocal underflow
