"""Groups of sub-commands of ``recsys-serve``, one file each, and what they share."""
