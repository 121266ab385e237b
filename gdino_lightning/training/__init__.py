"""The training objective and the LightningModule."""
