"""Pictures and boxes: annotations in, typed batches out."""
