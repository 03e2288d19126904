"""jobcast: live job progress for any back end.

The directories of the repository are the subpackages of this one: ``jobcast/gateway`` and its
neighbours are links to them. The code lives where a reader looks for it, and nothing named
``worker`` or ``shared`` is installed at the top level, where a user's own package may stand.
"""

__version__ = "0.1.0"
