"""The processes, one folder each, and what every child shares.

Importing anything here chooses the folder of compiled kernels first, before numba is imported.
"""

import gc
from typing import Final

from config.kernel_cache import use_kernel_cache

COLLECTED_EVERY: Final = 20_000
"""Objects between two looks for cycles. A process imports some 800 modules, whose objects all stay:
with Python's own 700, a fourteenth of that goes into looking through them again and again."""

use_kernel_cache()
gc.set_threshold(COLLECTED_EVERY)
