"""Model outputs to detections and pictures."""
