"""The operator's policy: the shapes of its documents, and how they are read and checked."""
