"""The processes, one folder each, and what every child shares.

Importing anything here chooses the folder of compiled kernels first, before numba is imported.
"""

from config.kernel_cache import use_kernel_cache

use_kernel_cache()
