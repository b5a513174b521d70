"""From a corpus to the feature store: extractors, worker processes, stores."""
