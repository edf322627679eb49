"""One algorithm per file, all behind the `Scorer` protocol of `recsys.models.base`."""
